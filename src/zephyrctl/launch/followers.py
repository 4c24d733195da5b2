"""What does a machine do that follows another one's orders?

It waits until it sees machine 0 alive, checks that both were given the same configuration, carries
out its part of each order and ends as machine 0 ends. The run's lock and files are machine 0's:
nothing but this machine's report is written here, and what its processes write.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from zephyrctl import terminal
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import (
    ConfigError,
    EnvironmentProblem,
    Interrupted,
    JobHung,
    UsageError,
    ZephyrctlError,
)
from zephyrctl.launch import orders
from zephyrctl.launch.node import run_part
from zephyrctl.launch.orders import Order, Report
from zephyrctl.launch.patience import GONE_S, JOIN_S, LATE_S, LOOK_S, Patience, Stopper
from zephyrctl.launch.places import RENDEZVOUS, Place
from zephyrctl.launch.stopping import resumable
from zephyrctl.runs import signals
from zephyrctl.runs.store import Run, StageName

_SHOWN = 3


def follow(run: Run, recipe: Recipe, stages: Sequence[str], *, rank: int) -> list[StageName]:
    """Carry out machine 0's orders until it is done; raises the error that ended its command.

    Returns the stages that this machine took part in, each attempt counted.
    """
    signals.install()
    terminal.say(f"run    {run.root}")
    terminal.say(f"machine {rank} of {recipe.launch.nodes} follows machine 0")
    follower = Follower(run, recipe, stages, rank=rank)
    with orders.beating(run, rank):
        return follower.follow()


class Follower:
    """A machine that carries out another one's orders."""

    def __init__(self, run: Run, recipe: Recipe, stages: Sequence[str], *, rank: int) -> None:
        self._run = run
        self._recipe = recipe
        self._stages = list(stages)
        self._beat = orders.pulse(run, 0)
        self._report = Report(id="", node=rank, state="ready")
        # Written now: what machine 0 ended before is older than this file.
        orders.write_report(run, self._report)

    def follow(self) -> list[StageName]:
        """The orders, one after the other."""
        parts: list[StageName] = []
        try:
            order = self._find_leader()
            self._check(order)
            self._tell("ready", id=order.id)
            while not order.is_over:
                if order.state == "run" and order.seq > self._report.seq and order.stage:
                    self._carry_out(order, order.stage)
                    parts.append(order.stage)
                elif order.seq > self._report.seq:
                    self._tell("ended", seq=order.seq)  # it was over before we saw it
                signals.raise_if_stopping()
                time.sleep(LOOK_S)
                order = self.present(order)
        except ZephyrctlError as error:
            told = resumable(error, self._run.stage(parts[-1])) if parts else error
            if signals.stop_signal() is not None or isinstance(error, Interrupted):
                self._tell("left", error=told)
            raise told from None
        failure = order.failure()
        if failure is not None:
            raise failure
        return parts

    def _find_leader(self) -> Order:
        """The order of a machine 0 that is seen alive, or that ended since we began."""
        wait = Patience(JOIN_S)
        while True:
            signals.raise_if_stopping()
            order = orders.read_order(self._run)
            self._beat.silent_s()
            if order is not None and self._is_live(order):
                return order
            if wait.is_over():
                raise EnvironmentProblem(
                    f"no order of machine 0 came within {JOIN_S:.0f} s",
                    where=str(orders.orders_path(self._run)),
                    hint="run the same command on machine 0, and put output_root on a disk that "
                    "the machines share",
                )
            reminder = wait.reminder()
            if reminder is not None:
                terminal.say(f"waits for machine 0 in {orders.folder(self._run)}{reminder}")
            time.sleep(LOOK_S)

    def _is_live(self, order: Order) -> bool:
        """Whether it is the order of a command that runs now: not one that somebody killed, nor
        one that ended before we began."""
        if order.is_over:
            mine = orders.report_path(self._run, self._report.node)
            return orders.written_after(orders.orders_path(self._run), mine)
        return self._beat.changes > 0 and self._beat.says(order.id)

    def _check(self, order: Order) -> None:
        """The same command on the same configuration; else ConfigError or UsageError, which
        machine 0 hears of too."""
        if order.is_over:
            return
        error: ZephyrctlError | None = None
        if order.stages != self._stages:
            error = UsageError(
                f"machine 0 carries out {', '.join(order.stages)}, and machine "
                f"{self._report.node} was asked for {', '.join(self._stages)}",
                hint="run the same command on every machine",
            )
        elif order.digest != orders.digest_of(self._resolved()):
            error = ConfigError(
                f"machine {self._report.node} has another configuration than machine 0"
                f"{self._differences()}",
                where=str(self._run.config_path),
                hint="give every machine the same file and the same --set options",
            )
        if error is not None:
            self._tell("refused", id=order.id, error=error)
            raise error

    def _differences(self) -> str:
        """The keys that differ from machine 0's configuration, in words; empty where unknown."""
        theirs = orders.read_json(self._run.config_path)
        if theirs is None or "launch" not in theirs:
            return ""
        ours = orders.comparable(self._resolved())
        found = _differing(orders.comparable(theirs), ours)
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return f": {', '.join(found[:_SHOWN])}{more}" if found else ""

    def present(self, before: Order) -> Order:
        """The order as it is now; JobHung where machine 0 is gone."""
        silent = self._beat.silent_s()
        order = orders.read_order(self._run) or before
        if order.id != before.id:
            last = order.previous
            if last is not None and last["id"] == before.id:
                state: Literal["failed", "finished"] = "failed" if last["error"] else "finished"
                return replace(before, state=state, error=last["error"])
            raise JobHung("machine 0 was killed, and runs another command by now")
        if silent > GONE_S and not order.is_over:
            raise JobHung(
                f"machine 0 gave no sign of life for {silent:.0f} s",
                where=str(orders.folder(self._run)),
                hint="run the same command again on every machine",
            )
        return order

    def _carry_out(self, order: Order, stage: StageName) -> None:
        """This machine's part of an order. What ends it goes into the report: machine 0 decides
        what follows. Ctrl-C here, and a machine 0 that is gone, end the command at once."""
        node = self._report.node
        place = Place(node, self._recipe.launch.rendezvous, order.attempt)
        config = self._run.root / order.config if order.config else None
        supervision = _Supervision(self, order)
        terminal.say(f"{stage:<6} runs: part of machine {node}, order {order.seq}")
        self._tell("running", seq=order.seq)
        error: ZephyrctlError | None = None
        try:
            run_part(self._run, stage, self._recipe, place, config=config, on_poll=supervision.look)
        except ZephyrctlError as problem:
            error = supervision.gone or _lost(problem, order) or problem
        if error is None:
            terminal.say(f"{stage:<6} part of machine {node} is finished")
        elif not supervision.ended_by_leader:
            terminal.say(
                f"{stage:<6} part of machine {node} ended: {error.message.splitlines()[0]}"
            )
        by_us = isinstance(error, Interrupted) and not supervision.ended_by_leader
        if error is not None and (by_us or supervision.gone):
            raise error
        self._tell("ended", error=None if supervision.ended_by_leader else error)

    def _tell(
        self,
        state: Literal["ready", "running", "ended", "refused", "left"],
        *,
        id: str | None = None,
        seq: int | None = None,
        error: ZephyrctlError | None = None,
    ) -> None:
        before = self._report
        self._report = Report(
            id=before.id if id is None else id,
            node=before.node,
            state=state,
            seq=before.seq if seq is None else seq,
            error=error.to_json() if error else None,
        )
        orders.write_report(self._run, self._report)

    def _resolved(self) -> dict[str, Any]:
        return self._recipe.model_dump(mode="json")


class _Supervision:
    """What a follower sees of machine 0 while its own part runs."""

    def __init__(self, follower: Follower, order: Order) -> None:
        self._follower = follower
        self._order = order
        self._looked = 0.0
        self._over_at: float | None = None
        self._stop = Stopper()
        self.gone: JobHung | None = None
        """Set where machine 0 fell silent."""

    @property
    def ended_by_leader(self) -> bool:
        """Whether the part was ended because machine 0's was over."""
        return self._stop.asked is not None

    def look(self) -> None:
        """End the part where machine 0's is over and ours does not follow by itself."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if self.gone is None and self._over_at is None:
            try:
                order = self._follower.present(self._order)
            except JobHung as error:
                self.gone, self._over_at = error, now
            else:
                if order.seq != self._order.seq or order.state != "run":
                    self._over_at = now
        if self._over_at is not None and (self.gone or now - self._over_at > LATE_S):
            self._stop.now()


def _lost(error: ZephyrctlError, order: Order) -> JobHung | None:
    """The error where machine 0 is out of reach that was within it for an earlier part."""
    if isinstance(error, EnvironmentProblem) and error.where == RENDEZVOUS and order.seq > 1:
        return JobHung(error.message, where=error.where, hint=error.hint)
    return None


def _differing(theirs: dict[str, Any], ours: dict[str, Any], *, within: str = "") -> list[str]:
    """Dotted keys whose values differ."""
    found: list[str] = []
    for key in sorted({*theirs, *ours}):
        a, b = theirs.get(key), ours.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differing(a, b, within=f"{within}{key}.")
        elif a != b:
            found.append(f"{within}{key}")
    return found
