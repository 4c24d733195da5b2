"""What is said at the end of a stage: what came of it, and the command that comes next."""

from __future__ import annotations

from zephyrctl.errors import quoted
from zephyrctl.reports.account import account_lines, read_account
from zephyrctl.reports.numbers import duration, fixed, number
from zephyrctl.reports.stream import Series, StageStream
from zephyrctl.reports.tables import aligned, results_lines
from zephyrctl.runs import verdict
from zephyrctl.runs.store import Run, StageDir, StageName
from zephyrctl.runs.summary import summarize
from zephyrctl.terminal import safe

DRIFT_NATS = 5.0
"""A fall of the chosen log-probs by more than this, while the margin rises, is worth a line."""

Rows = tuple[tuple[str, str, int, bool | None], ...]
# Label, metric, decimals, and whether more is better (None: neither), for the held-out split.
DPO_ROWS: Rows = (
    ("loss", "loss", 3, False),
    ("accuracy", "rewards/accuracies", 2, True),
    ("margin", "rewards/margins", 3, True),
    ("chosen logp", "logps/chosen", 1, None),
    ("rejected logp", "logps/rejected", 1, None),
)
SFT_ROWS: Rows = (
    ("loss", "loss", 3, False),
    ("token accuracy", "mean_token_accuracy", 3, True),
)


def closing_lines(
    run: Run, stage: StageName, *, hint_next: bool = True, with_notices: bool = True
) -> list[str]:
    """The summary of a finished stage; empty where its manifest says it did not finish.

    A command that goes on after the stage passes `hint_next=False`, and shows the scores itself.
    """
    folder = run.stage(stage)
    manifest = folder.read_manifest()
    if manifest is None or manifest.state != "finished":
        return []
    lines = [f"✓ {stage} finished in {duration(manifest.seconds)}    {safe(str(folder.path))}"]
    if stage == "data":
        lines += _indent(account_lines(read_account(folder.path / "account.json")))
    elif stage == "sft":
        lines += _indent(_course_lines(course(folder), rows=SFT_ROWS))
    elif stage == "dpo":
        stream = course(folder)
        lines += _indent(_course_lines(stream, rows=DPO_ROWS)) + _drift_lines(run, stream)
    elif hint_next:
        lines += _indent(results_lines(summarize(run, counted=True)))
    lines += _indent([safe(line) for line in verdict.lines(verdict.from_metrics(manifest.metrics))])
    if with_notices:
        levels = {text: level for level, text in course(folder).notices}
        lines += [
            f"{'note:' if levels.get(text) == 'info' else '!'} {safe(text)}"
            for text in manifest.notices
        ]
    if hint_next:
        lines.append(f"Next: {next_command(run, stage)}")
    return lines


def next_command(run: Run, stage: StageName) -> str:
    """The command that goes on from a finished stage."""
    config = quoted(run.root / "config.yaml")
    if stage == "data":
        return f"zephyrctl sft -c {config}"
    if stage == "sft":
        return f"zephyrctl dpo -c {config}"
    if stage == "dpo":
        tuned = quoted(run.root / "dpo")
        return f"zephyrctl chat {tuned}    zephyrctl eval rules {tuned}"
    trained = [name for name in ("dpo", "sft") if run.stage(name).is_finished()]
    chat = f"zephyrctl chat {quoted(run.root / trained[0])}    " if trained else ""
    return f"{chat}zephyrctl report {quoted(run.root)}"


def course(folder: StageDir) -> StageStream:
    """Everything the stage reported, read to its end."""
    stream = StageStream(folder.path)
    stream.poll()
    return stream


def start_end_best(
    series: Series, *, higher_is_better: bool | None
) -> tuple[float, float, tuple[float, int] | None]:
    """First and last value, and the best one with its step where one direction is better."""
    if higher_is_better is None:
        return series.values[0], series.last, None
    pick = max if higher_is_better else min
    best = pick(series.values)
    return series.values[0], series.last, (best, series.steps[series.values.index(best)])


def course_rows(stream: StageStream, *, rows: Rows) -> tuple[str, list[list[str]]]:
    """Label, start, end and best of each metric, and the split they are of: the held-out one
    where it was measured more than once, else training."""
    held_out = stream.get("loss", split="eval")
    split = "eval" if held_out is not None and len(held_out.steps) > 1 else "train"
    table = []
    for label, name, places, higher in rows:
        series = stream.get(name, split=split)
        if series is None:
            continue
        first, last, best = start_end_best(series, higher_is_better=higher)
        best_words = "" if best is None else f"{fixed(best[0], places)} @{best[1]}"
        table.append([label, fixed(first, places), fixed(last, places), best_words])
    return split, table


def drift(stream: StageStream) -> float | None:
    """How many nats the log-probs of the chosen answers moved, on the held-out split if it was
    measured twice. TRL logs no KL divergence, and this is none."""
    for split in ("eval", "train"):
        chosen = stream.get("logps/chosen", split=split)
        if chosen is not None and len(chosen.values) > 1:
            return chosen.last - chosen.values[0]
    return None


def _course_lines(stream: StageStream, *, rows: Rows) -> list[str]:
    split, table = course_rows(stream, rows=rows)
    if not table:
        return []
    name = "held out" if split == "eval" else "training"
    lines = aligned([[name, "start", "end", "best"], *table])
    held_out = stream.get("loss", split="eval")
    if split == "train" and held_out is not None:
        ends = [
            f"{label} {fixed(series.last, places)}"
            for label, metric, places, _ in rows
            if (series := stream.get(metric, split="eval")) is not None
        ]
        lines.append(f"held out at step {held_out.steps[-1]}: {', '.join(ends)}")
    rate = stream.get("learning_rate")
    if rate is not None:
        lines.append(f"learning rate up to {number(max(rate.values))}")
    return lines


def _drift_lines(run: Run, stream: StageStream) -> list[str]:
    moved = drift(stream)
    margin = stream.get("rewards/margins")
    if moved is None:
        return []
    lines = [f"  drift of the chosen logp {moved:+.1f} nats (on data, not KL)"]
    if moved < -DRIFT_NATS and margin is not None and margin.last > margin.values[0]:
        lines.append(
            "! chosen log-probs fell while the margin rose: common with DPO; read the samples"
            f" before training longer (zephyrctl report {quoted(run.root)})"
        )
    return lines


def _indent(lines: list[str]) -> list[str]:
    return [f"  {line}" if line else "" for line in lines]
