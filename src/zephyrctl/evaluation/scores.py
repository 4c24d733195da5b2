"""How do a benchmark's numbers stand on disk?

`<run>/eval/<benchmark>/<model>/<judge>/scores.json` holds what one model got (in the folder
`vs-<opponent>` beside it, what it got against another one), `by_question.jsonl` beside it the same
question by question, and `<run>/eval/<benchmark>/comparisons.json` how models differ. Rates are
0..1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zephyrctl.evaluation.benchmark import Benchmark, Match, Question, Scores
from zephyrctl.evaluation.comparison import by_repeat
from zephyrctl.runs.atomic import dumps, read_jsonl, write_json, write_text
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.store import Run

BY_QUESTION = "by_question.jsonl"


@dataclass(frozen=True)
class Places:
    """Where one benchmark of a run keeps its files."""

    root: Path
    judge_folder: str

    @classmethod
    def of(cls, run: Run, benchmark: Benchmark) -> Places:
        """The places of `benchmark` in `run`."""
        return cls(run.stage("eval").path / benchmark.name, benchmark.judge_folder)

    def answers(self, model: str) -> Path:
        """The answers of a model, one JSON line each."""
        return self.root / model / "answers.jsonl"

    def judgments(self, match: Match) -> Path:
        """The judgments of a match, one JSON line each."""
        return self._judged(match) / "judgments.jsonl"

    def scores(self, match: Match) -> Path:
        """What the model got in a match."""
        return self._judged(match) / "scores.json"

    def by_question(self, match: Match) -> Path:
        """What each question got in a match, one JSON line each."""
        return self._judged(match) / BY_QUESTION

    def _judged(self, match: Match) -> Path:
        alone = self.root / match.model / self.judge_folder
        return alone if match.opponent is None else alone / f"vs-{match.opponent}"

    @property
    def comparisons(self) -> Path:
        """How the models differ."""
        return self.root / "comparisons.json"


def write_scores(path: Path, scores: Scores, *, about: dict[str, Any]) -> None:
    """Write `scores.json`; `about` says which model, template and questions they belong to."""
    write_json(
        path,
        {
            "scores": [score.to_json() for score in scores.scores],
            **scores.details,
            "notices": list(scores.notices),
            "about": about,
        },
    )


def write_by_question(path: Path, scores: Scores, *, questions: Sequence[Question]) -> None:
    """Write what each question got: `{"question_id", "category", "value", "repeats"}` a line, in
    the order of the benchmark.

    `value` is the main metric's; `repeats` holds it for each repeat where there were several;
    `verdict` is what the judge said, where that is another number (`Scores.verdicts`).
    """
    category: dict[Hashable, str] = {q.question_id: q.category for q in questions}
    in_order = [question for question in category if question in scores.by_question]
    rows = [
        {
            "question_id": question,
            "category": category[question],
            "value": scores.by_question[question],
            "repeats": list(scores.by_repeat.get(question, ())),
            **({"verdict": scores.verdicts[question]} if question in scores.verdicts else {}),
        }
        for question in in_order
    ]
    write_text(path, "".join(f"{dumps(row)}\n" for row in rows))


def asked_as(benchmark: Benchmark) -> str:
    """Digest of the questions, the judge, and how answers are drawn: scores that differ in it are
    not of one kind."""
    drawn = [benchmark.sampling(q, sample=0).to_json() for q in benchmark.questions]
    return digest_json([benchmark.digest, drawn])


def standing(
    places: Places,
    benchmark: Benchmark,
    *,
    fresh: Mapping[str, Scores],
    weights_of: Callable[[str], str | None],
) -> dict[str, Scores]:
    """The fresh scores together with earlier ones of other models, where those were had in the
    same way (`asked_as`) and of the same weights as now. `base`, `sft` and `dpo` come first, in
    this order."""
    found = dict(fresh)
    wanted = asked_as(benchmark)
    for path in sorted(places.root.glob(f"*/{places.judge_folder}/scores.json")):
        model = path.parent.parent.name
        about = _about(path)
        is_same = about.get("asked_as") == wanted and about.get("weights") == weights_of(model)
        if model not in found and is_same:
            match = Match(model)
            judgments = read_jsonl(places.judgments(match))
            scores = benchmark.aggregate(judgments, match)
            repeats = by_repeat(benchmark, judgments, match)
            found[model] = replace(scores, by_repeat=repeats)
    if set(found) == set(fresh):
        return found
    known = [name for name in ("base", "sft", "dpo") if name in found]
    return {name: found[name] for name in [*known, *(n for n in found if n not in known)]}


def _about(path: Path) -> dict[str, Any]:
    """What a score file belongs to; empty for one that cannot be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["about"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
