"""Passes are halved after a shortage of memory, never the batch."""

import json
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema.training import Sft
from zephyrctl.runs import adjustments
from zephyrctl.runs.adjustments import Adjustments, Shortage
from zephyrctl.runs.store import StageDir


@pytest.fixture
def stage(tmp_path: Path) -> StageDir:
    (tmp_path / "sft").mkdir()
    return StageDir(tmp_path / "sft")


def shortage(**given: Any) -> Shortage:
    return Shortage(**{"doing": "step 7", "examples": 4, "tokens": 1000, "limit": 1200} | given)


def test_nothing_is_halved_where_memory_did_not_run_out(stage: StageDir) -> None:
    assert adjustments.halve(stage, Sft()) is None
    assert adjustments.read(stage) == Adjustments()
    assert not (stage.path / adjustments.FILE).exists()


def test_half_of_the_pass_that_did_not_fit_is_the_new_limit(stage: StageDir) -> None:
    adjustments.note(stage, shortage())

    text = adjustments.halve(stage, Sft(global_batch_size=128))

    assert text is not None
    assert "step 7" in text
    assert "micro_batch_tokens 1200 → 500" in text
    assert "128 examples" in text
    assert adjustments.read(stage) == Adjustments(micro_batch_tokens=500, because=(text,))
    assert adjustments.halve(stage, Sft()) is None  # the note is used up


def test_each_halving_is_below_the_last_one_and_they_are_all_told(stage: StageDir) -> None:
    for tokens in (1000, 999, 400):
        adjustments.note(stage, shortage(tokens=tokens))
        assert adjustments.halve(stage, Sft(micro_batch_tokens=1200))
    found = adjustments.read(stage)
    assert found.micro_batch_tokens == 125
    assert [text.split("micro_batch_tokens ")[1].split(";")[0] for text in found.because] == [
        "1200 → 500", "500 → 250", "250 → 125",
    ]  # fmt: skip


@pytest.mark.parametrize(("size", "half"), [(8, 4), (9, 3), (6, 3), (7, 1)])
def test_a_pass_by_number_keeps_dividing_the_share_of_a_process(
    stage: StageDir, size: int, half: int
) -> None:
    adjustments.note(stage, shortage(examples=size, limit=None))
    assert adjustments.halve(stage, Sft(micro_batch_size=size, global_batch_size=size * 2))
    assert adjustments.read(stage).micro_batch_size == half


@pytest.mark.parametrize(
    ("found", "training"),
    [
        (shortage(examples=1), Sft()),
        (shortage(examples=1, limit=None), Sft(micro_batch_size=1)),
        (shortage(tokens=8, limit=8), Sft(micro_batch_tokens=8)),
    ],
)
def test_a_pass_that_cannot_get_smaller_is_left(
    stage: StageDir, found: Shortage, training: Sft
) -> None:
    adjustments.note(stage, found)
    assert adjustments.halve(stage, training) is None
    assert adjustments.read(stage) == Adjustments()


def test_the_smaller_limit_wins_and_the_batch_stays() -> None:
    halved = Adjustments(micro_batch_tokens=500, micro_batch_size=2)
    assert halved.applied(Sft(micro_batch_tokens=1200)).micro_batch_tokens == 500
    assert halved.applied(Sft(micro_batch_tokens=100)).micro_batch_tokens == 100
    assert halved.applied(Sft()).micro_batch_tokens == 500
    assert halved.applied(Sft()).micro_batch_size == "auto"
    by_number = halved.applied(Sft(micro_batch_size=8, global_batch_size=64))
    assert (by_number.micro_batch_size, by_number.global_batch_size) == (2, 64)
    assert Adjustments().applied(Sft()) == Sft()


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"micro_batch_tokens": "many"})])
def test_a_file_that_is_none_adjusts_nothing(stage: StageDir, content: str) -> None:
    (stage.path / adjustments.FILE).write_text(content)
    assert adjustments.read(stage) == Adjustments()


def test_a_fresh_start_takes_the_limits_of_the_recipe_again(stage: StageDir) -> None:
    adjustments.note(stage, shortage())
    adjustments.halve(stage, Sft())
    adjustments.forget(stage)
    adjustments.forget(stage)
    assert adjustments.read(stage) == Adjustments()
