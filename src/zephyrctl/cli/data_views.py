"""How does one prepared row look in a terminal, with what is trained and with its checks?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from zephyrctl import terminal
from zephyrctl.config.schema import Recipe
from zephyrctl.data.inspection import Inspection, Part, inspect
from zephyrctl.data.load import Split, Stage
from zephyrctl.data.prepared_rows import read_row
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.data.without_torch import do_without_torch
from zephyrctl.errors import DataError
from zephyrctl.models.resolve import locate
from zephyrctl.runs.store import run_of
from zephyrctl.terminal import out_styled as out

_BOLD, _GREEN, _DIM, _RED, _OFF = "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[31m", "\x1b[0m"


def look(recipe: Recipe, *, stage: Stage, split: Split, index: int, prepare: str) -> Inspection:
    """One prepared row of this recipe's run, with the tokenizer it was prepared with.

    `prepare` is the command to be named where nothing is prepared. The process can load no model
    afterwards.
    """
    account = read_account(recipe, prepare=prepare)
    if stage not in account:
        raise DataError(
            f"the {stage} data of this run is not prepared: the recipe names no sources for it",
            where=f"data.{stage}.train",
            hint=f"list sources under data.{stage}.train, then: {prepare}",
        )
    row = read_row(run_of(recipe), stage=stage, split=split, index=index)
    do_without_torch()
    base = locate(recipe.model.base, revision=recipe.model.revision)
    tokenizer = load_tokenizer(str(base.path), chat_template=recipe.model.chat_template)
    trains_all = stage == "sft" and recipe.sft.loss_on == "all"
    max_length = recipe.sft.max_length if stage == "sft" else recipe.dpo.max_length
    return inspect(row, tokenizer, max_length=max_length, trains_all=trains_all)


def read_account(recipe: Recipe, *, prepare: str) -> dict[str, Any]:
    """The data account of this recipe's run; DataError where the data is not prepared.

    `prepare` is the command that would prepare it.
    """
    path = run_of(recipe).stage("data").path / "account.json"
    if not path.is_file():
        raise DataError("the data of this run is not prepared", where=str(path), hint=prepare)
    return json.loads(path.read_text(encoding="utf-8"))


def read_timing(recipe: Recipe) -> dict[str, Any]:
    """How long the steps of preparing took, by stage; empty where that is not known."""
    path = run_of(recipe).stage("data").path / "timing.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def show_row(seen: Inspection, *, tokens: bool, mask: bool) -> None:
    """Print a row: its text, or its tokens, or its text with the trained part marked; then checks.

    Trained text is green, or stands in ⟦ ⟧ where there is no colour.
    """
    source = seen.row["source"]
    place = f"{seen.stage} {seen.split}, row {seen.index} of {seen.rows}"
    out(f"{_coloured(place, _BOLD)}  " + terminal.safe(f"id {seen.id}, from {source}"))
    if tokens or mask:
        for part in seen.parts:
            out(_heading(f"{part.name}: {len(part.ids)} tokens, {sum(part.mask)} trained"))
            if tokens:
                for line in _token_lines(part):
                    out(line)
            else:
                out("".join(_marked(text, trained) for text, trained in part.spans()))
    else:
        for line in _text_lines(seen.row):
            out(line)
    out("")
    for check in seen.checks:
        word = _coloured("pass", _GREEN) if check.passed else _coloured("FAIL", _RED)
        out(f"{word}  {check.name}" + (f"  ({check.detail})" if check.detail else ""))


def _text_lines(row: dict[str, Any]) -> Iterator[str]:
    for name in ("messages", "prompt", "chosen", "rejected"):
        if name not in row:
            continue
        if name != "messages":
            score = row.get(f"{name}_score")
            yield _heading(name + (f", score {score:g}" if score is not None else ""))
        for message in row[name]:
            role = _coloured(terminal.safe(f"[{message['role']}]"), _BOLD)
            yield f"{role} {terminal.safe(message['content'])}"
            for call in message.get("tool_calls") or ():
                yield f"  calls {_as_json(call)}"
    if row.get("tools"):
        yield _heading("tools")
        for schema in row["tools"]:
            yield _as_json(schema)


def _as_json(value: object) -> str:
    return terminal.safe(json.dumps(value, ensure_ascii=False))


def _token_lines(part: Part) -> Iterator[str]:
    """Position, mark, id and text of each token; the text as JSON, so that white space is seen."""
    width = len(str(len(part.ids)))
    for place, token in enumerate(part.ids):
        trained = part.mask[place]
        text = _as_json(part.pieces[place])
        shown = _coloured(text, _GREEN if trained else _DIM)
        yield f"{place:>{width}} {'■' if trained else '·'} {token:>7}  {shown}"


def _marked(text: str, trained: bool) -> str:
    if not trained:
        return terminal.safe(text)
    if terminal.use_color(sys.stdout):
        return _coloured(terminal.safe(text), _GREEN)
    return f"⟦{terminal.safe(text)}⟧"


def _heading(text: str) -> str:
    return _coloured(f"── {text}", _BOLD)


def _coloured(text: str, code: str) -> str:
    return f"{code}{text}{_OFF}" if terminal.use_color(sys.stdout) else text
