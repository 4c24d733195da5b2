"""A hang is told from a long step, a rest, a first step and a suspended machine."""

import os
from pathlib import Path

import pytest

from zephyrctl.launch.watchdog import (
    LEAST_REST_S,
    Hang,
    Watchdog,
    describe,
    find_hang,
    observe,
)
from zephyrctl.runs import heartbeat
from zephyrctl.runs.heartbeat import Beat
from zephyrctl.runs.store import Run, StageDir


def _beat(rank: int, count: int, doing: str = "steps") -> Beat:
    return Beat(rank, pid=100 + rank, host="here", doing=doing, count=count, t=0.0)


def _seen(*looks: tuple[float, list[Beat]]) -> dict:
    pulses: dict = {}
    for now, beats in looks:
        pulses = observe(pulses, beats, now=now)
    return pulses


def _steps(last: int, *, every: float = 1.0, ranks: int = 2) -> list[tuple[float, list[Beat]]]:
    return [(n * every, [_beat(r, n) for r in range(ranks)]) for n in range(1, last + 1)]


@pytest.mark.parametrize(("now", "hangs"), [(9.9, False), (10.1, True)])
def test_a_job_hangs_when_no_rank_got_on_for_the_limit(now: float, hangs: bool) -> None:
    found = find_hang(_seen(*_steps(5, every=0.1)), now=0.5 + now, hang_after_s=10.0)
    assert (found is not None) == hangs


def test_ten_usual_steps_are_waited_for_where_that_is_longer() -> None:
    pulses = _seen(*_steps(6, every=30.0))
    assert find_hang(pulses, now=6 * 30.0 + 299, hang_after_s=10.0) is None
    found = find_hang(pulses, now=6 * 30.0 + 301, hang_after_s=10.0)
    assert found is not None
    assert (found.limit, round(found.silence)) == (300.0, 301)


def test_the_first_step_does_not_count_and_nothing_is_judged_before_the_second() -> None:
    slow_first = [(100.0, [_beat(0, 1)]), (101.0, [_beat(0, 2)]), (102.0, [_beat(0, 3)])]
    assert _seen(*slow_first)[0].steps == (1.0, 1.0)
    loading = _seen((0.0, [_beat(0, 0, "resting: start"), _beat(1, 0, "resting: start")]))
    compiling = _seen((0.0, [_beat(0, 1), _beat(1, 1)]))
    for pulses in (loading, compiling):
        assert find_hang(pulses, now=LEAST_REST_S - 1, hang_after_s=5.0) is None
        assert find_hang(pulses, now=LEAST_REST_S + 1, hang_after_s=5.0) is not None
        assert find_hang(pulses, now=LEAST_REST_S + 1, hang_after_s=600.0) is None


def test_ranks_that_wait_for_one_that_rests_are_believed_with_it() -> None:
    saving = [*_steps(5), (6.0, [_beat(0, 5, "resting: saving"), _beat(1, 5)])]
    assert find_hang(_seen(*saving), now=6.0 + LEAST_REST_S - 1, hang_after_s=5.0) is None
    assert find_hang(_seen(*saving), now=6.0 + LEAST_REST_S + 1, hang_after_s=5.0) is not None
    over = [*saving, (90.0, [_beat(0, 5), _beat(1, 5)])]
    # Silence counts from the end of the rest, not from the last step.
    assert find_hang(_seen(*over), now=99.0, hang_after_s=10.0) is None
    assert find_hang(_seen(*over), now=101.0, hang_after_s=10.0) is not None


def test_a_rank_that_waits_is_no_reason_to_be_patient() -> None:
    waiting = _beat(0, 5, "resting: waiting")
    hung = _seen(*_steps(5), (6.0, [waiting, _beat(1, 5)]))
    assert find_hang(hung, now=17.0, hang_after_s=10.0) is not None
    saving = _seen(*_steps(5), (6.0, [waiting, _beat(1, 5, "resting: saving")]))
    assert find_hang(saving, now=17.0, hang_after_s=10.0) is None
    loading = _seen((0.0, [_beat(0, 0, "resting: waiting"), _beat(1, 0, "resting: start")]))
    assert find_hang(loading, now=17.0, hang_after_s=10.0) is None


def test_passes_and_steps_set_the_usual_pace_and_evaluation_does_not() -> None:
    looks = [
        (0.0, [_beat(0, 1, "passes")]), (7.0, [_beat(0, 2, "steps")]),
        (14.0, [_beat(0, 3, "passes")]), (15.0, [_beat(0, 9, "evaluation")]),
        (16.0, [_beat(0, 12, "evaluation")]), (23.0, [_beat(0, 13, "passes")]),
    ]  # fmt: skip
    assert _seen(*looks)[0].steps == (7.0, 7.0)


def test_a_rest_is_part_of_no_steps_time() -> None:
    looks = [*_steps(3), (4.0, [_beat(0, 3, "resting: saving")]), (60.0, [_beat(0, 4)])]
    assert max(_seen(*looks)[0].steps) == 1.0


def test_the_rank_that_got_least_far_is_named() -> None:
    looks = [*_steps(4), (5.0, [_beat(0, 5), _beat(1, 4)])]
    found = find_hang(_seen(*looks), now=30.0, hang_after_s=10.0)
    assert found is not None
    assert [beat.rank for beat in found.behind] == [1]


def test_a_restarted_rank_begins_anew() -> None:
    again = Beat(0, pid=7, host="here", doing="resting: start", count=0, t=0.0)
    pulses = _seen(*_steps(5, ranks=1), (90.0, [again]))
    assert (pulses[0].since, pulses[0].steps) == (90.0, ())


def test_time_in_which_the_watchdog_itself_slept_does_not_count(run: Run) -> None:
    stage = run.stage("sft")
    heart = heartbeat.Heart(stage.path / heartbeat.FOLDER, 0)
    clock = [0.0]
    dog = Watchdog(stage, hang_after_s=60.0, is_ours=lambda pid: True, clock=lambda: clock[0])
    for _ in range(5):
        heart.beat("steps")
        clock[0] += 1.0
        assert dog.look() is None
    clock[0] += 7200.0  # the job was suspended
    assert dog.look() is None
    for _ in range(60):
        clock[0] += 1.0
        found = dog.look()
    assert found is not None
    assert found.silence == pytest.approx(65.0)


def test_ranks_that_ended_are_left_to_whoever_started_them(run: Run) -> None:
    stage = run.stage("sft")
    heart = heartbeat.Heart(stage.path / heartbeat.FOLDER, 0)
    heart.beat("steps")
    heart.beat("steps")
    alive, clock = [True], [0.0]
    dog = Watchdog(stage, hang_after_s=2.0, is_ours=lambda pid: alive[0], clock=lambda: clock[0])
    for _ in range(2):
        clock[0] += 1.0
        assert dog.look() is None
    alive[0] = False
    for _ in range(20):
        clock[0] += 1.0
        assert dog.look() is None
    alive[0] = True
    clock[0] += 1.0
    assert dog.look() is not None
    # Nobody ends the others of one that ended well.
    alive[0] = False
    looks = 0
    while dog.look() is None:
        clock[0] += 5.0
        looks += 1
        assert looks < 200
    assert 5.0 * looks > LEAST_REST_S - 60.0


def _hang(*ranks: int) -> Hang:
    return Hang(12.3, 10.0, tuple(_beat(rank, 5) for rank in ranks))


def _stack(stage: StageDir, rank: int, *frames: str) -> Path:
    path = stage.logs / f"stacks-rank{rank}.txt"
    stage.logs.mkdir(parents=True, exist_ok=True)
    lines = "".join(f'  File "{frame}", line 1 in f\n' for frame in frames)
    path.write_text(
        "Thread 0x1 (most recent call first):\n"
        '  File "torch/distributed/elastic/timer.py", line 1 in f\n\n'
        f"Current thread 0x2 (most recent call first):\n{lines}"
    )
    return path


def test_of_ranks_that_got_equally_far_the_one_that_waits_for_nobody_is_named(run: Run) -> None:
    stage = run.stage("sft")
    stacks = {
        0: _stack(stage, 0, "torch/distributed/distributed_c10d.py", "callbacks.py"),
        1: _stack(stage, 1, "faults.py", "callbacks.py"),
    }
    error = describe(_hang(0, 1), stage, stacks=stacks)
    assert error.exit_code == 78
    assert "sft hangs: rank 1 did nothing for 12 s (doing: steps; no step)" in error.message
    assert error.where == f"{stacks[0]}, {stacks[1]}"


def test_without_stacks_all_that_stand_alike_are_named_and_the_hint_can_be_pasted(run: Run) -> None:
    stage = run.stage("sft")
    (stage.checkpoints / "checkpoint-4").mkdir(parents=True)
    stage.reporter().metrics(step=4, total=9, values={"loss": 1.0})
    error = describe(_hang(0, 1), stage, stacks={})
    assert "ranks 0, 1 did nothing" in error.message
    assert "last record: step 4 of 9" in error.message
    assert "no rank said where it stands" in error.message
    assert error.hint is not None
    assert "checkpoint-4 stands" in error.hint
    assert "--set launch.hang_after_s=25" in error.hint


def test_only_processes_of_this_launch_are_asked_for_their_stack(run: Run) -> None:
    stage = run.stage("sft")
    # A handler-less SIGUSR2 would end this very process.
    heart = heartbeat.Heart(stage.path / heartbeat.FOLDER, 0)
    heart.beat("steps")
    clock = [0.0]
    dog = Watchdog(
        stage, hang_after_s=1.0, is_ours=lambda pid: pid != os.getpid(), clock=lambda: clock[0]
    )
    clock[0] = 1.0
    dog.look()
    assert "no rank said where it stands" in dog.error(_hang(0)).message
