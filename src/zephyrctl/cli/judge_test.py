"""`zephyrctl eval agreement` and `eval judge-test`: how far does a judge agree with people?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import (
    ConfigOption,
    JsonOption,
    MaxCostOption,
    RecipeOption,
    SetOption,
    YesOption,
    load_from,
)
from zephyrctl.cli.run import DryRunOption
from zephyrctl.errors import GateMissed


def register(app: typer.Typer) -> None:
    """Add the commands to `zephyrctl eval`."""
    app.command("judge-test")(judge_test)
    app.command("agreement")(agreement)


def judge_test(
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="openai:MODEL, openai+http://host/v1:MODEL, local:MODEL or replay:FILE.",
        ),
    ] = None,
    pairs: Annotated[
        int, typer.Option("--pairs", "-n", min=1, help="Pairs of answers in the sample.")
    ] = 200,
    turn: Annotated[
        int | None, typer.Option("--turn", min=1, max=2, help="Only this turn [both].")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which sample is drawn.")] = 0,
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Folder with MT-Bench's files and votes."),
    ] = None,
    max_cost: MaxCostOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Test a judge on pairs of answers that people voted on, and keep its card.

    The card is shown with every later score of the same judge.

    zephyrctl eval judge-test --judge openai:gpt-4o --max-cost 3
    """
    from zephyrctl.cli import examining, spending

    flags = {
        "eval.judge.spec": judge,
        "eval.data_dir": str(data_dir) if data_dir else None,
        "eval.max_cost": max_cost,
    }
    loaded = load_from(config, recipe, sets, flags)
    sample = examining.Sample(pairs, seed, turn)
    if dry_run:
        bills = [examining.expected_cost(loaded.recipe, sample)]
        if json:
            terminal.emit_json(spending.to_json(bills, loaded.recipe))
            return
        for line in spending.lines(bills, loaded.recipe):
            terminal.out(line)
        return
    card = examining.examine(loaded.recipe, sample, yes=yes, may_ask=not json)
    _show(card, as_json=json)


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


def _show(card: dict[str, Any], *, as_json: bool) -> None:
    """Print a card; exit 7 where too few verdicts could be read."""
    from zephyrctl.cli import judge_card

    if as_json:
        terminal.emit_json(card)
    else:
        for line in judge_card.card_lines(card):
            terminal.out(line)
    if card["agreement"]["judge"] is not None:
        return
    if as_json:  # the card stays the one object on stdout
        raise typer.Exit(GateMissed.exit_code)
    raise GateMissed(card["notices"][0], hint="a judge that follows its instructions better")
