"""`zephyrctl eval agreement` and `eval judge-test`: how far does a judge agree with people?"""

from pathlib import Path
from typing import Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the commands to `zephyrctl eval`."""
    app.command("agreement")(agreement)


def agreement(
    human: Annotated[
        Path, typer.Option("--human", metavar="FILE", help="Votes of people (JSON lines).")
    ],
    judge: Annotated[
        Path, typer.Option("--judge", metavar="FILE", help="Verdicts of a judge on the pairs.")
    ],
    turn: Annotated[int, typer.Option("--turn", min=1, max=2, help="Which turn.")] = 1,
    json: JsonOption = False,
) -> None:
    """Hold a judge's recorded verdicts on pairs of answers against people's votes.

    zephyrctl eval agreement --human human.jsonl --judge gpt4_pair.jsonl --turn 1
    """
    from zephyrctl.cli import agreeing

    found = agreeing.between(human, judge, turn=turn)
    if json:
        terminal.emit_json(found.table)
        return
    for text in found.notices:
        terminal.say(f"! {text}")
    for line in agreeing.agreement_lines(found):
        terminal.out(line)
