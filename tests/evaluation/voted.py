"""A small folder of questions, answers and votes, for what tests judges against people."""

import json
from pathlib import Path

SHORT, LONG = "Short.", "A much longer answer."


def write_voted(folder: Path) -> Path:
    """Ten questions; people prefer the long answer on all but 81, and tie on 82."""
    people = folder / "human_judgments"
    people.mkdir(parents=True)
    (folder / "reference_answer").mkdir()
    ids = range(81, 91)
    templates = {
        "pair-v2": "{question}|{answer_a}|{answer_b}|",
        "pair-v2-multi-turn": "{question_2}|{answer_a_2}|{answer_b_2}|",
    }
    votes = [
        {
            "question_id": place, "turn": 1, "model_a": "x", "model_b": "y", "judge": voter,
            "winner": {81: "model_a", 82: "tie"}.get(place, "model_b"),
        }
        for place in ids
        for voter in ("expert_1", "expert_2", "author_1")
    ]  # fmt: skip
    files = {
        folder / "question.jsonl": [
            {"question_id": place, "category": "writing", "turns": [f"Q{place}", "More."]}
            for place in ids
        ],
        folder / "judge_prompts.jsonl": [
            {"name": name, "system_prompt": "Judge.", "prompt_template": template}
            for name, template in templates.items()
        ],
        folder / "reference_answer" / "gpt-4-0125-preview.jsonl": [],
        people / "human.jsonl": votes,
        people / "gpt4_pair.jsonl": [
            {**row, "judge": "gpt4_pair", "winner": "model_b"} for row in votes[::3]
        ],
    }
    for model, text in (("x", SHORT), ("y", LONG)):
        files[people / f"model_answer_{model}.jsonl"] = [
            {
                "question_id": place,
                "choices": [{"index": 0, "turns": [f"{text} {place}", text]}],
            }
            for place in ids
        ]
    for path, rows in files.items():
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
