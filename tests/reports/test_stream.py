"""The state of a stage follows its records; the time left is what recent steps say."""

from pathlib import Path

import pytest
from tests.reports.run_files import Clock

from zephyrctl.reports.stream import StageStream, moving_average, pauses_ahead, remaining
from zephyrctl.runs.atomic import write_text
from zephyrctl.runs.metrics import Reporter


def _ticks(*times: float) -> list[tuple[float, int]]:
    return [(time, step) for step, time in enumerate(times, start=1)]


def test_time_left_is_the_median_step_times_the_steps_ahead() -> None:
    ticks = _ticks(0, 1, 2, 3, 13, 14)  # one slow step of six
    assert remaining(ticks, [], [], total=16, pauses_ahead=0) == pytest.approx(10.0)


def test_the_first_interval_does_not_count_once_there_are_others() -> None:
    assert remaining(_ticks(0, 60, 61, 62), [], [], total=14, pauses_ahead=0) == pytest.approx(10.0)


def test_evaluations_ahead_cost_what_they_cost_so_far() -> None:
    ticks = [(0.0, 10), (10.0, 20), (20.0, 30), (35.0, 40)]  # an evaluation at 21 took 5 s
    assert remaining(ticks, [21.0], [], total=60, pauses_ahead=2) == pytest.approx(20 + 2 * 5)


def test_the_gap_before_a_resume_is_no_step_time() -> None:
    ticks = [(0.0, 1), (1.0, 2), (2.0, 3), (900.0, 4), (901.0, 5)]
    assert remaining(ticks, [], [899.0], total=15, pauses_ahead=0) == pytest.approx(10.0)


def test_nothing_is_promised_before_two_records() -> None:
    assert remaining([(0.0, 1)], [], [], total=10, pauses_ahead=0) is None


def test_pauses_on_one_step_are_one_pause() -> None:
    # Every 20: 60, 80, 100. Every 50: 50, 100. At the end: 100.
    assert pauses_ahead(step=45, total=100, every=[20, 50, None]) == 4


@pytest.mark.parametrize(
    ("step", "every", "wanted"),
    [(0, [None, None], 1), (100, [10], 0), (95, [10], 1), (0, [50, 100], 2)],
)
def test_pauses_ahead(step: int, every: list[int | None], wanted: int) -> None:
    assert pauses_ahead(step=step, total=100, every=every) == wanted


def test_a_repeated_step_replaces_the_first_attempt(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, rank=0, clock=Clock())
    for step, loss in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 2.5), (3, 2.0)):
        reporter.metrics(step=step, total=9, values={"loss": loss})
    stream = StageStream(tmp_path)
    stream.poll()
    series = stream.get("loss")
    assert series is not None
    assert (series.steps, series.values) == ([1, 2, 3], [5.0, 2.5, 2.0])


def test_held_out_metrics_lose_their_prefix(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, rank=0, clock=Clock())
    reporter.metrics(step=1, total=9, values={"eval_loss": 0.5}, split="eval")
    stream = StageStream(tmp_path)
    stream.poll()
    series = stream.get("loss", split="eval")
    assert series is not None
    assert series.values == [0.5]


def test_a_torn_last_line_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    head = '{"t":1,"kind":"metrics","split":"train","step":1,"total":2,"values":{"loss":1}}\n'
    path.write_text(head + '{"t":2,"kind":"metr')
    stream = StageStream(tmp_path)
    assert len(stream.poll()) == 1
    with path.open("a") as file:
        file.write('ics","split":"train","step":2,"total":2,"values":{"loss":null}}\n')
    assert [record["step"] for record in stream.poll()] == [2]
    series = stream.get("loss")
    assert series is not None
    assert series.steps == [1, 2]
    assert series.last != series.last  # NaN: the record said null


def test_a_stream_cut_back_to_a_checkpoint_is_read_anew(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, rank=0, clock=Clock())
    for step in (1, 2, 3):
        reporter.metrics(step=step, total=9, values={"loss": float(step)})
    stream = StageStream(tmp_path)
    stream.poll()
    path = tmp_path / "metrics.jsonl"
    write_text(path, "".join(path.read_text().splitlines(keepends=True)[:1]))
    for step in (2, 3, 4):
        reporter.metrics(step=step, total=9, values={"loss": 10.0 * step})
    stream.poll()
    series = stream.get("loss")
    assert series is not None
    assert series.values == [1.0, 20.0, 30.0, 40.0]


def test_tasks_have_a_rate_and_an_end(tmp_path: Path) -> None:
    clock = Clock()
    reporter = Reporter(tmp_path, rank=0, clock=clock)
    reporter.event("started", attempt=1)
    clock.now += 50  # loading is no part of the rate
    reporter.progress("tokenize sft", done=0, total=100)
    clock.now += 4
    reporter.progress("tokenize sft", done=40, total=100)
    stream = StageStream(tmp_path)
    stream.poll()
    task = stream.active_task()
    assert task is not None
    assert (task.rate, task.remaining_s) == (pytest.approx(10.0), pytest.approx(6.0))
    clock.now += 6
    reporter.progress("tokenize sft", done=100, total=100)
    stream.poll()
    assert stream.active_task() is None
    finished = stream.tasks["tokenize sft"]
    assert finished.updated - finished.began == pytest.approx(60.0)


def test_the_moving_average_of_a_constant_is_the_constant() -> None:
    assert moving_average([2.0, float("nan"), 2.0, 2.0]) == pytest.approx([2.0] * 4)


def test_a_task_taken_up_again_is_timed_from_there(tmp_path: Path) -> None:
    """Half of the judgments stood when the stage was stopped, an hour before it went on."""
    clock = Clock()
    reporter = Reporter(tmp_path, rank=0, clock=clock)
    reporter.event("started")
    reporter.progress("judgments", done=0, total=20, unit="judgments")
    clock.now += 2
    reporter.progress("judgments", done=10, total=20, unit="judgments")
    clock.now += 3600
    reporter.event("resumed")
    resumed = clock.now
    for done in (10, 20):
        clock.now += 5
        reporter.progress("judgments", done=done, total=20, unit="judgments")
    stream = StageStream(tmp_path)
    stream.poll()
    task = stream.tasks["judgments"]
    assert (task.began, task.done_at_start) == (resumed, 10)
    assert task.rate == pytest.approx(2.0)
