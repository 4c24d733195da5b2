"""Run directories: what was done, with which inputs, and what came of it."""
