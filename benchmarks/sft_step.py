"""How many tokens a second does fine-tuning train, beside `trl sft` on the same dialogues?

    python benchmarks/sft_step.py [--json] [--model smollm2-135m] …
    python benchmarks/sft_step.py --device cuda --adapter lora --out benchmarks/results

Contenders, each in fresh processes, in turn:

    ours         what `zephyrctl sft` runs: prepared rows, the stage's worker, all its checks
    ours-packed  the same with `packing: bfd`
    trl          TRL's own command with its defaults (padded, 8 dialogues per forward pass,
                 checkpointing); on a CPU without bfloat16, on a GPU with --dtype bfloat16
    trl-best     TRL without checkpointing, the rows of a step by length
    trl-packed   TRL without checkpointing, packed, which drops the padding as well

`ours`, `trl` and `trl-best` take the same dialogues in the same optimizer steps, `ours-packed` and
`trl-packed` the same packed rows; within each group all must log the same losses. Every token is
trained. `speedup_over_trl_padded` is `ours` over `trl`, `speedup_over_unpadded` is `ours-packed`
over `trl-packed`: medians over the rounds of the ratio within a round.
"""

import sys

from steps import command
from steps.rows import DIALOGUES, draw_dialogues

BENCHMARK = command.Benchmark(
    name="sft_step",
    stage="sft",
    unit="rows",
    shapes=DIALOGUES,
    draw=draw_dialogues,
    contenders=("ours", "trl", "trl-best", "ours-packed", "trl-packed"),
    rivals={
        "speedup_over_trl_padded": ("ours", "trl"),
        "speedup_over_trl_best": ("ours", "trl-best"),
        "speedup_over_unpadded": ("ours-packed", "trl-packed"),
    },
    same={"ours": "trl", "trl-best": "trl", "ours-packed": "trl-packed"},
)

if __name__ == "__main__":
    sys.exit(command.main(BENCHMARK, __doc__))
