"""What do the races of `dpo_step.py` and `sft_step.py` have in common?"""
