"""Two questions in the formats of MT-Bench, and what two models answered."""

import json
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.benchmark import Answer
from zephyrctl.evaluation.judges.contract import Judge
from zephyrctl.evaluation.mt_bench.benchmark import MtBench
from zephyrctl.evaluation.mt_bench.formats import read_mt_bench

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Say hi.", "Again."]},
    {"question_id": 2, "category": "math", "turns": ["1+1?", "Twice that?"]},
]
_PROMPTS = {
    "single-v1": "{question}|{answer}",
    "single-v1-multi-turn": "{question_2}|{answer_1}|{answer_2}",
    "single-math-v1": "{question}|{ref_answer_1}|{answer}",
    "single-math-v1-multi-turn": "{question_2}|{ref_answer_2}|{answer_2}",
    "pair-v2": "{question}|A:{answer_a}|B:{answer_b}",
    "pair-v2-multi-turn": "{question_2}|A:{answer_a_2}|B:{answer_b_2}",
    "pair-math-v1": "{question}|{ref_answer_1}|A:{answer_a}|B:{answer_b}",
    "pair-math-v1-multi-turn": "{question_2}|{ref_answer_2}|A:{answer_a_2}|B:{answer_b_2}",
}
_REFERENCES = [{"question_id": 2, "choices": [{"index": 0, "turns": ["2", "4"]}]}]
PLACES = [(1, 1), (1, 2), (2, 1), (2, 2)]


def write_files(folder: Path, questions: list[dict[str, Any]] = QUESTIONS) -> Path:
    """A folder of MT-Bench's files."""
    (folder / "reference_answer").mkdir(parents=True, exist_ok=True)
    prompts = [
        {"name": name, "system_prompt": "s", "prompt_template": text}
        for name, text in _PROMPTS.items()
    ]
    for name, rows in [
        ("question.jsonl", questions),
        ("judge_prompts.jsonl", prompts),
        ("reference_answer/gpt-4.jsonl", _REFERENCES),
    ]:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def recipe(**settings: Any) -> Recipe:
    """A recipe of MT-Bench; names with dots of `eval`: `{"mt_bench.mode": "pair"}`."""
    tree: dict[str, Any] = {
        "bootstrap": 200,
        "judge": {"spec": "openai:judge-1"},
        "mt_bench": {"references": "original"},
    }
    for path, value in settings.items():
        *sections, name = path.split(".")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[name] = value
    return Recipe.model_validate({"eval": tree})


def open_small(folder: Path, judge: Judge, **settings: Any) -> MtBench:
    """The benchmark on the small files, judged by `judge`."""
    files = read_mt_bench(str(write_files(folder)), references="original")
    return MtBench(files, judge, recipe=recipe(**settings))


def answers(*texts: str, sample: int = 0) -> list[Answer]:
    """The answers of one model to both turns of both questions."""
    return [
        Answer(question, turn, text, 3, True, sample)
        for (question, turn), text in zip(PLACES, texts, strict=True)
    ]


def silent(done: int, total: int) -> None:
    """No progress."""
    del done, total
