"""How does a training stage stand in the HTML report: curves, start and end, samples?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from zephyrctl.reports.closing import DPO_ROWS, SFT_ROWS, course, course_rows, drift
from zephyrctl.reports.stream import StageStream
from zephyrctl.reports.svg import Curve, line_chart
from zephyrctl.runs import verdict
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import Run, StageDir

MOST_SAMPLES = 8


@dataclass(frozen=True)
class Key:
    """An entry of a chart's legend."""

    label: str
    css: str


@dataclass(frozen=True)
class Chart:
    """A titled chart; `svg` is markup made by `reports.svg`."""

    title: str
    svg: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class LabelledText:
    """An answer and who gave it, with a verdict where there is one."""

    label: str
    text: str
    verdict: str = ""
    css: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Talk:
    """A prompt and several answers to it."""

    prompt: str
    answers: tuple[LabelledText, ...]
    asked: str = ""


@dataclass(frozen=True)
class Panel:
    """One training stage."""

    stage: str
    title: str
    charts: tuple[Chart, ...]
    split: str
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]
    samples: tuple[Talk, ...]


@dataclass(frozen=True)
class _Plot:
    title: str
    curves: tuple[tuple[str, str, str, str], ...]
    """Label, split, metric, tone."""
    guide: float | None = None


_LOSS = (("training", "train", "loss", "a"), ("held out", "eval", "loss", "b"))
_RATE = _Plot("learning rate", (("", "train", "learning_rate", "a"),))
_GRADIENT = _Plot("gradient norm, before clipping", (("", "train", "grad_norm", "a"),))
_PLOTS: dict[str, tuple[_Plot, ...]] = {
    "sft": (
        _Plot("loss", _LOSS),
        _Plot(
            "token accuracy",
            (
                ("training", "train", "mean_token_accuracy", "a"),
                ("held out", "eval", "mean_token_accuracy", "b"),
            ),
        ),
        _RATE,
        _GRADIENT,
    ),
    "dpo": (
        _Plot("loss (dashed: ln 2, where policy and reference are equal)", _LOSS, math.log(2)),
        _Plot(
            "reward accuracy (dashed: chance)",
            (
                ("training", "train", "rewards/accuracies", "a"),
                ("held out", "eval", "rewards/accuracies", "b"),
            ),
            0.5,
        ),
        _Plot(
            "reward margin",
            (
                ("training", "train", "rewards/margins", "a"),
                ("held out", "eval", "rewards/margins", "b"),
            ),
        ),
        _Plot(
            "log-probs of the answers (dots: held out)",
            (
                ("chosen", "train", "logps/chosen", "a"),
                ("rejected", "train", "logps/rejected", "c"),
                ("", "eval", "logps/chosen", "a"),
                ("", "eval", "logps/rejected", "c"),
            ),
        ),
        _RATE,
        _GRADIENT,
    ),
}
_TITLES = {"sft": "Supervised fine-tuning", "dpo": "Direct preference optimisation"}


def build_panel(run: Run, stage: Literal["sft", "dpo"]) -> Panel | None:
    """The panel of a stage that reported something, else None."""
    folder = run.stage(stage)
    stream = course(folder)
    if not stream.series:
        return None
    split, table = course_rows(stream, rows=SFT_ROWS if stage == "sft" else DPO_ROWS)
    plots = _PLOTS[stage]
    has_reference = stage == "dpo" and run.recipe().dpo.has_reference
    if stage == "dpo" and not has_reference:
        plots = (_Plot("loss", _LOSS), *plots[1:])
    charts = [chart for plot in plots if (chart := _chart(stream, plot)) is not None]
    return Panel(
        stage=stage,
        title=_TITLES[stage],
        charts=tuple(charts),
        split="held out" if split == "eval" else "training",
        rows=tuple(tuple(row) for row in table),
        remarks=_remarks(stream, stage, has_reference=has_reference) + _canaries(folder),
        samples=_samples(folder),
    )


def _chart(stream: StageStream, plot: _Plot) -> Chart | None:
    curves = [
        Curve(label=label, points=series.points(), tone=tone, dots=split == "eval")
        for label, split, name, tone in plot.curves
        if (series := stream.get(name, split=split)) is not None
    ]
    svg = line_chart(plot.title, curves, guide=plot.guide)
    if not svg:
        return None
    keys = [Key(c.label, f"{c.tone} dots" if c.dots else c.tone) for c in curves if c.label]
    return Chart(title=plot.title, svg=svg, keys=tuple(keys))


def _remarks(stream: StageStream, stage: str, *, has_reference: bool) -> tuple[str, ...]:
    remarks = []
    if any(len(series.values) >= 40 for series in stream.series.values()):
        remarks.append("Faint lines are the recorded values, strong ones their moving average.")
    accuracy = stream.get("rewards/accuracies", split="eval")
    if has_reference and accuracy is not None and accuracy.steps[0] == 0:
        remarks.append(
            "At step 0 policy and reference are the same model: every margin is 0, and none counts"
            " as right in the reward accuracy."
        )
    moved = drift(stream) if stage == "dpo" else None
    if moved is not None:
        remarks.append(
            f"The log-probs of the chosen answers moved by {moved:+.1f} nats on average. This is"
            " drift on the data; it is not the KL divergence from the reference, for which answers"
            " would have to be sampled from the policy."
        )
    return tuple(remarks)


def _canaries(folder: StageDir) -> tuple[str, ...]:
    """The stage's verdict on itself, where it ended."""
    manifest = folder.read_manifest()
    checks = verdict.from_metrics(manifest.metrics) if manifest is not None else []
    return tuple(line[:1].upper() + line[1:] for line in verdict.lines(checks))


def _samples(folder: StageDir) -> tuple[Talk, ...]:
    """The first and the last answer to each sample prompt."""
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for record in read_jsonl(folder.samples_path):
        if isinstance(record.get("prompt"), str) and isinstance(record.get("completion"), str):
            by_prompt.setdefault(record["prompt"], []).append(record)
    return tuple(
        Talk(prompt=prompt, answers=_before_and_after(records))
        for prompt, records in list(by_prompt.items())[:MOST_SAMPLES]
    )


def _before_and_after(records: Sequence[dict[str, Any]]) -> tuple[LabelledText, ...]:
    chosen = [records[0]] if len(records) == 1 else [records[0], records[-1]]
    return tuple(
        LabelledText(
            label="before training" if record.get("step") == 0 else f"after step {record['step']}",
            text=record["completion"],
            verdict="" if record.get("stopped", True) else "cut at its length limit",
        )
        for record in chosen
    )
