"""A follower does what a living machine 0 asks of it, and nothing else."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import (
    ConfigError,
    EnvironmentProblem,
    Interrupted,
    JobHung,
    StoppedEarly,
    Terminated,
    TrainingDiverged,
    UsageError,
    ZephyrctlError,
)
from zephyrctl.launch import followers, nodes, orders
from zephyrctl.launch.followers import Follower
from zephyrctl.launch.nodes import Leader, leading
from zephyrctl.launch.orders import Order, Report
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, open_run

STAGES = ["data", "sft"]


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become tenths."""
    monkeypatch.setattr(orders, "BEAT_S", 0.02)
    for module in (followers, nodes):
        for name, seconds in {"LOOK_S": 0.02, "GONE_S": 2.5, "JOIN_S": 2.5, "LATE_S": 0.2}.items():
            monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Two machines."""
    launch = {"nodes": 2, "node_rank": 1, "rendezvous": "127.0.0.1:29400"}
    return Recipe.model_validate({"name": "mine", "output_root": str(tmp_path), "launch": launch})


@pytest.fixture
def run(recipe: Recipe) -> Run:
    """A run with machine 0's configuration."""
    run = open_run(recipe)
    write_json(run.config_path, recipe.model_dump(mode="json"))
    return run


def _follow(run: Run, recipe: Recipe) -> list[str]:
    with orders.beating(run, 1):
        return [*Follower(run, recipe, STAGES, rank=1).follow()]


@dataclass
class Outcome:
    """How a follower ended."""

    parts: list[str] | None = None
    error: ZephyrctlError | None = None


@contextmanager
def _follower(run: Run, recipe: Recipe) -> Iterator[Outcome]:
    """A follower at work for the time of the block, and until it ends."""
    outcome = Outcome()

    def follow() -> None:
        try:
            outcome.parts = _follow(run, recipe)
        except ZephyrctlError as error:
            outcome.error = error

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield outcome
    finally:
        thread.join(timeout=20)
        assert not thread.is_alive()


def _killed_command(run: Run, recipe: Recipe) -> Order:
    """What a machine 0 leaves that was killed while a part ran."""
    leader = Leader(run, recipe, STAGES)
    order = orders.read_order(run)
    assert order is not None
    with orders.beating(run, 0, mark=leader.id):
        pass
    stale = replace(order, seq=3, state="run", stage="sft", attempt="old")
    orders.write_order(run, stale)
    return stale


def _lead(run: Run, recipe: Recipe, error: ZephyrctlError | None = None) -> None:
    """A command of machine 0 that finds the others and ends, with an error or without."""
    with leading(run, recipe, STAGES) as leader:
        leader.call_roll(run.stage("sft"))
        if error is not None:
            raise error


def test_a_follower_ends_well_when_machine_0_does(run: Run, recipe: Recipe) -> None:
    with _follower(run, recipe) as followed:
        _lead(run, recipe)
    assert followed == Outcome(parts=[])
    report = orders.read_report(run, 1)
    assert report is not None
    assert (report.state, report.seq) == ("ready", 0)


def test_a_follower_ends_with_machine_0s_error(run: Run, recipe: Recipe) -> None:
    error = TrainingDiverged("loss is nan at step 6")
    with _follower(run, recipe) as followed, pytest.raises(TrainingDiverged):
        _lead(run, recipe, error)
    assert isinstance(followed.error, TrainingDiverged)
    assert followed.error.to_json() == error.to_json()


def test_a_stale_order_starts_nothing(run: Run, recipe: Recipe) -> None:
    _killed_command(run, recipe)
    with pytest.raises(EnvironmentProblem, match="no order of machine 0") as caught:
        _follow(run, recipe)
    assert "share" in str(caught.value.hint)
    assert not run.stage("sft").path.exists()


def test_a_stale_order_starts_nothing_while_a_new_command_begins(run: Run, recipe: Recipe) -> None:
    stale = _killed_command(run, recipe)
    # The new command beats before its order is seen, as on a network disk that lags.
    with _follower(run, recipe) as followed, orders.beating(run, 0, mark="f" * 16):
        time.sleep(0.4)
        order = replace(stale, id="f" * 16, seq=0, state="wait", stage=None)
        orders.write_order(run, order)
        deadline = time.monotonic() + 10
        while (report := orders.read_report(run, 1)) is None or report.id != order.id:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        orders.write_order(run, replace(order, state="finished"))
    assert followed == Outcome(parts=[])
    assert not run.stage("sft").path.exists()


def test_a_command_that_ended_before_is_not_taken_for_ours(run: Run, recipe: Recipe) -> None:
    with leading(run, recipe, STAGES):
        pass
    past = time.time() - 5
    os.utime(orders.orders_path(run), (past, past))
    with pytest.raises(EnvironmentProblem, match="no order of machine 0"):
        _follow(run, recipe)


def test_a_machine_0_that_ended_before_it_was_seen_is_not_waited_for(
    run: Run, recipe: Recipe
) -> None:
    follower = Follower(run, recipe, STAGES, rank=1)
    with leading(run, recipe, STAGES):
        pass
    assert follower.follow() == []


def test_a_machine_0_that_is_gone_is_noticed(run: Run, recipe: Recipe) -> None:
    with _follower(run, recipe) as followed:
        leader = Leader(run, recipe, STAGES)
        with orders.beating(run, 0, mark=leader.id):
            leader.call_roll(run.stage("sft"))
    assert isinstance(followed.error, JobHung)
    assert "machine 0 gave no sign of life" in followed.error.message


def test_the_end_of_a_command_is_known_from_the_next_one_too(run: Run, recipe: Recipe) -> None:
    with _follower(run, recipe) as followed:
        with pytest.raises(StoppedEarly):
            _lead(run, recipe, StoppedEarly("checkpoint-5 stands"))
        Leader(run, recipe, ["eval"])
    assert isinstance(followed.error, StoppedEarly)
    assert followed.error.message == "checkpoint-5 stands"


@pytest.mark.parametrize("theirs", [["data", "sft"], ["data", "dpo"]])
def test_another_configuration_or_command_is_refused_on_both_machines(
    run: Run, recipe: Recipe, theirs: list[str]
) -> None:
    other = recipe.model_dump(mode="json")
    other["sft"]["learning_rate"] = 0.5
    other["launch"]["interface"] = "eth7"
    mine = Recipe.model_validate(other) if theirs == STAGES else recipe
    with (
        _follower(run, mine) as followed,
        pytest.raises((ConfigError, UsageError)) as caught,
        leading(run, recipe, theirs) as leader,
    ):
        leader.call_roll(run.stage("sft"))
    assert caught.value.exit_code == 2
    assert followed.error is not None
    assert followed.error.to_json() == caught.value.to_json()
    if theirs == STAGES:
        assert caught.value.message.endswith("than machine 0: sft.learning_rate")
    else:
        assert "data, dpo" in caught.value.message


def test_machine_0_waits_for_the_others_and_says_so(
    run: Run, recipe: Recipe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zephyrctl.launch.patience._MOMENT_S", 0.1)
    with (
        pytest.raises(EnvironmentProblem, match="machine 1 did not join") as caught,
        leading(run, recipe, STAGES) as leader,
    ):
        leader.call_roll(run.stage("sft"))
    assert caught.value.exit_code == 3
    assert "ZEPHYRCTL_LAUNCH__NODE_RANK" in str(caught.value.hint)
    assert "waits for machine 1" in capsys.readouterr().err


def test_a_report_of_an_earlier_command_is_no_presence(run: Run, recipe: Recipe) -> None:
    orders.write_report(run, Report(id="of another command", node=1, state="ready"))
    with (
        orders.beating(run, 1),
        pytest.raises(EnvironmentProblem, match="did not join"),
        leading(run, recipe, STAGES) as leader,
    ):
        leader.call_roll(run.stage("sft"))


@pytest.mark.parametrize("saved", [False, True])
def test_a_machine_that_was_asked_to_leave_is_not_waited_for(
    run: Run, recipe: Recipe, saved: bool
) -> None:
    if saved:
        (run.stage("sft").checkpoints / "checkpoint-3").mkdir(parents=True)
    leader = Leader(run, recipe, STAGES)
    error = Interrupted("stopped by Ctrl-C").to_json()
    orders.write_report(run, Report(id=leader.id, node=1, state="left", error=error))
    with pytest.raises(ZephyrctlError, match="on another machine") as caught:
        leader.call_roll(run.stage("sft"))
    assert isinstance(caught.value, StoppedEarly if saved else Terminated)
    assert ("checkpoint-3 stands" in caught.value.message) == saved


def test_a_part_that_was_over_before_it_was_seen_is_not_waited_for(
    run: Run, recipe: Recipe
) -> None:
    with _follower(run, recipe) as followed, leading(run, recipe, STAGES) as leader:
        leader.call_roll(run.stage("sft"))
        order = orders.read_order(run)
        assert order is not None
        orders.write_order(run, replace(order, seq=1, state="stop", stage="sft", attempt="first"))
        deadline = time.monotonic() + 10
        while (report := orders.read_report(run, 1)) is None or report.state != "ended":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert report.seq == 1
    assert followed == Outcome(parts=[])
    assert not run.stage("sft").path.exists()


def test_what_ended_the_command_is_told_where_the_others_cannot_be(
    run: Run, recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop_where_nothing_can_be_written() -> None:
        with leading(run, recipe, STAGES):
            orders.orders_path(run).unlink()
            (orders.orders_path(run) / "in the way").mkdir(parents=True)
            raise StoppedEarly("checkpoint-5 stands")

    with pytest.raises(StoppedEarly, match="checkpoint-5"):
        stop_where_nothing_can_be_written()
    assert "orders.json could not be written" in capsys.readouterr().err


def test_settings_of_one_machine_are_no_difference(recipe: Recipe) -> None:
    here = recipe.model_dump(mode="json")
    there = recipe.model_dump(mode="json")
    there["output_root"] = "/mnt/elsewhere"
    there["launch"] |= {"node_rank": 0, "interface": "ib0"}
    assert orders.digest_of(here) == orders.digest_of(there)
    there["launch"]["cpu_processes"] = 2
    assert orders.digest_of(here) != orders.digest_of(there)
