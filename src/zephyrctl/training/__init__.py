"""Training: loading a policy, the two trainers, checkpoints, samples, and what is published."""
