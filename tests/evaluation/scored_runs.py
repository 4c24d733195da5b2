"""Small runs with scores, as the evaluation stage leaves them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.config.layers import load
from zephyrctl.evaluation.benchmark import Match, Score, Scores
from zephyrctl.evaluation.scores import Places, write_by_question, write_scores
from zephyrctl.runs.store import Run, open_run, write_config


@dataclass(frozen=True)
class Asked:
    question_id: int
    category: str
    turns: tuple[str, ...] = ("Why?",)


def make_run(root: Path, name: str) -> Run:
    """A run without any stage."""
    loaded = load(flags={"output_root": str(root), "name": name}, env={}, cwd=root.parent)
    run = open_run(loaded.recipe)
    write_config(run, loaded)
    return run


def add_scores(
    run: Run,
    model: str,
    values: Mapping[int, float],
    *,
    judge: str = "gpt-4o",
    digest: str = "d1",
    opponent: str | None = None,
    metric: str = "average",
    **details: Any,
) -> Path:
    """Scores of one model on questions of two categories, with a judgment of each question."""
    places = Places(run.root / "eval" / "mt-bench", judge)
    match = Match(model, opponent)
    mean = sum(values.values()) / len(values)
    score = Score("mt-bench", model, judge, metric, mean, mean - 1, mean + 1, len(values))
    scores = Scores((score,), dict(values), mean, details)
    about = {"benchmark_digest": digest, "template_sha256": f"{model:0<8}", "opponent": opponent}
    write_scores(places.scores(match), scores, about=about)
    questions = [Asked(number, category(number)) for number in values]
    write_by_question(places.by_question(match), scores, questions=questions)
    rows = [
        {"question_id": number, "turn": 1, "sample": 0, "category": category(number),
         "model": model, "prompt": f"Question {number}?", "answer": f"{model} on {number}",
         "judgment": f"Because of {number}.", "score": value, "rating": value}
        for number, value in values.items()
    ]  # fmt: skip
    places.judgments(match).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return places.judgments(match).parent


def category(number: int) -> str:
    """`math` and `writing` in turn."""
    return "math" if number % 2 else "writing"
