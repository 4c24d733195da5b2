"""How do AlpacaEval's rows of ours become upstream's, and upstream's ours?

Layout of tatsu-lab/alpaca_eval cd543a1, `results/`: `<model>/model_outputs.json`, and in
`<model>/<annotator>/` `annotations.json` and `leaderboard.csv`. Upstream has one verdict an
instruction: two orders stand as their mean, and each repeat as a model of its own.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation.alpaca_eval import protocol
from zephyrctl.evaluation.alpaca_eval.annotations import last_of_each, preference_of, unite
from zephyrctl.evaluation.alpaca_eval.figures import upstream_figures
from zephyrctl.evaluation.alpaca_eval.formats import Version
from zephyrctl.evaluation.alpaca_eval.records import stored_logprobs
from zephyrctl.evaluation.exchange.standing import Judged, Row
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.references import safe_name

_ANNOTATION = (
    "instruction", "output_1", "generator_1", "dataset", "output_2", "generator_2", "annotator",
    "preference", "price_per_example", "time_per_example", "raw_completion", "orders",
)  # fmt: skip
_COLUMNS: tuple[str, ...] = (
    "", "win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total",
    "discrete_win_rate", "mode", "avg_length", "length_controlled_winrate", "lc_standard_error",
)  # fmt: skip


def holds(benchmark: str) -> bool:
    """Whether a benchmark's judgments are AlpacaEval's."""
    return benchmark == "alpaca-eval"


def files_of(judged: Sequence[Judged]) -> tuple[dict[str, str], list[str]]:
    """The files of an AlpacaEval results folder by their path in it, and what has to be said."""
    texts: dict[str, str] = {}
    notices = []
    boards: dict[str, list[dict[str, Any]]] = {}
    places: dict[str, list[str]] = {}
    for item in judged:
        rows = [dict(row) for row in last_of_each(item.rows)]
        united = {row["question_id"] for row in rows if row["order"] == 2}
        united &= {row["question_id"] for row in rows if row["order"] == 1}
        if united:
            notices.append(
                f"{item.match.label}: {len(united)} verdicts are the mean of both orders, and "
                "their completions are left out"
            )
        samples = sorted({row.get("sample", 0) for row in rows})
        for sample in samples:
            label = item.match.model
            model = label if sample == 0 else f"{label}_repeat_{sample + 1}"
            mine = [row for row in rows if row.get("sample", 0) == sample]
            annotations = _annotations(mine, model=model)
            outputs = [_output(row) for row in annotations]
            if all("output" in row for row in outputs):
                texts.setdefault(f"{model}/model_outputs.json", _document(outputs))
            annotator = safe_name(annotations[0]["annotator"])
            if item.match.opponent is not None:
                annotator = f"{annotator}_vs_{item.match.opponent}"
            texts[f"{model}/{annotator}/annotations.json"] = _document(annotations)
            boards.setdefault(annotator, []).append(
                _board_row(model, mine, item.record if len(samples) == 1 else {})
            )
            places.setdefault(annotator, []).append(model)
    for annotator, board in boards.items():
        for model in places[annotator]:
            texts[f"{model}/{annotator}/leaderboard.csv"] = _board(board)
    return texts, notices


def imported_annotations(
    rows: Sequence[Row], *, model: str, places: Mapping[str, int], version: Version, where: str
) -> list[Row]:
    """Upstream's annotations (whole, or reduced to lengths) with the fields that ours have.

    `places` gives each instruction its place in the data set; empty where the rows count as they
    stand. DataError for a row that says neither an instruction nor a place.
    """
    return [
        _imported(
            row, at, model=model, places=places, version=version, where=f"{where}, entry {at}"
        )
        for at, row in enumerate(rows)
    ]


def version_of(rows: Sequence[Row]) -> Version:
    """2 or 1, by the annotator, the baseline, or by preferences that are no whole numbers."""
    first = rows[0]
    for field, name in (("annotator", "name"), ("generator_1", "baseline")):
        for version, annotator in protocol.ANNOTATORS.items():
            if first.get(field) == getattr(annotator, name):
                return version
    whole = {None, 0, 1, 1.5, 2}
    return 1 if all(row.get("preference") in whole for row in rows) else 2


def judge_of(rows: Sequence[Row]) -> str:
    """The model behind a known annotator, else the annotator's own name."""
    first = rows[0]
    if "judge" in first:
        judge = first["judge"]
        return str(judge[0] if isinstance(judge, list) else judge)
    name = str(first.get("annotator", "unknown"))
    known = {annotator.name: annotator.model for annotator in protocol.ANNOTATORS.values()}
    return known.get(name, name)


def _annotations(rows: Sequence[Row], *, model: str) -> list[dict[str, Any]]:
    """One annotation an instruction, in the order of the data set."""
    preferences = {item.place: item.preference for item in unite(rows)}
    by_question: dict[int, list[Row]] = {}
    for row in rows:
        by_question.setdefault(int(row["question_id"]), []).append(row)
    found = []
    for place, games in sorted(by_question.items()):
        row = {name: games[0][name] for name in _ANNOTATION if name in games[0]}
        row["preference"] = preferences[place]
        if games[0].get("sample", 0) or "generator_2" not in row:
            row["generator_2"] = model
        if len(games) > 1:
            row.pop("raw_completion", None)
            row["orders"] = len(games)
        found.append(row | _reduced(games[0]))
    return found


def _reduced(row: Row) -> dict[str, Any]:
    """What stands for the texts in a row that was imported without them."""
    if "output_2" in row:
        return {}
    names = (
        "eval_index", "len_1", "len_2", "same_output", "first_token_logprobs", "order_swapped",
    )  # fmt: skip
    return {name: row[name] for name in names if name in row}


def _output(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {"dataset": row.get("dataset", ""), "instruction": row.get("instruction")}
    if "output_2" in row:
        found["output"] = row["output_2"]
    return {**found, "generator": row["generator_2"]}


def _board_row(model: str, rows: Sequence[Row], record: Mapping[str, Any]) -> dict[str, Any]:
    controlled = record.get("alpaca_eval", {}).get("length_controlled_winrate")
    figures = upstream_figures(unite(rows), length_controlled_winrate=controlled)
    error = record.get("length_control", {}).get("upstream_standard_error")
    return {"": model, "mode": "community", **figures, "lc_standard_error": error}


def _board(rows: Sequence[Mapping[str, Any]]) -> str:
    """A leaderboard as pandas writes it: model, then the columns; the best first."""
    ranked = sorted(rows, key=lambda row: -(row["win_rate"] or 0.0))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(ranked)
    return stream.getvalue()


def _document(rows: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(rows, indent=2) + "\n"


def _imported(
    row: Row, at: int, *, model: str, places: Mapping[str, int], version: Version, where: str
) -> Row:
    texts = (row.get("output_1"), row.get("output_2"))
    place = row.get("eval_index", row.get("question_id"))
    if place is None:
        instruction = row.get("instruction")
        if not isinstance(instruction, str):
            raise DataError("an annotation needs an 'instruction' or an 'eval_index'", where=where)
        place = places.get(instruction, None if places else at)
    if place is None:
        raise DataError("the instruction is not one of AlpacaEval's", where=where)
    if isinstance(place, bool) or not isinstance(place, int):
        raise DataError(f"the place of an instruction is no whole number: {place!r}", where=where)
    if "len_2" not in row and not all(isinstance(text, str) for text in texts):
        raise DataError("an annotation needs 'output_1' and 'output_2'", where=where)
    same = row.get("same_output", texts[0] is not None and texts[0] == texts[1])
    preference = preference_of(row.get("preference"), where)
    return {
        **row,
        "preference": preference,
        "question_id": place,
        "turn": 1,
        "sample": row.get("sample", 0),
        "order": 0 if same else _order(row),
        "category": str(row.get("dataset", "")),
        "model": model,
        "annotator": row.get("annotator", protocol.ANNOTATORS[version].name),
        "judge": row.get("judge", judge_of([row])),
        "preference_from": "identical" if same else _source(row),
        "score": None if preference is None else preference - 1,
        "stopped": row.get("stopped", True),
        "key": digest_json(["imported", model, place, row]),
    }


def _order(row: Row) -> int:
    """1 where the model's output was shown second, 2 where first; 0 where nobody knows.

    Upstream draws the order by the instruction and does not store it.
    """
    if "order_swapped" in row:
        return 2 if row["order_swapped"] else 1
    known = {annotator.name for annotator in protocol.ANNOTATORS.values()}
    if "orders" in row or "instruction" not in row or row.get("annotator") not in known:
        return 0
    return 2 if protocol.is_switched(row["instruction"]) else 1


def _source(row: Row) -> str:
    if row.get("preference") is None:
        return "nothing"
    return "probabilities" if stored_logprobs(row) else "imported"
