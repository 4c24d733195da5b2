"""One process of a stage, started by hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zephyrctl import worker
from zephyrctl.errors import DiskFull
from zephyrctl.runs import manifest
from zephyrctl.runs.store import StageDir


def _worker(run: Path, *, supervised: bool) -> "subprocess.CompletedProcess[str]":
    env = {k: v for k, v in os.environ.items() if not k.startswith("ZEPHYRCTL_")}
    if supervised:
        env["ZEPHYRCTL_SUPERVISOR_PID"] = str(os.getpid())
    argv = [sys.executable, "-m", "zephyrctl.worker", "--run", str(run), "--stage", "data"]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("supervised", [False, True])
def test_an_error_is_shown_where_nobody_else_would_tell_it(
    tmp_path: Path, supervised: bool
) -> None:
    done = _worker(tmp_path / "mine", supervised=supervised)
    assert done.returncode == 2
    assert (tmp_path / "mine/data/error-rank0.json").is_file()
    text = (
        "error[usage]: rank 0: run 'mine' has no configuration\n"
        f"  --> {tmp_path}/mine/config.json\n"
    )
    assert done.stderr == ("" if supervised else text)


def test_what_fails_after_the_end_does_not_undo_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = StageDir(tmp_path / "sft")
    manifest.begin(stage, inputs={}, seed=0, world_size=1)
    full = DiskFull("no space left")
    code = worker._report(stage, full, rank=0, terminal=None)
    assert (code, stage.is_finished()) == (73, False)

    manifest.begin(stage, inputs={}, seed=0, world_size=1)
    manifest.finish(stage, manifest.Result({}, []))
    assert worker._report(stage, full, rank=0, terminal=None) == 73
    assert stage.is_finished()
    assert "no space left" in capsys.readouterr().err
