"""How do several machines that run the same command act as one?

Machine 0 leads: it takes the lock, decides, prepares, draws, and writes an order for each attempt
at a training stage. The others follow (followers.py): they carry out their part of each order until
machine 0 is done, and end with its exit code. A machine that fails, falls silent or is asked to
stop takes the others with it. orders.py says how they speak to each other.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from zephyrctl import terminal
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import (
    EnvironmentProblem,
    Interrupted,
    JobFailed,
    JobHung,
    StoppedEarly,
    Terminated,
    ZephyrctlError,
)
from zephyrctl.launch import local, orders
from zephyrctl.launch.orders import Order, Pulse, Report
from zephyrctl.launch.patience import (
    GONE_S,
    JOIN_S,
    LATE_S,
    LOOK_S,
    Patience,
    Stopper,
)
from zephyrctl.launch.places import checked_rank, no_rendezvous, own_address
from zephyrctl.launch.plan import TRAINING, LaunchPlan
from zephyrctl.launch.watchdog import remove_empty
from zephyrctl.runs import signals
from zephyrctl.runs.store import Run, StageDir

_ON_REQUEST = (StoppedEarly, Interrupted, Terminated)
_VAGUE = ("internal", "job", "hang", "neighbour")
"""Kinds of errors that may only be the echo of another machine's."""


def machine(settings: Launch, stages: Sequence[str]) -> int | None:
    """Which of several machines this is; None where the stages need one only. ConfigError where
    the settings do not tell."""
    spans = settings.backend == "local" and settings.nodes > 1
    if not spans or not any(stage in TRAINING for stage in stages):
        return None
    rank = checked_rank(settings, settings.node_rank)
    if settings.rendezvous is None:
        raise no_rendezvous(settings)
    own_address(settings.rendezvous)  # a name that nobody knows would be waited for
    return rank


@contextmanager
def leading(run: Run, recipe: Recipe, stages: Sequence[str]) -> Iterator[Leader]:
    """Lead the other machines for the time of the block, which runs the stages."""
    leader = Leader(run, recipe, stages)
    with orders.beating(run, 0, mark=leader.id):
        try:
            yield leader
        except ZephyrctlError as error:
            leader.end(error)
            raise
        except KeyboardInterrupt:
            leader.end(Interrupted("machine 0 was stopped by Ctrl-C"))
            raise
        except BaseException as error:
            leader.end(JobFailed(f"machine 0 failed: {type(error).__name__}"))
            raise
        leader.end(None)


class Leader:
    """Machine 0 of a command on several machines."""

    def __init__(self, run: Run, recipe: Recipe, stages: Sequence[str]) -> None:
        last = orders.read_order(run)
        self.id = secrets.token_hex(8)
        self._run = run
        self._others = range(1, recipe.launch.nodes)
        self._wait_s = JOIN_S
        self._tell(
            Order(
                id=self.id,
                seq=0,
                state="wait",
                digest=orders.digest_of(recipe.model_dump(mode="json")),
                stages=list(stages),
                previous={"id": last.id, "error": last.error} if last and last.is_over else None,
            )
        )

    def start(
        self,
        plan: LaunchPlan,
        settings: Launch,
        *,
        on_poll: Callable[[], None],
        on_stop: Callable[[str], None],
    ) -> None:
        """As `local.start`, on every machine; raises the error of the one that failed first."""
        if plan.nodes == 1:
            local.start(plan, settings, on_poll=on_poll, on_stop=on_stop)
            return
        stage = Run(plan.run).stage(plan.stage)
        self.call_roll(stage)
        self._tell(
            replace(
                self._order,
                seq=self._order.seq + 1,
                state="run",
                stage=plan.stage,
                attempt=plan.attempt,
                config=_config_of(plan),
            )
        )
        others = _Others(self._run, self._order, self._others)

        def poll() -> None:
            on_poll()
            others.look()

        try:
            local.start(plan, settings, on_poll=poll, on_stop=on_stop)
        except ZephyrctlError as error:
            self._tell(replace(self._order, state="stop"))
            raise others.verdict(error, stage) from None
        finally:
            others.wait_for_end()
            remove_empty(stage)
        self._tell(replace(self._order, state="wait"))

    def end(self, error: ZephyrctlError | None) -> None:
        """Tell the others that the command is over, and how."""
        if error is None:
            self._tell(replace(self._order, state="finished", error=None))
            return
        try:
            self._tell(replace(self._order, state="failed", error=error.to_json()))
        except (ZephyrctlError, OSError):
            # The others miss our beat; what ended the command is told here all the same.
            terminal.say(f"{orders.orders_path(self._run)} could not be written")

    def _tell(self, order: Order) -> None:
        self._order = order
        orders.write_order(self._run, order)

    def call_roll(self, stage: StageDir) -> None:
        """Wait until every other machine is there and idle, for a part of `stage`; raises the error
        of one that refused, and a stop where one was asked to leave."""
        missing = {node: orders.pulse(self._run, node) for node in self._others}
        wait = Patience(self._wait_s)
        with signals.noting():
            while True:
                missing = {
                    n: beat for n, beat in missing.items() if not self._is_here(n, beat, stage)
                }
                if not missing:
                    break
                signals.raise_if_stopping()
                names = ", ".join(map(str, missing))
                if wait.is_over():
                    raise self._absent(names)
                reminder = wait.reminder()
                if reminder is not None:
                    terminal.say(f"waits for machine {names}: run the same command there{reminder}")
                time.sleep(LOOK_S)
        # It was here: one that does not come back soon after a failed attempt does not come.
        self._wait_s = GONE_S

    def _is_here(self, node: int, beat: Pulse, stage: StageDir) -> bool:
        silent = beat.silent_s()
        report = orders.read_report(self._run, node)
        if report is None or report.id != self.id:
            return False
        if (error := report.failure()) and report.state in ("refused", "left"):
            raise error if report.state == "refused" else _stopped(error, stage)
        return report.state in ("ready", "ended") and beat.changes > 0 and silent < GONE_S

    def _absent(self, names: str) -> ZephyrctlError:
        where = str(orders.folder(self._run))
        if self._order.seq:
            return JobHung(
                f"machine {names} did not come back within {self._wait_s:.0f} s",
                where=where,
                hint="the same command on every machine goes on",
            )
        return EnvironmentProblem(
            f"machine {names} did not join within {self._wait_s:.0f} s",
            where=where,
            hint="run the same command there, with its own ZEPHYRCTL_LAUNCH__NODE_RANK and with "
            "output_root on a disk that the machines share",
        )


class _Others:
    """What machine 0 sees of the others while an order runs."""

    def __init__(self, run: Run, order: Order, nodes: Sequence[int]) -> None:
        self._run = run
        self._order = order
        self._beats = {node: orders.pulse(run, node) for node in nodes}
        self._looked = 0.0
        self._first: ZephyrctlError | None = None
        self._first_at = 0.0
        self._stop = Stopper()
        self._waits_until: float | None = None

    def look(self) -> None:
        """End our part where another machine's ended badly and ours does not follow by itself."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if self._first is None:
            self._first, self._first_at = self._trouble(), now
        if self._first is not None and now - self._first_at > LATE_S:
            self._stop.now()

    def verdict(self, error: ZephyrctlError, stage: StageDir) -> ZephyrctlError:
        """The error of the part, where ours ended with `error`: perhaps that of another machine,
        of which ours is but the echo."""
        self.wait_for_end()
        theirs = self._first or self._trouble()
        if theirs is None:
            return error
        if isinstance(theirs, _ON_REQUEST):
            return _stopped(theirs, stage) if error.kind in _VAGUE else error
        if self._stop.asked is not None or (error.kind in _VAGUE and theirs.kind not in _VAGUE):
            return theirs
        return error

    def wait_for_end(self) -> None:
        """Wait until the others ended their part too, or are gone; once only."""
        if self._waits_until is None:
            self._waits_until = time.monotonic() + 3 * LATE_S
        while time.monotonic() < self._waits_until and not all(map(self._has_ended, self._beats)):
            time.sleep(LOOK_S / 2)

    def _report(self, node: int) -> Report | None:
        report = orders.read_report(self._run, node)
        mine = report is not None and (report.id, report.seq) == (self._order.id, self._order.seq)
        return report if mine else None

    def _has_ended(self, node: int) -> bool:
        report = self._report(node)
        ended = report is not None and report.state in ("ended", "left")
        return ended or self._beats[node].silent_s() > GONE_S

    def _trouble(self) -> ZephyrctlError | None:
        """The error of the first other machine whose part ended badly, or that is gone."""
        for node, beat in self._beats.items():
            silent = beat.silent_s()
            report = self._report(node)
            if report is not None and (error := report.failure()):
                return error
            if silent > GONE_S and (report is None or report.state == "running"):
                return JobHung(
                    f"machine {node} gave no sign of life for {silent:.0f} s",
                    where=str(orders.folder(self._run)),
                )
        return None


def _stopped(theirs: ZephyrctlError, stage: StageDir) -> ZephyrctlError:
    """The error for ranks that were left alone because another machine was asked to stop."""
    stands = stage.resumable_work()
    if stands:
        hint = "the same command on every machine goes on from there"
        return StoppedEarly(f"{theirs.message}, on another machine; {stands}", hint=hint)
    return Terminated(f"{theirs.message}, on another machine")


def _config_of(plan: LaunchPlan) -> str | None:
    """The configuration that the plan's processes read in place of the run's, within the run."""
    if "--config" not in plan.argv:
        return None
    return str(Path(plan.argv[plan.argv.index("--config") + 1]).relative_to(plan.run))
