"""`zephyrctl eval rescore`: every number again from stored judgments, without a judge."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zephyrctl import terminal
from zephyrctl.cli import rescoring_alpaca
from zephyrctl.cli.options import APP, JsonOption
from zephyrctl.errors import GateMissed, UsageError

_MOST_COLUMNS = 4
"""Models whose categories stand beside each other."""

app = typer.Typer(help="Compute scores again from stored judgments: no judge, no key.", **APP)
app.command("alpaca-eval")(rescoring_alpaca.alpaca_eval)


@app.command("mt-bench")
def mt_bench(
    judgments: Annotated[
        Path,
        typer.Option(metavar="FILE", help="FastChat's model_judgment/*.jsonl, or our own."),
    ],
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Say which judgments were given to other answers."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="MT-Bench's files [its 80 by their ids]."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compute MT-Bench's figures from stored judgments, single or pairwise.

    The last row of a question, turn and model counts; `fastchat` is upstream's own arithmetic,
    which counts all. Exit 7 where under 80 % of the judgments stand.

    zephyrctl eval rescore mt-bench --judgments gpt-4_single.jsonl
    """
    from zephyrctl.evaluation.mt_bench.rescoring import rescore
    from zephyrctl.evaluation.mt_bench.stored import questions_in, read_rows

    rows = read_rows(judgments)
    found = rescore(rows, questions=questions_in(data_dir) if data_dir else None)
    notices = [*found.notices, *(_held_against(rows, answers, data_dir) if answers else ())]
    for text in notices:
        terminal.say(f"! {text}")
    if json:
        terminal.emit_json(found.to_json())
    else:
        _show(found.to_json())
    if found.thin:
        problem = f"too few verdicts for a score: {', '.join(found.thin)}"
        terminal.say_error(GateMissed(problem, where=str(judgments)))
        raise typer.Exit(GateMissed.exit_code)


def _held_against(
    rows: list[dict[str, Any]], answers: Path, data_dir: Path | None
) -> tuple[str, ...]:
    from zephyrctl.evaluation.mt_bench.stored import (
        files_in,
        given_to_others,
        read_answers_of,
    )

    if data_dir is None:
        raise UsageError(
            "judge prompts are rebuilt from MT-Bench's files", hint="--data-dir DIR names them"
        )
    compared, others = given_to_others(rows, read_answers_of(answers), files_in(data_dir))
    if not compared:
        return ("no judgment could be held against the answers: neither prompts nor models agree",)
    terminal.say(f"{compared - len(others)} of {compared} judge prompts are those of the answers")
    if not others:
        return ()
    first = others[0]
    return (
        f"{len(others)} judgments were given to other answers, the first is on question "
        f"{first['question_id']}, turn {first['turn']}",
    )


def _show(found: dict[str, Any]) -> None:
    from zephyrctl.reports.tables import aligned

    models, pairs = found.get("models", []), found.get("pairs", [])
    table = [("model", "average", "95 %", "turn 1", "turn 2", "n", "unparsed", "fastchat")]
    for model in models:
        table.append(
            (
                terminal.safe(model["model"]),
                _number(model["average"]),
                _bounds(*model["interval"]),
                _number(model["turn_1"]),
                _number(model["turn_2"]),
                str(model["n"]),
                str(model["unparsed"]),
                _number(model["fastchat"]["average"]),
            )
        )
    for line in aligned(table) if models else ():
        terminal.out(line)
    if 0 < len(models) <= _MOST_COLUMNS:
        names = dict.fromkeys(name for model in models for name in model["by_category"])
        rows = [("by category", *(terminal.safe(model["model"]) for model in models))]
        rows += [(n, *(_number(m["by_category"].get(n)) for m in models)) for n in names]
        for line in ("", *aligned(rows)):
            terminal.out(line)
    for pair in pairs:
        terminal.out(
            f"{pair['model_1']} against {pair['model_2']}: {pair['wins_1']} wins, "
            f"{pair['ties']} ties, {pair['wins_2']} losses, {pair['errors']} errors"
        )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _bounds(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.2f}–{high:.2f}"
