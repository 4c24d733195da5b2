"""What is said at the end of a command that drew nothing while it worked."""

import json
from pathlib import Path

import pytest
from tests.reports.run_files import finish_stage, make_run

from zephyrctl.cli.concluding import Account, conclude
from zephyrctl.runs.store import Run
from zephyrctl.stages.pipeline import Decision, Step

DOUBT = "identical answers to 30 of 80 questions"


def account() -> Account:
    return Account(
        [Step("data", Decision("skip", "finished")), Step("sft", Decision("run", "new"))]
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = make_run(tmp_path / "demo")
    finish_stage(found, "data", notices=["long known"])
    finish_stage(found, "sft", notices=[DOUBT])
    return found


def test_notices_of_what_was_done_are_said_where_nothing_was_drawn(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    conclude(run, account(), stages=["sft"], as_json=False, silent=True, asked=None)
    said = capsys.readouterr().err
    assert f"! sft: {DOUBT}\n" in said
    assert "long known" not in said
    conclude(run, account(), stages=["sft"], as_json=False, silent=False, asked=None)
    assert DOUBT not in capsys.readouterr().err


def test_the_json_object_holds_the_notices_of_every_stage(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    conclude(run, account(), stages=["sft"], as_json=True, silent=True, asked=None)
    assert json.loads(capsys.readouterr().out)["notices"] == {
        "data": ["long known"],
        "sft": [DOUBT],
    }
