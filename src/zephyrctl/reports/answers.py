"""What did the models answer to the same question?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.environment import benchmark_cache
from zephyrctl.errors import DataError
from zephyrctl.reports.panels import LabelledText, Talk
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import Run

MOST_TALKS = 10

Place = tuple[str, int]
"""Question and turn."""


@dataclass(frozen=True)
class _Judged:
    text: str
    verdict: str = ""
    reason: str = ""

    @property
    def css(self) -> str:
        return self.verdict if self.verdict in ("pass", "fail") else ""


def side_by_side(run: Run, *, models: Iterable[str]) -> tuple[tuple[str, ...], tuple[Talk, ...]]:
    """Benchmarks that gave answers, and a few questions with every model's answer.

    Questions on which the models' verdicts differ come first, since those show what training
    changed; within a kind they keep the order of the benchmark.
    """
    by_benchmark: dict[str, list[Talk]] = {}
    folders = sorted(path for path in (run.root / "eval").glob("*") if path.is_dir())
    for folder in folders:
        prompts = _prompts(run, folder.name)
        found = {
            model: judged
            for model in _in_order(folder, models)
            if (judged := _answers(folder / model, prompts=prompts))
        }
        if found:
            by_benchmark[folder.name] = _talks(found, prompts=prompts)
    share = MOST_TALKS // max(1, len(by_benchmark))
    talks = [talk for own in by_benchmark.values() for talk in own[: max(1, share)]]
    return tuple(by_benchmark), tuple(talks[:MOST_TALKS])


def _in_order(folder: Path, models: Iterable[str]) -> list[str]:
    present = sorted(path.name for path in folder.iterdir() if (path / "answers.jsonl").is_file())
    known = [model for model in models if model in present]
    return known + [model for model in present if model not in known]


def _talks(
    found: Mapping[str, Mapping[Place, _Judged]], *, prompts: Mapping[Place, str]
) -> list[Talk]:
    places = list(dict.fromkeys(place for answers in found.values() for place in answers))
    differing = [place for place in places if _differs(found, place)]
    rest = [place for place in places if place not in set(differing)]
    share = MOST_TALKS if not rest else max(MOST_TALKS - 3, MOST_TALKS - len(rest))
    chosen = _spread(differing, share)
    chosen += _spread(rest, MOST_TALKS - len(chosen))
    talks = []
    for question, turn in chosen:
        prompt = prompts.get((question, turn), f"question {question}")
        talks.append(
            Talk(
                prompt=prompt,
                asked=f"turn {turn}" if turn > 1 else "",
                answers=tuple(
                    LabelledText(model, entry.text, entry.verdict, entry.css, entry.reason)
                    for model, answers in found.items()
                    if (entry := answers.get((question, turn))) is not None
                ),
            )
        )
    return talks


def _differs(found: Mapping[str, Mapping[Place, _Judged]], place: Place) -> bool:
    return len({answers[place].verdict for answers in found.values() if place in answers}) > 1


def _spread(places: list[Place], most: int) -> list[Place]:
    """At most `most` of `places`, evenly over the benchmark, so that its kinds are all seen."""
    if len(places) <= most:
        return places
    return [places[len(places) * at // most] for at in range(most)]


def _answers(folder: Path, *, prompts: dict[Place, str]) -> dict[Place, _Judged]:
    """Answers by place, with the verdict of the judge whose folder comes first.

    Prompts that the judgments hold are added to `prompts`.
    """
    verdicts: dict[Place, tuple[str, ...]] = {}
    for path in sorted(folder.glob("*/judgments.jsonl"))[:1]:
        for record in read_jsonl(path):
            verdicts[_place(record)] = _verdict(record)
            if isinstance(record.get("prompt"), str):
                prompts.setdefault(_place(record), record["prompt"])
    return {
        _place(record): _Judged(record["answer"], *verdicts.get(_place(record), ()))
        for record in read_jsonl(folder / "answers.jsonl")
        if isinstance(record.get("answer"), str)
    }


def _place(record: Mapping[str, Any]) -> Place:
    return str(record.get("question_id")), int(record.get("turn") or 1)


def _verdict(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The verdict in a word or two, and why an answer failed."""
    passed, score = record.get("passed"), record.get("score")
    if isinstance(passed, bool):
        found = [str(c["found"]) for c in record.get("checks") or () if c.get("found")]
        return ("pass",) if passed else ("fail", "; ".join(found))
    if isinstance(score, int | float):
        return (f"{score:g} of 10" if score >= 0 else "no verdict",)
    return ()


def _prompts(run: Run, benchmark: str) -> dict[Place, str]:
    """MT-Bench's questions, where their file is at hand: its judgments quote the judge's prompt
    only. Other benchmarks keep the question in the judgment."""
    given = run.recipe().eval.data_dir
    folder = Path(given).expanduser() if given else benchmark_cache("mt-bench")
    places = (folder / "question.jsonl", folder / "mt_bench" / "question.jsonl")
    path = next((place for place in places if place.is_file()), None)
    if benchmark != "mt-bench" or path is None:
        return {}
    try:
        records = read_jsonl(path)
    except DataError:  # the evaluation reports a broken question file; here it only informs
        return {}
    return {
        (str(record.get("question_id")), at): str(text)
        for record in records
        for at, text in enumerate(record.get("turns") or (), start=1)
    }
