"""Machines that did not find each other are told from processes that failed."""

from dataclasses import replace

import pytest
from tests.launch.planned import plan_for

from zephyrctl.errors import DiskFull, JobFailed, JobHung, ZephyrctlError
from zephyrctl.launch.neighbours import did_not_meet, lost_connection
from zephyrctl.launch.plan import LaunchPlan
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run

NO_REASON = JobFailed("sft ended with exit code 1 and left no reason")
APART = """\
Traceback (most recent call last):
torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection has failed.
"""


@pytest.fixture
def plan(run: Run) -> LaunchPlan:
    """The part of the second of two machines."""
    plan = replace(plan_for(run, "sft"), nodes=2, node=1)
    plan.log_dir.mkdir(parents=True)
    return plan


def test_agents_that_did_not_find_each_other_hang(run: Run, plan: LaunchPlan) -> None:
    plan.launcher_log.write_text(APART)
    found = did_not_meet(run.stage("sft"), plan, NO_REASON, start=0)
    assert isinstance(found, JobHung)
    assert "machine 1 lost the other machines, or never found them" in found.message
    assert "RendezvousConnectionError" in found.message
    assert found.where == str(plan.launcher_log)
    assert "launch.rendezvous" in (found.hint or "")


@pytest.mark.parametrize(
    ("said", "start", "error"),
    [
        ("nothing of the kind\n", 0, NO_REASON),
        (APART, len(APART), NO_REASON),
        (APART + "Root Cause (first observed failure):\n", 0, NO_REASON),
        (APART, 0, DiskFull("no space")),
    ],
    ids=["another end", "an earlier attempt's", "a rank failed", "a reason of its own"],
)
def test_another_end_is_left_as_it_is(
    run: Run, plan: LaunchPlan, said: str, start: int, error: ZephyrctlError
) -> None:
    plan.launcher_log.write_text(said)
    assert did_not_meet(run.stage("sft"), plan, error, start=start) is None


def test_a_rank_that_left_its_error_had_been_met(run: Run, plan: LaunchPlan) -> None:
    plan.launcher_log.write_text(APART)
    write_json(run.stage("sft").path / "error-rank0.json", {})
    assert did_not_meet(run.stage("sft"), plan, NO_REASON, start=0) is None


def test_one_machine_has_nobody_to_meet(run: Run, plan: LaunchPlan) -> None:
    plan.launcher_log.write_text(APART)
    alone = replace(plan, nodes=1)
    assert did_not_meet(run.stage("sft"), alone, NO_REASON, start=0) is None


def test_a_closed_connection_counts_only_where_a_group_says_so() -> None:
    class DistBackendError(RuntimeError):
        """As torch names it."""

    wrapped = ValueError("the step failed")
    wrapped.__cause__ = DistBackendError("Connection closed by peer [127.0.0.1]:4711")
    assert lost_connection(wrapped)
    assert not lost_connection(OSError("Connection reset by peer"))
