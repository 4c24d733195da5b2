"""Two-turn questions in MT-Bench's format, with the judge's prompts, for the real command."""

import json
from pathlib import Path


def write_questions(folder: Path, *, count: int) -> Path:
    """Write `count` of them below `folder`; the folder to give as `--data-dir`."""
    files = folder / "mt_bench"
    (files / "reference_answer").mkdir(parents=True)
    rows = {
        "question.jsonl": [
            {"question_id": place, "category": "writing", "turns": [f"Say {place}.", "Again."]}
            for place in range(1, count + 1)
        ],
        "judge_prompts.jsonl": [
            {"name": name, "system_prompt": "Judge.", "prompt_template": template}
            for name, template in [
                ("single-v1", "Q {question} A {answer}"),
                ("single-v1-multi-turn", "Q {question_1} {question_2} A {answer_2}"),
            ]
        ],
        "reference_answer/gpt-4-0125-preview.jsonl": [],
    }
    for name, lines in rows.items():
        (files / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return files
