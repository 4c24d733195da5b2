"""A small AlpacaEval of our own writing, in upstream's formats."""

import json
import random
from pathlib import Path

PROMPT_2 = """<|im_start|>system
Choose.
<|im_end|>
<|im_start|>user
Task: {instruction}
m: <{output_1}>
M: <{output_2}>
Best:
<|im_end|>
"""
PROMPT_1 = """<|im_start|>system
Rank.
<|im_end|>
<|im_start|>user
Task: {instruction}
model_1: <{output_1}>
model_2: <{output_2}>
<|im_end|>
"""


def write_small(folder: Path, *, count: int = 12) -> Path:
    """Instructions, baseline outputs, gamed rows and prompts of both versions."""
    (folder / "prompts").mkdir(parents=True)
    rng = random.Random(0)
    outputs = [
        {
            "dataset": "odd" if place % 2 else "even",
            "instruction": f"Say the number {place}.",
            "output": "x" * (3 + 2 * place),
            "generator": "gpt4_1106_preview",
        }
        for place in range(count)
    ]
    (folder / "alpaca_eval_gpt4_baseline.json").write_text(json.dumps(outputs))
    old = [{**row, "generator": "text_davinci_003"} for row in outputs]
    (folder / "alpaca_eval.json").write_text(json.dumps(old))
    prompts = folder / "prompts"
    (prompts / "alpaca_eval_clf_gpt4_turbo__alpaca_eval_clf.txt").write_text(PROMPT_2)
    (prompts / "alpaca_eval_gpt4__alpaca_eval.txt").write_text(PROMPT_1)
    for name in ("weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4"):
        (prompts / f"{name}__configs.yaml").write_text("")
    lines = ["preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model"]
    difficulty = [rng.gauss(0, 1) for _ in range(count)]
    for kind, sign in (("verbose", -1), ("concise", 1)):
        for place in range(count):
            gap = sign * abs(rng.gauss(0.5, 0.5))
            chance = min(max(0.5 - 0.3 * gap + 0.1 * rng.gauss(0, 1), 0.01), 0.99)
            lines.append(f"{chance},{place},{gap},{difficulty[place]},False,{kind}")
    (folder / "df_gamed.csv").write_text("\n".join(lines) + "\n")
    return folder
