"""One machine's part of a stage, alone and as one of two real hosts."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.launch.hosts import Host, two_hosts

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import JobHung
from zephyrctl.launch.neighbours import hang_of, waited_in_vain
from zephyrctl.launch.node import error_left, take_over
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import Run, open_run

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts for the module."""
    with two_hosts() as pair:
        yield pair


def _run(folder: Path, **launch: object) -> Run:
    recipe = Recipe.model_validate({"name": "mine", "output_root": str(folder), "launch": launch})
    run = open_run(recipe)
    write_json(run.config_path, recipe.model_dump(mode="json"))
    return run


def _argv(run: Run, stage: str, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tests.launch.part",
        "--run",
        str(run.root),
        "--stage",
        stage,
        *more,
    ]


def _env(work: str, **more: str) -> dict[str, str]:
    return {**os.environ, "ZEPHYRCTL_TEST_WORK": work, "OMP_NUM_THREADS": "1", **more}


def _alone(run: Run, work: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        _argv(run, "data"), env=_env(work), cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["static", "c10d"])
def test_two_hosts_add_over_gloo(hosts: tuple[Host, Host], tmp_path: Path, backend: str) -> None:
    meeting = f"{hosts[0].address}:29400"
    run = _run(tmp_path, nodes=2, rendezvous=meeting, rendezvous_backend=backend)
    parts = [
        host.popen(
            _argv(run, "sft", "--node-rank", str(rank), "--attempt", "first"),
            env=_env("finish", GLOO_SOCKET_IFNAME=host.interface),
            cwd=REPOSITORY,
        )
        for rank, host in enumerate(hosts)
    ]
    said = [part.communicate(timeout=100)[1] for part in parts]
    assert [part.returncode for part in parts] == [0, 0], said
    manifest = run.stage("sft").read_manifest()
    assert manifest is not None
    assert (manifest.state, manifest.world_size) == ("finished", 2)
    # 1 + 2, summed once more on both ranks.
    assert manifest.metrics == {"total": 6.0}
    logs = {path.name for path in run.stage("sft").logs.iterdir()}
    assert logs >= {"launcher.log", "launcher-1.log", "rank0.log", "rank1.log"}
    assert not {"elastic", "elastic-1"} & logs


def test_a_part_ends_with_the_exit_code_of_its_error_and_leaves_it(tmp_path: Path) -> None:
    run = _run(tmp_path)
    part = _alone(run, "refuse")
    said = part.communicate(timeout=60)[1]
    assert part.returncode == 2
    assert "error[data]: row 3 is broken" in said
    left = error_left(run.stage("data"))
    assert left is not None
    assert (left.kind, left.where, left.hint) == ("data", "rows.jsonl:3", "fix the row")
    assert _alone(run, "finish").wait(timeout=60) == 0
    assert error_left(run.stage("data")) is None


def test_a_doubled_request_to_stop_costs_neither_checkpoint_nor_exit_code(tmp_path: Path) -> None:
    run = _run(tmp_path)
    part = _alone(run, "checkpoint")
    deadline = time.monotonic() + 60
    while not (run.stage("data").path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    while part.poll() is None:
        # Slurm sends it twice; here it goes on until the end.
        part.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    part.communicate()
    assert part.returncode == 75
    assert (run.stage("data").checkpoints / "checkpoint-5").is_dir()


def test_only_training_spans_machines(tmp_path: Path) -> None:
    run = _run(tmp_path, nodes=2, rendezvous="127.0.0.1:29400")
    ended = subprocess.run(
        _argv(run, "data", "--node-rank", "1"), env=_env("finish"), cwd=REPOSITORY,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0
    assert "data runs on machine 0" in ended.stderr
    assert not run.stage("data").path.exists()


def test_a_part_that_nobody_numbered_is_refused(tmp_path: Path) -> None:
    run = _run(tmp_path, nodes=2, rendezvous="127.0.0.1:29400")
    ended = subprocess.run(
        _argv(run, "sft"), env=_env("finish"), cwd=REPOSITORY,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "nothing says which of them this machine is" in ended.stderr


def test_waiting_in_vain_for_a_neighbour_is_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    c10d: Any = importlib.import_module("torch.distributed")  # names that its types lack
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    store, minute = c10d.HashStore(), timedelta(seconds=60)
    with ThreadPoolExecutor(2) as pool:  # two ranks, of which the second then does nothing
        ranks = [pool.submit(c10d.ProcessGroupGloo, store, n, 2, minute) for n in (0, 1)]
        group, _silent = (rank.result() for rank in ranks)
    options = c10d.AllreduceOptions()
    options.timeout = timedelta(seconds=1)
    with pytest.raises(RuntimeError) as caught:
        group.allreduce([torch.ones(1)], options).wait()
    assert waited_in_vain(caught.value)
    assert not waited_in_vain(RuntimeError("Connection closed by peer"))
    error = hang_of(caught.value, Run(tmp_path).stage("sft"), rank=0)
    assert isinstance(error, JobHung)
    assert "rank 0 waited in vain" in error.message


def test_a_run_takes_over_what_it_lacks_and_what_changed(tmp_path: Path) -> None:
    given, run = tmp_path / "given", Run(tmp_path / "runs" / "mine")
    for name, digest in {"data": "a", "sft": "b"}.items():
        (given / name / "model").mkdir(parents=True)
        (given / name / "model" / "weights").write_text(digest)
        (given / name / "manifest.json").write_text(json.dumps({"digest": digest}))
    take_over(given, run)
    assert (run.root / "sft" / "model" / "weights").read_text() == "b"
    # What the job made since stays, where the manifest is the same.
    (run.root / "sft" / "model" / "weights").write_text("newer")
    (given / "data" / "manifest.json").write_text(json.dumps({"digest": "c"}))
    (given / "data" / "model" / "weights").write_text("c")
    take_over(given, run)
    assert (run.root / "sft" / "model" / "weights").read_text() == "newer"
    assert (run.root / "data" / "model" / "weights").read_text() == "c"
