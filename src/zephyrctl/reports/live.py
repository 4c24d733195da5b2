"""How does a stage at work look on a terminal? One frame of at most 14 lines, drawn in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zephyrctl.reports.braille import chart, sparkline
from zephyrctl.reports.numbers import clock_time, compact, duration, number, percent, stopwatch
from zephyrctl.reports.stream import Series, StageStream, Task, moving_average
from zephyrctl.terminal import safe

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

MAX_LINES = 14
NARROW = 60
WIDE = 120
SMOOTH_FROM = 40
"""From this many points on the chart shows the moving average in place of the raw values."""

# Label and (split, metric) by stage, the most telling first: a narrow view shows the first six.
CELLS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "sft": (
        ("loss", "train", "loss"),
        ("lr", "train", "learning_rate"),
        ("grad", "train", "grad_norm"),
        ("tok/s", "train", "tokens_per_second"),
        ("accuracy", "train", "mean_token_accuracy"),
        ("eval", "eval", "loss"),
        ("entropy", "train", "entropy"),
        ("epoch", "train", "epoch"),
    ),
    "dpo": (
        ("loss", "train", "loss"),
        ("accuracy", "train", "rewards/accuracies"),
        ("margin", "train", "rewards/margins"),
        ("chosen", "train", "logps/chosen"),
        ("lr", "train", "learning_rate"),
        ("eval acc", "eval", "rewards/accuracies"),
        ("rejected", "train", "logps/rejected"),
        ("grad", "train", "grad_norm"),
    ),
}
SECOND_CHART = {
    "sft": ("token accuracy", "mean_token_accuracy"),
    "dpo": ("reward accuracy", "rewards/accuracies"),
}
_ALWAYS_SHOWN = {"loss", "learning_rate"}


@dataclass(frozen=True)
class Screen:
    """What the terminal can show."""

    width: int
    height: int
    unicode: bool = True


@dataclass(frozen=True)
class Moment:
    """What changes without a new record: the clock, and the estimate that depends on it."""

    now: float
    elapsed_s: float | None
    remaining_s: float | None


def frame(
    stream: StageStream, *, stage: str, title: str, screen: Screen, moment: Moment
) -> RenderableType:
    """The view of one stage; a single line where the terminal is narrow or low."""
    from rich.console import Group
    from rich.panel import Panel

    training = stage in CELLS
    if screen.width < NARROW or screen.height < MAX_LINES:
        return _line(status_line(stream, stage=stage, moment=moment))
    inner = screen.width - 4
    lines = [_line(_headline(stream, stage=stage, moment=moment), style="bold")]
    if training and stream.series:
        lines += _grid(stream, stage=stage, width=inner, screen=screen)
        lines += _charts(stream, stage=stage, width=inner, screen=screen)
    lines += _task_lines(stream, width=inner, screen=screen, most=1 if stream.series else 9)
    notice = stream.notices[-1] if stream.notices else None
    if notice is not None:
        is_warning = notice[0] != "info"
        lines.append(
            _line(f"{'!' if is_warning else '·'} {notice[1]}", style="yellow" if is_warning else "")
        )
    return Panel(
        Group(*lines[: MAX_LINES - 2]),
        title=_line(title),
        title_align="left",
        subtitle=_line(_footer(stream, training=training, now=moment.now)),
        subtitle_align="left",
        width=screen.width,
        border_style="dim",
    )


def status_line(stream: StageStream, *, stage: str, moment: Moment) -> str:
    """Everything in one line, the most telling first, for it may be cut at its end."""
    parts = [stage]
    task = stream.active_task()
    if stream.total and not (task and task.updated >= (stream.updated or 0.0)):
        parts.append(f"{stream.step}/{stream.total}")
        for label, split, name in CELLS.get(stage, ())[:1]:
            shown = _value(stream, split=split, name=name)
            parts += [f"{label} {shown}"] if shown else []
        parts.append(f"ETA {stopwatch(moment.remaining_s)}")
    elif task is not None:
        parts.append(f"{safe(task.name)} {_progress_words(task)}")
    else:
        parts.append(f"{stopwatch(moment.elapsed_s)}")
    return " ".join(parts)


def _headline(stream: StageStream, *, stage: str, moment: Moment) -> str:
    if stage in CELLS and stream.total:
        share = percent(stream.step / stream.total)
        eta = stopwatch(moment.remaining_s)
        parts = [
            f"step {stream.step}/{stream.total}  {share}",
            f"elapsed {stopwatch(moment.elapsed_s)}",
            f"ETA {eta}",
        ]
        if moment.remaining_s is not None:
            parts.append(f"(done {clock_time(moment.now + moment.remaining_s, now=moment.now)})")
        return "   ".join(parts[:3]) + ("  " + parts[3] if len(parts) > 3 else "")
    working = "working" if stream.tasks or stream.series else "starting"
    return f"{working}   elapsed {stopwatch(moment.elapsed_s)}"


def _footer(stream: StageStream, *, training: bool, now: float) -> str:
    parts = []
    if stream.checkpoint is not None:
        ago = max(0.0, now - stream.checkpoint["t"])
        when = "just now" if ago < 5 else f"{duration(ago)} ago"
        step = stream.checkpoint.get("step")
        parts.append(f"checkpoint{'' if step is None else f'-{step}'} saved {when}")
    parts.append("Ctrl-C saves and stops" if training else "Ctrl-C stops; the same command goes on")
    return " · ".join(parts)


def _grid(stream: StageStream, *, stage: str, width: int, screen: Screen) -> list[Text]:
    columns = 4 if width + 4 >= WIDE else 3
    spark = 12 if columns == 4 else 8
    cell_width = width // columns
    shown = [cell for cell in CELLS[stage] if _is_shown(stream, split=cell[1], name=cell[2])]
    cells = [
        _cell(stream, cell=cell, width=cell_width, spark=spark, unicode=screen.unicode)
        for cell in shown[: 2 * columns]
    ]
    rows = [cells[at : at + columns] for at in range(0, len(cells), columns)]
    return [_line("").join(row) for row in rows]


def _is_shown(stream: StageStream, *, split: str, name: str) -> bool:
    return name in _ALWAYS_SHOWN or _value(stream, split=split, name=name) is not None


def _value(stream: StageStream, *, split: str, name: str) -> str | None:
    series = stream.get(name, split=split)
    if series is None:
        return None
    if name == "tokens_per_second":
        return compact(series.last)
    mark = f" @{series.steps[-1]}" if split == "eval" else ""
    return number(series.last, digits=3 if name.startswith("logps") else 4) + mark


def _cell(
    stream: StageStream, *, cell: tuple[str, str, str], width: int, spark: int, unicode: bool
) -> Text:
    label, split, name = cell
    value = _value(stream, split=split, name=name) or number(None)
    text = _line(f"{label:<8} ", style="dim")
    text.append(value, style="bold cyan" if name == "loss" else "bold")
    series = stream.get(name, split=split)
    room = min(spark, width - len(text) - 2)
    if series is not None and len(series.values) > 1 and room > 2:
        drawn = sparkline(series.values, width=room, ascii_only=not unicode)
        text.append(f" {drawn}", style="cyan")
    text.truncate(width - 1)
    text.pad_right(max(0, width - text.cell_len))
    return text


def _charts(stream: StageStream, *, stage: str, width: int, screen: Screen) -> list[Text]:
    loss = stream.get("loss")
    if loss is None or len(loss.values) < 2:
        return []
    evaluated = stream.get("loss", split="eval")
    marks = [] if evaluated is None else evaluated.points()
    second = stream.get(SECOND_CHART[stage][1]) if screen.width >= WIDE else None
    share = width if second is None else width // 2 - 1
    left = _curve(loss, width=share, marks=marks, unicode=screen.unicode)
    if second is None or len(second.values) < 2:
        return [_line(line, style="cyan") for line in left]
    name = SECOND_CHART[stage][1]
    evaluated = stream.get(name, split="eval")
    marks = [] if evaluated is None else evaluated.points()
    right = _curve(second, width=share, marks=marks, unicode=screen.unicode)
    head = _line(f"{'loss':<{share + 2}}{SECOND_CHART[stage][0]}", style="dim")
    return [head] + [
        _line(f"{a:<{share + 2}}{b}", style="cyan") for a, b in zip(left, right, strict=True)
    ]


def _curve(
    series: Series, *, width: int, marks: Sequence[tuple[float, float]], unicode: bool
) -> list[str]:
    values = series.values if len(series.values) < SMOOTH_FROM else moving_average(series.values)
    points = [(float(step), value) for step, value in zip(series.steps, values, strict=True)]
    return chart(points, width=width, height=6, marks=marks, ascii_only=not unicode)


def _task_lines(stream: StageStream, *, width: int, screen: Screen, most: int) -> list[Text]:
    tasks = list(stream.tasks.values())
    if stream.series:
        active = stream.active_task()
        tasks = [active] if active is not None else []
    name_width = min(32, max((len(safe(task.name)) for task in tasks), default=0))
    return [
        _task_line(task, name_width=name_width, width=width, unicode=screen.unicode)
        for task in tasks[-most:]
    ]


def _task_line(task: Task, *, name_width: int, width: int, unicode: bool) -> Text:
    done_sign, bar, rest = ("✓", "━", "╌") if unicode else ("+", "#", "-")
    name = f"{safe(task.name)[:name_width]:<{name_width}}"
    if task.finished:
        spent = duration(task.updated - task.began)
        return _line(f"{done_sign} {name}  {task.done} {safe(task.unit)}  {spent}", style="dim")
    text = _line(f"  {name}  ")
    words = _progress_words(task)
    room = width - text.cell_len - len(words) - 2
    if task.total and room >= 10:
        cells = min(24, room)
        filled = min(cells, cells * task.done // task.total)
        text.append(bar * filled, style="cyan").append(rest * (cells - filled), style="dim")
        text.append("  ")
    return text.append(words)


def _progress_words(task: Task) -> str:
    total = "" if task.total is None else f"/{task.total}"
    words = [f"{task.done}{total} {safe(task.unit)}"]
    if task.total:
        words.append(percent(task.done / task.total))
    if task.rate is not None:
        words.append(f"{compact(task.rate)}/s")
    if task.remaining_s is not None and not task.finished:
        words.append(f"ETA {stopwatch(task.remaining_s)}")
    return "  ".join(words)


def _line(text: str, *, style: str = "") -> Text:
    """One line of literal text that is cut, never wrapped."""
    from rich.text import Text

    return Text(safe(text).replace("\n", " "), style=style, no_wrap=True, overflow="ellipsis")
