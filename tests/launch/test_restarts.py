"""A stage is started again where that may help, and only while it gets on."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import (
    DataError,
    DiskFull,
    Interrupted,
    JobFailed,
    JobHung,
    NoCheckpoint,
    OutOfMemory,
    StoppedEarly,
    Terminated,
    TrainingDiverged,
    ZephyrctlError,
)
from zephyrctl.launch.restarts import is_crash, keep_going, newest_step, refusal
from zephyrctl.runs import adjustments
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.metrics import notices
from zephyrctl.runs.store import Run, StageDir

Attempts = list[Callable[[], None]]


@pytest.fixture
def stage(run: Run) -> StageDir:
    folder = run.stage("sft")
    folder.path.mkdir()
    return folder


def _save(stage: StageDir, step: int) -> None:
    folder = stage.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")


def _go(stage: StageDir, ends: list[tuple[int | None, ZephyrctlError | None]], **launch: Any):
    """Attempts that each save a checkpoint (or not) and end in an error (or well)."""
    said: list[str] = []
    left = list(ends)

    def attempt() -> None:
        step, error = left.pop(0)
        if step is not None:
            _save(stage, step)
        if error is not None:
            raise error

    recipe = Recipe.model_validate({"name": "mine", "launch": launch})
    caught: ZephyrctlError | None = None
    try:
        keep_going(stage, recipe, attempt=attempt, say=said.append)
    except ZephyrctlError as error:
        caught = error
    assert not left or caught is not None
    return caught, said, len(ends) - len(left)


CRASH = JobFailed("sft: rank 1 was killed by SIGKILL\n  | last words")


def test_a_crash_after_a_new_checkpoint_starts_again_and_is_told_and_kept(stage: StageDir) -> None:
    caught, said, attempts = _go(stage, [(3, CRASH), (6, JobHung("sft hangs")), (None, None)])
    assert (caught, attempts) == (None, 3)
    assert said == [
        "sft    starts again from checkpoint-3 (1 of at most 5): sft: rank 1 was killed by SIGKILL",
        "sft    starts again from checkpoint-6 (2 of at most 5): sft hangs",
    ]
    events = read_jsonl(stage.events_path)
    assert [(e["event"], e["number"], e["step"]) for e in events] == [
        ("restarted", 1, 3), ("restarted", 2, 6),
    ]  # fmt: skip
    assert notices(stage.metrics_path) == [line.removeprefix("sft    ") for line in said]


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ([(None, CRASH)], "it saved no checkpoint"),
        (
            [(3, CRASH), (None, CRASH)],
            "no newer checkpoint than checkpoint-3, from which it began",
        ),
        ([(step, CRASH) for step in range(1, 4)], "launch.max_restarts is 2"),
    ],
)
def test_without_progress_or_beyond_the_limit_the_crash_is_the_end(
    stage: StageDir, ends: list[Any], reason: str
) -> None:
    caught, said, attempts = _go(stage, ends, max_restarts=2)
    assert caught is CRASH
    assert attempts == len(ends)
    assert reason in said[-1]


@pytest.mark.parametrize(
    "error",
    [
        TrainingDiverged("loss is nan"), DataError("row 3"), DiskFull("no space"),
        NoCheckpoint("none is intact"), StoppedEarly("stopped"), Interrupted("stopped"),
        Terminated("stopped"),
    ],
    ids=lambda error: error.kind,
)  # fmt: skip
def test_what_would_come_again_or_was_asked_for_is_never_repeated(
    stage: StageDir, error: ZephyrctlError
) -> None:
    caught, said, attempts = _go(stage, [(3, error)])
    assert (caught, said, attempts) == (error, [], 1)
    assert not is_crash(error)


def test_no_restarts_are_asked_for_and_none_is_mentioned(stage: StageDir) -> None:
    caught, said, attempts = _go(stage, [(3, CRASH)], max_restarts=0)
    assert (caught, said, attempts) == (CRASH, [], 1)


def test_only_training_is_started_again(run: Run) -> None:
    caught, _, attempts = _go(run.stage("data"), [(3, CRASH)])
    assert (caught, attempts) == (CRASH, 1)


def test_where_memory_ran_out_the_next_attempt_makes_smaller_passes(stage: StageDir) -> None:
    full = OutOfMemory("the accelerator's memory is too small")

    def short_of_memory(examples: int) -> None:
        adjustments.note(stage, adjustments.Shortage("step 7", examples, 512, 512))

    left = [8, 4, None]
    said: list[str] = []

    def attempt() -> None:
        examples = left.pop(0)
        if examples is not None:
            short_of_memory(examples)
            raise full

    keep_going(stage, Recipe(name="mine"), attempt=attempt, say=said.append)
    assert left == []
    assert "from the beginning (1 of at most 5): memory ran out at step 7" in said[0]
    assert json.loads((stage.path / adjustments.FILE).read_text())["micro_batch_tokens"] == 128
    # A single example cannot be halved.
    short_of_memory(1)
    caught, said, attempts = _go(stage, [(None, full)])
    assert (caught, said, attempts) == (full, [], 1)


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [(None, 1, True), (3, 6, True), (3, 3, False), (6, 3, False), (None, None, False)],
)
def test_progress_is_a_newer_checkpoint(before: int | None, after: int | None, again: bool) -> None:
    assert (refusal(before, after, restarts=0, most=5) is None) == again


def test_a_checkpoint_that_is_still_written_is_no_progress(stage: StageDir) -> None:
    _save(stage, 3)
    (stage.checkpoints / "checkpoint-9").mkdir()
    (stage.checkpoints / "checkpoint-12.partial").mkdir()
    (stage.checkpoints / "checkpoint-12.partial" / "manifest.json").write_text("{}")
    assert newest_step(stage) == 3
