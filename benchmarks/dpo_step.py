"""How many preference pairs a second does DPO train, beside `trl dpo` on the same pairs?

    python benchmarks/dpo_step.py [--json] [--lengths multi-turn] [--model smollm2-135m] …
    python benchmarks/dpo_step.py --device cuda --adapter lora --out benchmarks/results

Contenders, each in fresh processes, in turn:

    ours      what `zephyrctl dpo` runs: prepared rows, the stage's worker, all its checks
    unpadded  the same without shared prompts: no padding, every sequence by itself
    trl       TRL's own command with its defaults (8 pairs per forward pass, checkpointing, the
              reference run at every step); on a CPU without bfloat16, on a GPU --dtype bfloat16
    trl-best  TRL tuned: no checkpointing, rows of a step by length, the reference computed before

All take the same pairs in the same optimizer steps, and must log the same losses. Where a
reference is computed before training, its time is counted, once per pair. `speedup_over_…` are
medians over the rounds of the ratio within a round. `padded_slots` are the positions that went
through the layers in the timed steps, `real_tokens` those of the pairs, prompts counted twice.
"""

import sys

from steps import command
from steps.rows import PAIRS, draw_pairs

BENCHMARK = command.Benchmark(
    name="dpo_step",
    stage="dpo",
    unit="pairs",
    shapes=PAIRS,
    draw=draw_pairs,
    contenders=("ours", "trl", "trl-best", "unpadded"),
    rivals={
        "speedup_over_trl_padded": ("ours", "trl"),
        "speedup_over_trl_best": ("ours", "trl-best"),
        "speedup_over_unpadded": ("ours", "unpadded"),
    },
    same={"ours": "trl", "trl-best": "trl", "unpadded": "ours"},
)

if __name__ == "__main__":
    sys.exit(command.main(BENCHMARK, __doc__))
