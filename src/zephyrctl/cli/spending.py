"""What will a judge cost, and is that agreed to? Asked before a stage is started, not after hours.

A limit or `--yes` is an agreement; without one a person is asked, and where there is none to ask,
nothing is spent. A judge that costs nothing needs no agreement.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import typer

from zephyrctl import terminal
from zephyrctl.catalogue import BENCHMARKS
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import Interrupted, UsageError
from zephyrctl.evaluation.benchmark import Benchmark, LeftOut
from zephyrctl.evaluation.bill import Bill, bills_of
from zephyrctl.evaluation.judges.open import require_access
from zephyrctl.evaluation.spending import dollars, unknown_price
from zephyrctl.reports.numbers import duration
from zephyrctl.runs.store import STAGES, Run, StageName
from zephyrctl.stages.inputs import inputs
from zephyrctl.stages.pipeline import plan_steps

_TRAINED = ("sft", "dpo")
_COLUMNS = 80


def agree(
    recipe: Recipe,
    run: Run,
    stages: Sequence[str],
    *,
    force: Collection[str],
    yes: bool,
    may_ask: bool,
) -> None:
    """Say what the judge will cost, and see that it is agreed to.

    Errors as in `agree_to`.
    """
    agree_to(expected(recipe, run, stages, force=force), recipe, yes=yes, may_ask=may_ask)


def agree_to(bills: Sequence[Bill], recipe: Recipe, *, yes: bool, may_ask: bool) -> None:
    """See that the judge can be asked, and that these bills are agreed to.

    CredentialsError where calls are missing and there is no key for them, NetworkError where the
    network is forbidden; UsageError where they cost more than `eval.max_cost`, where their price is
    unknown and there is a limit, and where nobody agreed; Interrupted where a person said no.
    """
    bills = [bill for bill in bills if bill.missing]
    if not bills:
        return
    require_access(recipe)
    if all(bill.price is not None and bill.price.is_free for bill in bills):
        return
    for line in lines(bills, recipe):
        terminal.say(line)
    _check_limit(bills, recipe)
    if yes or recipe.eval.max_cost is not None:
        return
    _ask(bills, may_ask=may_ask)


def expected(
    recipe: Recipe, run: Run, stages: Sequence[str], *, force: Collection[str]
) -> list[Bill]:
    """The bills of all judged benchmarks; none where the stage `eval` would be skipped."""
    if "eval" not in stages or recipe.eval.judge.spec is None:
        return []
    wanted: list[StageName] = [name for name in STAGES if name in stages]
    steps = {step.stage: step for step in plan_steps(recipe, run, wanted, force=force)}
    if steps["eval"].decision.action == "skip":
        return []
    trained = {name for name in _TRAINED if name in steps and steps[name].decision.action != "skip"}
    made = [BENCHMARKS.load(name)(recipe) for name in recipe.eval.benchmarks]
    benchmarks: list[Benchmark] = [each for each in made if not isinstance(each, LeftOut)]
    anew = trained | _changed(recipe, run)
    return list(bills_of(benchmarks, recipe, run, anew=anew, fresh="eval" in force))


def lines(bills: Sequence[Bill], recipe: Recipe) -> list[str]:
    """The bills as people read them."""
    found: list[str] = []
    for bill in bills:
        found += _bill_lines(bill, limit=recipe.eval.max_cost)
    if len(bills) > 1:
        usd, most = _total(bills, "usd"), _total(bills, "usd_most")
        found += _wrapped(f"in all {_cost(usd)}" + (f", at most {dollars(most)}" if most else ""))
    return found


def to_json(bills: Sequence[Bill], recipe: Recipe) -> dict[str, Any]:
    """The bills as data, for a dry run."""
    return {
        "bills": [bill.to_json() for bill in bills],
        "usd": _total(bills, "usd"),
        "usd_most": _total(bills, "usd_most"),
        "max_cost": recipe.eval.max_cost,
    }


def spent_line(metrics: Mapping[str, Any]) -> str:
    """What the judge really cost, from the metrics of the stage."""
    cost = metrics["judge.usd"]
    paid = "at an unknown price" if cost is None else f"for {dollars(cost)}"
    return (
        f"judge  answered {metrics['judge.calls']:,} requests {paid}: "
        f"{metrics['judge.prompt_tokens']:,} prompt and "
        f"{metrics['judge.completion_tokens']:,} completion tokens"
    )


def _changed(recipe: Recipe, run: Run) -> set[str]:
    """Models that are not what they were at the last evaluation."""
    manifest = run.stage("eval").read_manifest()
    if manifest is None:
        return set()
    now: Mapping[str, Any] = inputs("eval", recipe, run, locate_base=False)
    keys = {name: f"model {name}" for name in recipe.eval.models}
    return {
        name
        for name, key in keys.items()
        if key in manifest.inputs and manifest.inputs[key] != now.get(key)
    }


def _check_limit(bills: Sequence[Bill], recipe: Recipe) -> None:
    """UsageError where it is clear beforehand that the limit will not do, or cannot be kept."""
    limit = recipe.eval.max_cost
    if limit is None:
        return
    usd = _total(bills, "usd")
    if usd is None:
        raise unknown_price(str(recipe.eval.judge.spec))
    if usd > limit:
        fewer = "pairs: -n N" if any(bill.pairs for bill in bills) else "questions: --limit N"
        raise UsageError(
            f"the judge would cost about {dollars(usd)}, over --max-cost {limit:g}",
            where="eval.max_cost",
            hint=f"--max-cost {_above(usd):g}, a cheaper judge, or fewer {fewer}",
        )


def _ask(bills: Sequence[Bill], *, may_ask: bool) -> None:
    usd = _total(bills, "usd")
    cost = "at an unknown price" if usd is None else f"for about {dollars(usd)}"
    calls = sum(bill.missing for bill in bills)
    is_there = terminal.is_tty(sys.stdin) and terminal.is_tty(sys.stderr)
    if not (may_ask and is_there):
        raise UsageError(
            f"{calls:,} calls of a judge {cost}: nobody agreed to it",
            where="eval.judge.spec",
            hint="--yes" if usd is None else f"--max-cost {_above(usd):g}, or --yes",
        )
    if not typer.confirm(terminal.safe(f"Ask the judge {cost}?"), err=True):
        raise Interrupted("nothing was asked of the judge", hint="--dry-run shows the bill again")


def _bill_lines(bill: Bill, *, limit: float | None) -> list[str]:
    """One bill on lines of at most 80 columns."""
    head = f"{bill.judge} · {' × '.join(_extent(bill))}"
    wanted = (
        f"{bill.benchmark}: {bill.wanted:,} judgments wanted, {bill.found:,} found from an "
        "earlier run"
    )
    if not bill.missing:
        return [*_wrapped(head, label="judge"), *_wrapped(wanted)]
    cap = "" if limit is None else f" (cap {dollars(limit)})"
    most = f", at most {dollars(bill.usd_most)}" if bill.usd_most else ""
    time = "" if bill.seconds is None else f" in {duration(bill.seconds)} or more"
    calls = (
        f"{bill.missing:,} calls{time}{most}: about {bill.prompt_tokens:,} prompt and "
        f"{bill.completion_tokens:,} completion tokens"
    )
    if bill.price is not None and not bill.price.is_free:
        calls += (
            f" at {dollars(bill.price.prompt)} and {dollars(bill.price.completion)} a million, "
            f"{bill.price.origin}"
        )
    found = [
        *_wrapped(f"{head} · {_cost(bill.usd)}{cap}", label="judge"),
        *_wrapped(wanted),
        *_wrapped(calls),
    ]
    if bill.stand_ins:
        found += _wrapped(
            f"answers of {', '.join(bill.stand_ins)} are still to be written, taken as "
            f"{bill.stand_in_characters:,} characters"
        )
    return found


def _extent(bill: Bill) -> list[str]:
    """What the calls multiply to."""
    if bill.pairs:
        return [_counted(bill.pairs, "pair"), "2 orders"]
    against = any(" against " in match for match in bill.matches)
    repeats = [_counted(bill.repeats, "repeat")] if bill.repeats > 1 else []
    return [
        _counted(bill.questions, "question"),
        _counted(bill.turns, "turn"),
        _counted(len(bill.matches), "match" if against else "model"),
        *repeats,
    ]


def _wrapped(text: str, *, label: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=f"{label:<7}",
        subsequent_indent=" " * 7,
        break_on_hyphens=False,
    )


def _cost(usd: float | None) -> str:
    if usd is None:
        return "price unknown"
    return f"est. {dollars(usd)}" if usd else "at no cost"


def _total(bills: Sequence[Bill], name: str) -> float | None:
    """The sum over all bills; None where one has no price."""
    amounts = [getattr(bill, name) for bill in bills]
    return None if None in amounts else sum(amounts)


def _above(usd: float) -> float:
    """A round limit that leaves room for judgments longer than expected."""
    for step in (0.01, 0.1, 1.0, 10.0, 100.0):
        if 1.5 * usd <= 10 * step:
            return round((1.5 * usd // step + 1) * step, 2)
    return round(1.5 * usd)


def _counted(number: int, noun: str) -> str:
    plural = {"match": "matches"}.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"
