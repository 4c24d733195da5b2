"""Do two models differ, by what is stored of them in one run or in two?

Only what was had on the same questions, with the same references and prompts, by the same judge
compares; everything else is named with the reason.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.errors import UsageError
from zephyrctl.evaluation.comparison import Comparison, Measured, compare_two, without_repeats
from zephyrctl.evaluation.exchange.standing import Judged, judged_in
from zephyrctl.evaluation.scores import BY_QUESTION
from zephyrctl.registry import did_you_mean
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import Run, find_run

_DECIDES = ("references", "prompts", "version", "questions", "scoring")
"""Details that tell why two benchmarks of one name are not the same."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a model of a run, or all of its models."""

    run: Run
    model: str | None


@dataclass(frozen=True)
class Pair:
    """What two models got on one benchmark by one judge; `reason` where it does not compare."""

    a: Judged
    b: Judged
    reason: str | None


def sides_of(a: str, b: str, *, output_root: Path) -> tuple[Side, Side]:
    """Both sides of a comparison; a bare model is looked for in the other side's run too."""
    return (
        _side_beside(a, b, output_root=output_root),
        _side_beside(b, a, output_root=output_root),
    )


def _side_beside(ref: str, other: str, *, output_root: Path) -> Side:
    try:
        return side_of(ref, output_root=output_root)
    except UsageError as error:
        try:
            run = side_of(other, output_root=output_root).run
            models = _models(judged_in(run, benchmark=None))
        except UsageError:
            raise error from None
        if ref in models:
            return Side(run, ref)
        raise


def side_of(ref: str, *, output_root: Path) -> Side:
    """The side that `ref` names: `RUN`, `RUN:MODEL`, `RUN/dpo`, `@dpo`, or a model of the last run.

    UsageError where there is no such run.
    """
    if ref in ("@sft", "@dpo"):
        return Side(find_run(ref, output_root=output_root), ref[1:])
    head, colon, model = ref.rpartition(":")
    if colon and head and model:
        return Side(find_run(head, output_root=output_root), model)
    head, slash, stage = ref.removesuffix("/").rpartition("/")
    if slash and stage in ("sft", "dpo"):
        return Side(find_run(head, output_root=output_root), stage)
    try:
        return Side(find_run(ref, output_root=output_root), None)
    except UsageError:
        last = _last(output_root)
        if last is None or ref not in _models(judged_in(last, benchmark=None)):
            raise
        return Side(last, ref)


def pairs_of(
    a: Side, b: Side, *, benchmark: str | None = None, judge: str | None = None
) -> list[Pair]:
    """What both sides have of a benchmark, in the order of side `a`; UsageError where nothing.

    Whole runs are compared model by model.
    """
    of_a, of_b = (_chosen(side, benchmark=benchmark, judge=judge) for side in (a, b))
    found: list[Pair] = []
    for mine, theirs in _matched(a, b, of_a, of_b):
        first = _by_match(of_a, mine)
        second = _by_match(of_b, theirs)
        for place in [place for place in first if place in second]:
            both = [folder for folder in first[place] if folder in second[place]]
            for folder in both:
                one, other = first[place][folder], second[place][folder]
                found.append(Pair(one, other, _difference(one, other)))
            if not both:
                names = f"{', '.join(first[place])} and {', '.join(second[place])}"
                one, other = (next(iter(of[place].values())) for of in (first, second))
                found.append(Pair(one, other, f"the judges differ: {names}"))
    if not found:
        raise UsageError(
            f"{_name(a)} and {_name(b)} were not scored on a benchmark that both have",
            hint=f"scored are: {_listed(of_a)}; and: {_listed(of_b)}",
        )
    return found


def compare_stored(pair: Pair, *, replicates: int, seed: int) -> Comparison:
    """The paired difference b − a of the main metric; models of two runs bear the run's name."""
    names = [item.match.model for item in (pair.a, pair.b)]
    if _root(pair.a) != _root(pair.b):
        names = [f"{_root(i).name}:{n}" for i, n in zip((pair.a, pair.b), names, strict=True)]
    (one, strata), (other, more) = (
        _measured(item, name) for item, name in zip((pair.a, pair.b), names, strict=True)
    )
    found = compare_two(
        one,
        other,
        benchmark=pair.a.benchmark,
        judge=judge_name(pair.a) if _main(pair.a)["judge"] is not None else None,
        strata={**more, **strata},
        replicates=replicates,
        seed=seed,
    )
    return found if found.judge is not None else without_repeats(found)  # code has no luck


def _chosen(side: Side, *, benchmark: str | None, judge: str | None) -> list[Judged]:
    """The matches of a side's model, or of all models."""
    found = judged_in(side.run, benchmark=benchmark)
    models = _models(found)
    if side.model is not None and side.model not in models:
        raise UsageError(
            f"run '{side.run.name}' has no scores of '{side.model}'"
            f"{did_you_mean(side.model, models)}",
            where=str(side.run.stage("eval").path),
            hint=f"scored are: {', '.join(models)}",
        )
    found = [item for item in found if side.model in (None, item.match.model)]
    judges = list(dict.fromkeys(map(judge_name, found)))
    if judge is not None:
        found = [item for item in found if judge in (judge_name(item), _folder(item))]
        if not found:
            raise UsageError(
                f"'{judge}' judged nothing in run '{side.run.name}'{did_you_mean(judge, judges)}",
                hint=f"judges are: {', '.join(judges)}",
            )
    return found


def _matched(
    a: Side, b: Side, of_a: Sequence[Judged], of_b: Sequence[Judged]
) -> list[tuple[str, str]]:
    """Which model of `a` is compared with which of `b`."""
    if a.model is not None and b.model is not None:
        if a.model == b.model and a.run.root.resolve() == b.run.root.resolve():
            raise UsageError(f"{_name(a)} and {_name(b)} are the same model")
        return [(a.model, b.model)]
    if a.run.root.resolve() == b.run.root.resolve():
        models = _models(of_a if a.model is None else of_b)
        raise UsageError(
            "a run is not compared with itself",
            hint=f"name two of its models, such as {a.run.name}:{models[0]} "
            f"{b.run.name}:{models[-1]}",
        )
    named = a.model or b.model
    shared = [model for model in _models(of_a) if model in _models(of_b)]
    if named is not None:
        shared = [model for model in shared if model == named]
    if not shared:
        raise UsageError(
            f"{_name(a)} and {_name(b)} have no model of one name",
            hint=f"RUN:MODEL names one; scored are: {', '.join(_models(of_a))}; and: "
            f"{', '.join(_models(of_b))}",
        )
    return [(model, model) for model in shared]


def _difference(a: Judged, b: Judged) -> str | None:
    """Why two scores of one benchmark by one judge do not compare; None where they do."""
    for item in (a, b):
        if not item.record.get("scores"):
            return f"{item.match.label} has no score: too few verdicts stand"
        if not (item.folder / BY_QUESTION).is_file():
            return f"{item.match.label} was scored by an earlier version; score it again"
    if _main(a)["metric"] != _main(b)["metric"]:
        return f"the metrics differ: {_main(a)['metric']} and {_main(b)['metric']}"
    digests = [item.record.get("about", {}).get("benchmark_digest") for item in (a, b)]
    if digests[0] == digests[1] or a.is_imported or b.is_imported:
        return None
    differ = [
        f"{key} {a.record.get(key)} and {b.record.get(key)}"
        for key in _DECIDES
        if a.record.get(key) != b.record.get(key)
    ]
    what = ", ".join(differ) or "the question files or the judge's settings"
    return f"the benchmarks differ: {what}"


def _measured(item: Judged, name: str) -> tuple[Measured, dict[Hashable, Hashable]]:
    """What each question got, and its category."""
    rows = read_jsonl(item.folder / BY_QUESTION)
    values: dict[Hashable, float] = {row["question_id"]: row["value"] for row in rows}
    repeats: dict[Hashable, list[float]] = {
        row["question_id"]: row["repeats"] for row in rows if row["repeats"]
    }
    strata: dict[Hashable, Hashable] = {row["question_id"]: row["category"] for row in rows}
    verdicts: dict[Hashable, float] = {
        row["question_id"]: row["verdict"] for row in rows if "verdict" in row
    }
    return Measured(name, _main(item)["metric"], values, repeats, verdicts), strata


def _main(item: Judged) -> dict[str, Any]:
    return item.record["scores"][0]


def judge_name(item: Judged) -> str:
    """The judge's name; `code` where code decides."""
    scores = item.record.get("scores") or [{}]
    return str(scores[0].get("judge") or item.record.get("judge") or _folder(item))


def _folder(item: Judged) -> str:
    return (item.folder if item.match.opponent is None else item.folder.parent).name


def _by_match(
    judged: Sequence[Judged], model: str
) -> dict[tuple[str, str | None], dict[str, Judged]]:
    """A model's matches by benchmark and opponent, then by the judge's folder."""
    found: dict[tuple[str, str | None], dict[str, Judged]] = {}
    for item in judged:
        if item.match.model == model:
            place = (item.benchmark, item.match.opponent)
            found.setdefault(place, {})[_folder(item)] = item
    return found


def _root(item: Judged) -> Path:
    """The run's folder: the one that holds `eval`."""
    depth = 3 if item.match.opponent is None else 4
    return item.folder.resolve().parents[depth]


def _models(judged: Sequence[Judged]) -> list[str]:
    return list(dict.fromkeys(item.match.model for item in judged))


def _listed(judged: Sequence[Judged]) -> str:
    return ", ".join(dict.fromkeys(f"{i.match.label} on {i.benchmark}" for i in judged)) or "none"


def _name(side: Side) -> str:
    return side.run.name if side.model is None else f"{side.run.name}:{side.model}"


def _last(output_root: Path) -> Run | None:
    try:
        return find_run("@last", output_root=output_root)
    except UsageError:
        return None
