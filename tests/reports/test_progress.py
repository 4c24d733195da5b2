"""One stream, four ways to show it; what is shown never breaks the terminal or the other stream."""

import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console
from tests.reports.run_files import HOSTILE, START, Clock, finish_stage, make_run, write_training

from zephyrctl.errors import JobFailed, UsageError
from zephyrctl.reports.live import MAX_LINES, Moment, Screen, frame, status_line
from zephyrctl.reports.progress import Viewer, choose_mode
from zephyrctl.reports.stream import StageStream
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run

CSI = re.compile(r"\x1b\[")
NOW = Moment(now=START + 100, elapsed_s=72.0, remaining_s=30.0)


class Tty(io.StringIO):
    """A terminal as far as Python can tell."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "runs" / "demo", sft={"eval_every": 20}, dpo={"eval_every": 20})


@pytest.mark.parametrize(
    ("asked", "env", "tty", "json_output", "wanted"),
    [
        (None, {}, True, False, "live"),
        (None, {}, False, False, "plain"),
        (None, {"CI": "true"}, True, False, "plain"),
        (None, {"TERM": "dumb"}, True, False, "plain"),
        (None, {"ZEPHYRCTL_PROGRESS": "none"}, True, False, "none"),
        ("plain", {"ZEPHYRCTL_PROGRESS": "none"}, True, False, "plain"),
        ("live", {}, False, False, "plain"),
        ("json", {}, False, False, "json"),
        ("json", {}, False, True, "none"),
        (None, {}, True, True, "none"),
        ("plain", {}, True, True, "plain"),
    ],
)
def test_the_mode_follows_flag_environment_and_terminal(
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
    env: dict[str, str],
    tty: bool,
    json_output: bool,
    wanted: str,
) -> None:
    monkeypatch.setattr(sys, "stderr", Tty() if tty else io.StringIO())
    assert choose_mode(asked, json_output=json_output, environment=env) == wanted


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'plain'"):
        choose_mode(environment={"ZEPHYRCTL_PROGRESS": "plan"})


def _follow(run: Run, mode: str, *, stage: str = "sft", steps: int = 60) -> None:
    """Show a stage that writes its stream while it is watched, then finishes."""
    clock = Clock()
    with Viewer(run, stage, mode, clock=clock) as viewer:  # type: ignore[arg-type]
        write_training(run, stage, steps=steps, clock=clock, after_record=viewer.poll)  # type: ignore[arg-type]
        finish_stage(run, stage)  # type: ignore[arg-type]


def test_the_plain_log_is_one_header_then_sparse_lines(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    _follow(run, "plain")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not CSI.search(captured.err)
    lines = captured.err.splitlines()
    assert lines[0].startswith("== sft · demo")
    training = [line for line in lines if line.startswith("sft step=")]
    # 60 steps and 4 evaluations take 80 s: at 0, 30 and 60 s, and the last step at the end.
    assert [line.split()[1] for line in training] == [
        "step=1/60", "step=26/60", "step=51/60", "step=60/60",
    ]  # fmt: skip
    assert "lr=4.93e-07" in training[0]
    assert sum(line.startswith("sft eval step=") for line in lines) == 4
    assert "✓ sft finished in 1:02" in captured.err
    assert lines[-1].startswith("Next: zephyrctl dpo -c ")


def test_the_plain_log_says_every_notice_and_checkpoint(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter(run.stage("sft").path, rank=0)
    with Viewer(run, "sft", "plain"):
        reporter.notice(f"cut {HOSTILE}", level="warning")
        reporter.event("checkpoint", step=30, path="checkpoint-30")
        reporter.progress("tokenize", done=8, total=16)
        reporter.progress("tokenize", done=16, total=16)
        reporter.progress("tokenize", done=16, total=16)
    said = capsys.readouterr().err
    assert "sft warning: cut </script>" in said
    assert "\x1b" not in said
    assert "sft checkpoint step=30" in said
    assert said.count("tokenize: 16/16 rows in ") == 1


def test_a_long_task_is_told_every_half_minute(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    reporter = Reporter(run.stage("data").path, rank=0, clock=clock)
    with Viewer(run, "data", "plain", clock=clock) as viewer:
        for done in range(0, 101, 10):
            reporter.progress("tokenize", done=done, total=100)
            viewer.poll()
            clock.now += 8
    assert capsys.readouterr().err.splitlines()[1:] == [
        "data tokenize: 40/100 rows rate=1.25/s eta=0:48",
        "data tokenize: 80/100 rows rate=1.25/s eta=0:16",
        "data tokenize: 100/100 rows in 1:20",
    ]


def test_json_lines_are_the_stream_and_nothing_else_on_stdout(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    _follow(run, "json")
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["stage"] for record in records} == {"sft"}
    steps = [r["step"] for r in records if r["kind"] == "metrics" and r["split"] == "train"]
    assert steps == list(range(1, 61))


def test_none_shows_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    _follow(run, "none")
    assert tuple(capsys.readouterr()) == ("", "")


def test_what_an_earlier_attempt_said_is_not_said_again(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training(run, "sft", steps=20)
    Viewer(run, "sft", "plain", clock=Clock(START + 900)).close()
    assert capsys.readouterr().err == ""
    Viewer(run, "sft", "plain", replay=True, clock=Clock(START + 900)).close()
    assert "step=20/20" in capsys.readouterr().err


def test_live_draws_in_place_and_leaves_only_the_summary(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Tty()
    monkeypatch.setattr(sys, "stderr", screen)
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)
    _follow(run, "live", stage="dpo")
    drawn = screen.getvalue()
    assert "\x1b[?1049h" not in drawn  # not the alternate screen
    assert drawn.count("\x1b[?25l") == drawn.count("\x1b[?25h") == 1  # the cursor comes back
    assert "step 60/60" in drawn
    assert drawn.rstrip().splitlines()[-1].startswith("Next: zephyrctl chat ")


def test_the_cursor_comes_back_after_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Tty()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(JobFailed), Viewer(run, "sft", "live"):
        raise JobFailed("the worker ended")
    assert "\x1b[?25h" in screen.getvalue()
    assert "finished" not in screen.getvalue()


def _drawn(stream: StageStream, *, stage: str, screen: Screen) -> list[str]:
    console = Console(file=io.StringIO(), width=screen.width, legacy_windows=False)
    console.print(frame(stream, stage=stage, title="dpo · demo", screen=screen, moment=NOW))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 119, 120, 200])
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_the_frame_fits_its_terminal(run: Run, stage: str, width: int) -> None:
    write_training(run, stage, steps=100)  # type: ignore[arg-type]
    reporter = Reporter(run.stage(stage).path, rank=0)  # type: ignore[arg-type]
    reporter.notice(f"{HOSTILE} " * 9, level="warning")
    reporter.event("checkpoint", step=90, path="checkpoint-90")
    stream = StageStream(run.stage(stage).path)  # type: ignore[arg-type]
    stream.poll()
    lines = _drawn(stream, stage=stage, screen=Screen(width, 24))
    assert len(lines) <= MAX_LINES
    assert {len(line) for line in lines} == {width}
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "step 100/100" in text
    assert "checkpoint-90" in text
    assert ("reward accuracy" in text or "token accuracy" in text) is (width >= 120)


@pytest.mark.parametrize("screen", [Screen(59, 24), Screen(80, 13)])
def test_a_small_terminal_gets_one_line(run: Run, screen: Screen) -> None:
    write_training(run, "dpo", steps=100)
    stream = StageStream(run.stage("dpo").path)
    stream.poll()
    assert _drawn(stream, stage="dpo", screen=screen) == ["dpo 100/100 loss 0.4931 ETA 0:30"]


def test_a_terminal_without_unicode_gets_ascii(run: Run) -> None:
    write_training(run, "dpo", steps=100)
    Reporter(run.stage("dpo").path, rank=0).progress("score", done=3, total=9, unit="pairs")
    stream = StageStream(run.stage("dpo").path)
    stream.poll()
    lines = _drawn(stream, stage="dpo", screen=Screen(80, 24, unicode=False))
    inside = "\n".join(line[1:-1] for line in lines[1:-1])
    assert inside.isascii()


def test_tasks_show_their_rate_and_end(run: Run) -> None:
    clock = Clock()
    reporter = Reporter(run.stage("data").path, rank=0, clock=clock)
    reporter.progress("filter sft", done=0, total=512)
    clock.now += 10
    reporter.progress("filter sft", done=256, total=512)
    stream = StageStream(run.stage("data").path)
    stream.poll()
    text = "\n".join(_drawn(stream, stage="data", screen=Screen(80, 24)))
    assert "256/512 rows  50 %  25.6/s  ETA 0:10" in text
    assert status_line(stream, stage="data", moment=NOW).startswith("data filter sft 256/512")


def test_an_endless_task_has_no_share(run: Run) -> None:
    Reporter(run.stage("data").path, rank=0).progress("read", done=5, total=None)
    stream = StageStream(run.stage("data").path)
    stream.poll()
    text = "\n".join(_drawn(stream, stage="data", screen=Screen(80, 24)))
    assert "5 rows" in text
    assert "%" not in text


def test_the_time_left_shrinks_between_records(run: Run) -> None:
    clock = Clock()
    with Viewer(run, "sft", "none", clock=clock) as viewer:
        write_training(run, "sft", steps=60, clock=clock, until=30)
        viewer.poll()
        before = viewer.moment().remaining_s
        clock.now += 7
        after = viewer.moment().remaining_s
    # 30 steps of a second, and two evaluations of 5 seconds (40 and 60).
    assert before == pytest.approx(40.0)
    assert after == pytest.approx(33.0)


def test_a_time_left_that_ran_out_is_not_shown(run: Run) -> None:
    clock = Clock()
    with Viewer(run, "sft", "none", clock=clock) as viewer:
        write_training(run, "sft", steps=60, clock=clock, until=30)
        viewer.poll()
        clock.now += 42
        late = viewer.moment().remaining_s
        clock.now += 60  # it hangs, or its processes start again
        hanging = viewer.moment().remaining_s
    assert (late, hanging) == (0.0, None)


def test_what_was_said_is_not_said_again_after_a_stream_was_cut_back(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run.stage("sft").path
    reporter = Reporter(folder, rank=0)
    with Viewer(run, "sft", "plain") as viewer:
        reporter.notice("steps were cut", level="warning")
        viewer.poll()
        copy = folder / "metrics.copy"
        copy.write_bytes((folder / "metrics.jsonl").read_bytes())
        copy.replace(folder / "metrics.jsonl")
        Reporter(folder, rank=0).notice("resumed", level="info")
    said = capsys.readouterr().err
    assert said.count("warning: steps were cut") == 1
    assert said.count("note: resumed") == 1
