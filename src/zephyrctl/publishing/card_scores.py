"""What did the model get, by which benchmark and judge? (the evaluation chapter of its card)

Only scores that were made with the run's models as they are now count: one that belongs to
weights from before a later training is left out, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from zephyrctl.publishing.card_text import interval, number, plain, public, span, table
from zephyrctl.runs.score_files import ScoreFile, read_score_files
from zephyrctl.runs.store import Run
from zephyrctl.runs.summary import comparisons

_TRAINED = ("sft", "dpo")


def standing(run: Run) -> tuple[list[ScoreFile], list[tuple[ScoreFile, str]]]:
    """The run's score files in the order of its models, and those that do not count, with why."""
    order = {name: place for place, name in enumerate(run.recipe().eval.models)}
    kept: list[ScoreFile] = []
    others: list[tuple[ScoreFile, str]] = []
    for file in read_score_files(run):
        weights = _weights(run, file.model)
        if file.stale is not None:
            others.append((file, file.stale))
        elif None not in (weights, file.weights) and weights != file.weights:
            others.append((file, f"{_label(file)}: scored before it was trained again"))
        else:
            kept.append(file)
    kept.sort(key=lambda f: (f.benchmark, order.get(f.model, len(order)), f.model, f.judge or ""))
    return kept, others


def evaluation(run: Run) -> Iterator[str]:
    """Every score and comparison of the run, each with its interval and its judge."""
    files, others = standing(run)
    yield "## Evaluation\n"
    if not files:
        yield "Not evaluated."
    else:
        yield "Intervals are 95 %. Rates are 0 to 1, AlpacaEval's win rates in percent.\n"
        head = ["Benchmark", "Model", "Metric", "Value", "Interval", "n", "Judge"]
        yield from table(head, _rows(files))
        yield from _comparisons(run, {(file.benchmark, file.model) for file, _ in others})
        yield from _categories([file for file in files if file.categories])
        yield from _facts(files)
    for file, why in others:
        yield f"- left out of {plain(file.benchmark)}: {plain(public(why))}"
    yield ""


def _weights(run: Run, model: str) -> str | None:
    """Digest of the weights that a trained stage of the run has now."""
    for stage in _TRAINED:
        manifest = run.stage(stage).read_manifest() if model == stage else None
        if manifest is not None:
            return manifest.outputs.get("model")
    return None


def _rows(files: Iterable[ScoreFile]) -> Iterator[list[str]]:
    for file in files:
        for score in file.scores:
            cells = [file.benchmark, score.get("model", file.model), score["metric"],
                     number(score["value"]), interval(score), score.get("n"),
                     _judge(file.judge)]  # fmt: skip
            yield [plain(public(cell)) for cell in cells]


def _judge(judge: str | None) -> str:
    return judge if judge is not None else "none (checked by code)"


def _comparisons(run: Run, left_out: set[tuple[str, str]]) -> Iterator[str]:
    for entry in comparisons(run, counted=True):
        if left_out & {(entry["benchmark"], entry[side]) for side in "ab"}:
            continue
        metric = f" {plain(entry['metric'])}" if entry.get("metric") else ""
        by = f", judge {plain(public(entry['judge']))}" if entry.get("judge") else ""
        yield (
            f"- {plain(entry['benchmark'])}{metric}{by}: {plain(entry['b'])} − "
            f"{plain(entry['a'])} = {number(entry['difference'])} ({interval(entry)})"
        )
    yield ""


def _categories(files: Sequence[ScoreFile]) -> Iterator[str]:
    """The main metric of each category with its interval, a table for each benchmark and judge."""
    groups = list(dict.fromkeys((file.benchmark, file.judge) for file in files))
    for benchmark, judge in groups:
        mine = [file for file in files if (file.benchmark, file.judge) == (benchmark, judge)]
        names = dict.fromkeys(category.name for file in mine for category in file.categories)
        by = f"judge {public(judge)}" if judge is not None else "checked by code"
        yield f"{plain(benchmark)} by category, {plain(by)}:\n"
        yield from table(
            ["Category", *(plain(_label(file)) for file in mine)],
            [[plain(name), *(_category(file, name) for file in mine)] for name in names],
        )


def _category(file: ScoreFile, name: str) -> str:
    found = {category.name: category for category in file.categories}.get(name)
    return "none" if found is None else f"{found.value:.3f}{span(found.low, found.high)}"


def _facts(files: Sequence[ScoreFile]) -> Iterator[str]:
    """What the scores must not be read without, and what is known of their judges."""
    for file in files:
        facts = ", ".join(f"{label} {plain(number(value))}" for label, value in file.facts)
        yield f"- {plain(file.benchmark)}, {plain(_label(file))}: {facts}"
    yield ""
    cards = {file.judge: file.judge_card for file in files if file.judge_card}
    for judge, lines in cards.items():
        yield f"The judge {plain(public(judge))} against human votes:\n"
        yield from (f"    {' '.join(line.split())}" for line in lines)
        yield ""


def _label(file: ScoreFile) -> str:
    name = public(file.model)
    return name if file.opponent is None else f"{name} against {public(file.opponent)}"
