"""How do a prepared row and the data account look in a terminal?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from zephyrctl import terminal
from zephyrctl.config.schema import Recipe
from zephyrctl.data.inspection import Inspection, Part, inspect, read_row
from zephyrctl.data.load import Split, Stage
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import DataError
from zephyrctl.models.resolve import locate
from zephyrctl.runs.store import run_of

_GREEN, _DIM, _RED, _OFF = "\x1b[32m", "\x1b[2m", "\x1b[31m", "\x1b[0m"
_BAR = 30


def look(recipe: Recipe, *, stage: Stage, split: Split, index: int) -> Inspection:
    """One prepared row of this recipe's run, with the tokenizer it was prepared with."""
    read_account(recipe)
    row = read_row(run_of(recipe), stage=stage, split=split, index=index)
    base = locate(recipe.model.base, revision=recipe.model.revision)
    tokenizer = load_tokenizer(str(base.path), chat_template=recipe.model.chat_template)
    return inspect(row, tokenizer)


def read_account(recipe: Recipe) -> dict[str, Any]:
    """The data account of this recipe's run; DataError where the data is not prepared."""
    path = run_of(recipe).stage("data").path / "account.json"
    if not path.is_file():
        raise DataError(
            "the data of this run is not prepared", where=str(path), hint="zephyrctl data prepare"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def show_row(seen: Inspection, *, tokens: bool, mask: bool) -> None:
    """Print a row: its text, or its tokens, or its text with the trained part marked; then checks.

    Trained text is green, or stands in ⟦ ⟧ where there is no colour.
    """
    terminal.out(f"row {seen.id} from {seen.row['source']}")
    if tokens:
        for part in seen.parts:
            terminal.out(f"── {part.name}: {len(part.ids)} tokens, {sum(part.mask)} trained")
            for line in _token_lines(part):
                _out(line)
    elif mask:
        for part in seen.parts:
            terminal.out(f"── {part.name}: {len(part.ids)} tokens, {sum(part.mask)} trained")
            _out("".join(_marked(text, trained) for text, trained in part.spans()))
    else:
        for line in _text_lines(seen.row):
            terminal.out(line)
    terminal.out("")
    for check in seen.checks:
        word = _coloured("pass", _GREEN) if check.passed else _coloured("FAIL", _RED)
        _out(f"{word}  {check.name}" + (f"  ({check.detail})" if check.detail else ""))


def account_lines(account: dict[str, Any]) -> Iterator[str]:
    """The table of `zephyrctl data stats`."""
    for stage in ("sft", "dpo"):
        if stage in account:
            yield from _stage_lines(stage, account[stage])
    for item in account["decontamination"]:
        state = f"{item['prompts']} prompts" if item["status"] == "checked" else item["reason"]
        yield f"decontamination against {item['name']}: {item['status']} ({state})"


def _stage_lines(stage: str, part: dict[str, Any]) -> Iterator[str]:
    yield f"{stage}  {part['rows_in']} rows in"
    for source in part["sources"]:
        yield f"  from {source['path']} ({source['split']}, format {source['format']}): " + (
            f"{source['rows']} rows" + (f" + {source['repeated']}" if source["repeated"] else "")
        )
    width = max((len(str(count)) for count in part["removed"].values()), default=1)
    for kind, sign in (("removed", "−"), ("repaired", "~"), ("flagged", "!")):
        for reason, count in part[kind].items():
            yield f"  {sign} {count:>{width}}  {reason}" + (" (repaired)" if sign == "~" else "")
    yield "  = " + ", ".join(f"{count} {split}" for split, count in part["rows_out"].items())
    for split, table in part["splits"].items():
        if table["rows"]:
            yield from _length_lines(split, table)
    if part["length_bias"] and part["length_bias"]["pairs"]:
        bias = part["length_bias"]
        yield (
            f"  length bias: chosen − rejected = {bias['mean_difference']:+.1f} tokens on average; "
            f"chosen is longer in {bias['chosen_longer']:.0%}"
        )
    if part["estimated_steps"] is not None:
        yield f"  about {part['estimated_steps']} optimizer steps"
    yield ""


def _length_lines(split: str, table: dict[str, Any]) -> Iterator[str]:
    quantiles = table["quantiles"]
    yield (
        f"  {split}: {table['tokens']} tokens, {table['trained_tokens']} trained; "
        f"a row has {quantiles['p50']} (median), {quantiles['p95']} (p95), {table['longest']} at "
        f"most; {table['rows_cut']} cut, {table['prompts_cut']} prompts cut; "
        f"{table['sequences']} sequences, {table['packing_efficiency']:.0%} full"
    )
    most = max(item["rows"] for item in table["histogram"])
    for item in table["histogram"]:
        bar = "█" if terminal.speaks_unicode(sys.stdout) else "#"
        length = max(1, round(_BAR * item["rows"] / most)) if item["rows"] else 0
        yield f"    {item['from']:>6}..{item['to']:<6} {item['rows']:>8}  {bar * length}"


def _text_lines(row: dict[str, Any]) -> Iterator[str]:
    for name in ("messages", "prompt", "chosen", "rejected"):
        if name not in row:
            continue
        if name != "messages":
            score = row.get(f"{name}_score")
            yield f"── {name}" + (f", score {score:g}" if score is not None else "")
        for message in row[name]:
            yield f"[{message['role']}] {message['content']}"


def _token_lines(part: Part) -> Iterator[str]:
    for token, piece, trained in zip(part.ids, part.pieces, part.mask, strict=True):
        text = terminal.safe(json.dumps(piece, ensure_ascii=False))
        shown = _coloured(text, _GREEN if trained else _DIM)
        yield f"{'■' if trained else '·'} {token:>7}  {shown}"


def _marked(text: str, trained: bool) -> str:
    if not trained:
        return terminal.safe(text)
    if terminal.use_color(sys.stdout):
        return _coloured(terminal.safe(text), _GREEN)
    return f"⟦{terminal.safe(text)}⟧"


def _coloured(text: str, code: str) -> str:
    return f"{code}{text}{_OFF}" if terminal.use_color(sys.stdout) else text


def _out(line: str) -> None:
    """One line whose foreign text is safe already; our own colours would not survive `out`."""
    sys.stdout.write(line + "\n")
