"""Data prepared by two processes, killed in the middle: it goes on and gives the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.data.conftest import jsonl
from tests.data.pipeline.test_cache import _own_cache, dialogues

__all__ = ["_own_cache", "jsonl"]


def _processes_with(word: str) -> list[int]:
    """The processes with a word in their environment, this one apart."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # it is gone by now, or another user's
        if word.encode() in environment and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


@pytest.mark.timeout(180)
def test_two_killed_in_the_middle_go_on_and_give_the_same_bytes(
    jsonl: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = {
        "name": "killed",
        "output_root": str(tmp_path / "runs"),
        "model": {"base": "tiny"},
        "data": {
            "processes": 2,
            "sft": {
                "train": [{"path": str(jsonl(dialogues(3000)))}],
                "filters": ["drop_refusals", "fix_truecase", "dedup"],
            },
        },
    }
    (tmp_path / "zephyr.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "zephyrctl", "data", "prepare", "--progress", "none"]
    shards = tmp_path / "cache" / "data"
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as process:
        until = time.monotonic() + 120
        while len(list(shards.glob("*/*.shard"))) < 6 and time.monotonic() < until:
            assert process.poll() is None, "it was finished before it could be killed"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
    until = time.monotonic() + 20
    while (left := _processes_with(str(tmp_path / "cache"))) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left, "processes outlived the command"
    data = tmp_path / "runs" / "killed" / "data"
    assert not (data / "sft").exists()
    subprocess.run(command, cwd=tmp_path, check=True)
    timing = json.loads((data / "timing.json").read_text())["sft"]
    assert 0 < timing["reused_rows"] < timing["chunks"]
    names = ["sft/train.jsonl", "sft/train.parquet", "sft/test.parquet", "account.json"]
    after_kill = [(data / name).read_bytes() for name in names]
    shutil.rmtree(data)
    shutil.rmtree(shards)
    subprocess.run(command, cwd=tmp_path, check=True)
    assert [(data / name).read_bytes() for name in names] == after_kill
