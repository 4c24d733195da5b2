"""How is a working stage shown: live on a terminal, as plain lines, as JSON lines, or not at all?

The viewer reads the stage's stream and draws; the stage itself never draws. `poll` is cheap and
meant to be called several times a second.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, get_args

from zephyrctl import terminal
from zephyrctl.errors import UsageError, ZephyrctlError
from zephyrctl.registry import did_you_mean
from zephyrctl.reports.closing import closing_lines
from zephyrctl.reports.live import CELLS, Moment, Screen, frame
from zephyrctl.reports.numbers import duration, number, stopwatch
from zephyrctl.reports.provenance import device_words
from zephyrctl.reports.stream import StageStream, pauses_ahead, plain_values
from zephyrctl.runs.store import Run, StageName

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

Mode = Literal["live", "plain", "json", "none"]
Asked = Literal["auto", "live", "plain", "json", "none"]

PLAIN_INTERVAL_S = 30.0
"""The plain log has at most one line of training metrics, and one per task, in this time."""
_IDENTITY = ("kind", "event", "text", "split", "step", "task", "done")
LATE_S = 10.0
"""A prediction is withdrawn where the end did not come this long after it."""
_REDRAW_S = 0.2
_REDRAW_SHARE = 0.05
"""Drawing takes at most this share of a core: the cores belong to the training."""

# What a plain line carries: short key by metric.
_PLAIN_KEYS = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "logps/chosen": "chosen_logps",
    "logps/rejected": "rejected_logps",
}


def choose_mode(
    asked: str | None = None,
    *,
    json_output: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Mode:
    """The way to show progress: `--progress`, then ZEPHYRCTL_PROGRESS, then what stderr is.

    With `--json` stdout carries one object only, so there is no stream of JSON lines beside it
    and nothing is shown unless it was asked for. Live needs a terminal that can move its cursor.
    """
    env = os.environ if environment is None else environment
    named = asked or env.get("ZEPHYRCTL_PROGRESS") or "auto"
    if named not in get_args(Asked):
        raise UsageError(
            f"unknown way to show progress '{named}'{did_you_mean(named, get_args(Asked))}",
            where="--progress" if asked else "ZEPHYRCTL_PROGRESS",
            hint=f"one of {', '.join(get_args(Asked))}",
        )
    can_draw = terminal.is_tty(sys.stderr) and env.get("TERM") != "dumb"
    if named == "auto":
        if json_output:
            return "none"
        return "live" if can_draw and not env.get("CI") else "plain"
    if named == "json":
        return "none" if json_output else "json"
    if named == "live":
        return "live" if can_draw else "plain"
    return "none" if named == "none" else "plain"


class Viewer:
    """Shows one stage of one run; a context manager that closes whatever it drew.

    What the stage said in earlier attempts is taken in but not said again, unless `replay`.
    `hint_next` ends the summary with the command that comes next.
    """

    def __init__(
        self,
        run: Run,
        stage: StageName,
        mode: Mode = "plain",
        *,
        hint_next: bool = True,
        replay: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.run = run
        self.stage: StageName = stage
        self.mode: Mode = mode
        self.stream = StageStream(run.stage(stage).path)
        self._hint_next = hint_next
        self._clock = clock
        self._began = clock()
        self._closed = False
        self._intervals: list[int | None] | None = None
        self._said: set[int] = set()
        self._say_from = float("-inf") if replay else self._began
        self._sink = _SINKS[mode](self)
        self.poll()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(error)

    def poll(self) -> None:
        """Take in new records and show them."""
        if self._closed:
            return
        for record in self.stream.poll():
            if record["t"] >= self._say_from and self._is_new(record):
                self._sink.record(record)
        self._sink.tick()

    def close(self, error: BaseException | None = None) -> None:
        """Show the rest and, where the stage ended well, its summary; the terminal is then free."""
        if self._closed:
            return
        try:
            if error is None or isinstance(error, ZephyrctlError):
                self.poll()
        finally:
            self._closed = True
            self._sink.close(failed=error is not None)
        if error is None and self.mode != "none":
            lines = closing_lines(
                self.run,
                self.stage,
                hint_next=self._hint_next,
                with_notices=self.mode != "plain",  # the plain log holds them already
            )
            for line in lines:
                terminal.say(line)

    def moment(self) -> Moment:
        """The clock, the time spent and the time left as of now."""
        now = self._clock()
        stream = self.stream
        left = stream.remaining_s(pauses_ahead=self._pauses_ahead())
        if left is not None and stream.updated is not None:
            left -= max(0.0, now - stream.updated)
            # Past that it hangs, or loads again, and nobody knows the end.
            left = None if left < -LATE_S else max(0.0, left)
        began = max(stream.started or self._began, self._say_from)
        return Moment(now=now, elapsed_s=max(0.0, now - began), remaining_s=left)

    def _is_new(self, record: dict[str, Any]) -> bool:
        """Whether a record was not said yet: a stream that was cut back to a checkpoint is read
        again from its beginning."""
        key = hash((record["t"], *(record.get(name) for name in _IDENTITY)))
        is_new = key not in self._said
        self._said.add(key)
        return is_new

    def title(self) -> str:
        """Stage, run and device."""
        manifest = self.run.stage(self.stage).read_manifest()
        parts: list[str] = [self.stage, self.run.name]
        if manifest is not None and manifest.hardware:
            parts.append(device_words(manifest.hardware, world_size=manifest.world_size))
        return terminal.safe(" · ".join(parts))

    def _pauses_ahead(self) -> int:
        if self.stage not in CELLS:
            return 0
        if self._intervals is None:
            recipe = self.run.recipe()
            section = recipe.sft if self.stage == "sft" else recipe.dpo
            self._intervals = [section.eval_every, section.sample_every, section.save_every]
        return pauses_ahead(step=self.stream.step, total=self.stream.total, every=self._intervals)


class _Silent:
    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def record(self, record: dict[str, Any]) -> None:
        """Take one new record."""

    def tick(self) -> None:
        """Time passes."""

    def close(self, *, failed: bool) -> None:
        """Nothing more will come."""


class _JsonLines(_Silent):
    """Every record of the stream on stdout, one JSON object per line, with its stage."""

    def record(self, record: dict[str, Any]) -> None:
        terminal.emit_json({"stage": self.viewer.stage, **record})


class _PlainLog(_Silent):
    """Lines of `key=value` on stderr, without ANSI: fit for a file, a CI log, a screen reader."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self._last_said: dict[str, float] = {}
        self._finished: set[str] = set()
        self._headed = False
        self._pending: str | None = None

    def record(self, record: dict[str, Any]) -> None:
        if not self._headed:
            self._headed = True
            terminal.say(f"== {self.viewer.title()}")
        match record.get("kind"):
            case "metrics":
                self._metrics(record)
            case "progress":
                self._progress(record)
            case "notice":
                word = "note" if record.get("level") == "info" else "warning"
                self._say(f"{word}: {terminal.safe(record['text'])}")
            case "event":
                self._event(record)

    def close(self, *, failed: bool) -> None:
        if self._pending is not None:
            self._say(self._pending)
            self._pending = None

    def _metrics(self, record: dict[str, Any]) -> None:
        split = record["split"]
        values = plain_values(record["values"], split=split)
        words = [f"step={record['step']}/{record['total']}"]
        if split != "train":
            words.insert(0, terminal.safe(split))
        words += [
            f"{key}={number(values[name])}" for name, key in _PLAIN_KEYS.items() if name in values
        ]
        if split != "train":
            self._say(" ".join(words))
            return
        moment = self.viewer.moment()
        if moment.remaining_s is not None:
            words.append(f"eta={stopwatch(moment.remaining_s)}")
        line = " ".join(words)
        if self._is_due("train", moment.now):
            self._pending = None
            self._say(line)
        else:
            self._pending = line

    def _progress(self, record: dict[str, Any]) -> None:
        task = self.viewer.stream.tasks.get(record["task"])
        if task is None:
            return
        now = self.viewer.moment().now
        total = "" if record["total"] is None else f"/{record['total']}"
        words = [f"{terminal.safe(task.name)}: {record['done']}{total} {terminal.safe(task.unit)}"]
        finished = record["total"] is not None and record["done"] >= record["total"]
        if finished:
            if task.name in self._finished:  # a task may report its end twice
                return
            self._finished.add(task.name)
            words.append(f"in {duration(task.updated - task.began)}")
        elif task.updated == task.started:
            self._finished.discard(task.name)
            self._last_said[f"task {task.name}"] = now  # a short task is told at its end only
            return
        elif not self._is_due(f"task {task.name}", now):
            return
        elif task.rate is not None:
            words.append(f"rate={number(task.rate, digits=3)}/s")
            if task.remaining_s is not None:
                words.append(f"eta={stopwatch(task.remaining_s)}")
        self._say(" ".join(words))

    def _event(self, record: dict[str, Any]) -> None:
        name, step = record.get("event"), record.get("step")
        if name == "checkpoint":
            self._say("checkpoint" + ("" if step is None else f" step={step}"))
        elif name == "resumed" and (step is not None or self.viewer.stage not in CELLS):
            # Training says a second time from which step it goes on.
            self._say("resumed" + ("" if step is None else f" from step {step}"))

    def _is_due(self, key: str, now: float) -> bool:
        last = self._last_said.get(key)
        if last is not None and now - last < PLAIN_INTERVAL_S:
            return False
        self._last_said[key] = now
        return True

    def _say(self, text: str) -> None:
        terminal.say(f"{self.viewer.stage} {text}".replace("\n", " "))


class _LiveView(_Silent):
    """A frame that is drawn in place on stderr and leaves the scrollback alone."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        from rich.live import Live

        self._console = terminal.stderr_console()
        self._due_at = 0.0
        self._title: str | None = None
        self._live: Live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,  # a notice of the parent appears above the frame
            get_renderable=self._frame,
        )
        self._live.start(refresh=True)

    def record(self, record: dict[str, Any]) -> None:
        # The machine is known from the manifest, which the stage writes as its first act.
        self._title = None

    def tick(self) -> None:
        began = time.monotonic()
        if began < self._due_at:
            return
        self._live.refresh()
        ended = time.monotonic()
        self._due_at = ended + max(_REDRAW_S, (ended - began) / _REDRAW_SHARE)

    def close(self, *, failed: bool) -> None:
        # After a failure the last curve stays on the screen: it often shows why.
        self._live.transient = not failed
        self._live.stop()

    def _frame(self) -> RenderableType:
        if self._title is None:
            self._title = self.viewer.title()
        size = self._console.size
        screen = Screen(size.width, size.height, terminal.speaks_unicode(sys.stderr))
        return frame(
            self.viewer.stream,
            stage=self.viewer.stage,
            title=self._title,
            screen=screen,
            moment=self.viewer.moment(),
        )


_SINKS: dict[Mode, type[_Silent]] = {
    "live": _LiveView,
    "plain": _PlainLog,
    "json": _JsonLines,
    "none": _Silent,
}
