"""Two machines train as one: two hosts, the same command on each, and one cable between them."""

import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.drills.conftest import Yard, checkpoints, curve, manifest_of, outcome
from tests.e2e.conftest import LIMIT_S, wait_for
from tests.launch.hosts import Host, two_hosts

from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.store import StageDir

Commands = list["subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts that share the disk."""
    with two_hosts() as pair:
        yield pair


def _words(yard: Yard, hosts: tuple[Host, Host], name: str, **sets: Any) -> list[str]:
    meeting = {"launch.nodes": 2, "launch.rendezvous": f"{hosts[0].address}:29400"}
    settings = {key.replace("__", "."): value for key, value in sets.items()}
    return yard.argv(*yard.words("sft", name, {**meeting, **settings}))


def _both(
    yard: Yard, hosts: tuple[Host, Host], words: list[str], *, fault: str | None = None
) -> Commands:
    """The same command on both hosts, each with its own number."""
    planned = {"ZEPHYRCTL_FAULT": fault} if fault else {}
    return [
        host.popen(
            words,
            env={
                **yard.env,
                **planned,
                "ZEPHYRCTL_LAUNCH__NODE_RANK": str(rank),
                "ZEPHYRCTL_LAUNCH__INTERFACE": host.interface,
            },
            cwd=yard.folder,
        )
        for rank, host in enumerate(hosts)
    ]


def _ends(commands: Commands) -> tuple[list[int], list[str]]:
    """Exit codes and what was said, machine 0 first."""
    said = [command.communicate(timeout=LIMIT_S)[1] for command in commands]
    assert not any("Traceback" in text for text in said), said
    return [command.returncode for command in commands], said


def _when(ready: Callable[[], bool], commands: Commands) -> None:
    wait_for(ready, alive=lambda: all(command.poll() is None for command in commands))


def _has_step(stage: StageDir, step: int) -> bool:
    return any(
        record["kind"] == "metrics" and record["step"] >= step
        for record in read_jsonl(stage.metrics_path)
    )


def test_25_two_machines_train_as_two_processes_of_one_do(
    yard: Yard, hosts: tuple[Host, Host], prepared: str, straight_pair: str
) -> None:
    run = yard.copy(prepared, "nodes")
    codes, said = _ends(_both(yard, hosts, _words(yard, hosts, "nodes")))
    assert codes == [0, 0], said
    assert "machine 1 took part in sft; machine 0 is done" in said[1]
    stage = run.stage("sft")
    assert manifest_of(stage).world_size == 2
    wanted = curve(yard.run(straight_pair).stage("sft"))
    found = curve(stage)
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in wanted], abs=1e-6)
    # The same command again: nothing is left to do, on either machine.
    codes, said = _ends(_both(yard, hosts, _words(yard, hosts, "nodes")))
    assert codes == [0, 0], said
    assert "machine 1 had nothing to do; machine 0 is done" in said[1]


def test_25_a_cable_that_is_pulled_is_a_hang_and_the_same_commands_finish(
    yard: Yard, hosts: tuple[Host, Host], prepared: str, straight_pair: str
) -> None:
    run = yard.copy(prepared, "nodes-cable")
    stage = run.stage("sft")
    words = _words(yard, hosts, "nodes-cable", launch__hang_after_s=10, launch__max_restarts=3)
    # Machine 1 stops before the cable is pulled, so that nothing is decided by chance.
    commands = _both(yard, hosts, words, fault="step=5@1:hang")
    try:
        _when(lambda: _has_step(stage, 4), commands)
        hosts[1].cut()
        codes, said = _ends(commands)
    finally:
        hosts[1].plug()
    assert codes == [78, 78], said
    events = [r["event"] for r in read_jsonl(stage.events_path) if r["kind"] == "event"]
    # Once after checkpoint-3, and not again without a newer one.
    assert events.count("restarted") == 1, said
    assert "checkpoint-3" in checkpoints(stage)
    codes, said = _ends(_both(yard, hosts, words))
    assert codes == [0, 0], said
    assert outcome(stage)["weights"] == outcome(yard.run(straight_pair).stage("sft"))["weights"]


def test_25_ctrl_c_on_one_machine_stops_both_with_a_checkpoint(
    yard: Yard, hosts: tuple[Host, Host], prepared: str, straight_pair: str
) -> None:
    run = yard.copy(prepared, "nodes-stop")
    stage = run.stage("sft")
    words = _words(yard, hosts, "nodes-stop")
    commands = _both(yard, hosts, words)
    _when(lambda: _has_step(stage, 2), commands)
    commands[1].send_signal(signal.SIGINT)
    codes, said = _ends(commands)
    assert codes == [75, 130], said
    assert manifest_of(stage).state == "stopped"
    assert checkpoints(stage)
    codes, said = _ends(_both(yard, hosts, words))
    assert codes == [0, 0], said
    assert outcome(stage)["weights"] == outcome(yard.run(straight_pair).stage("sft"))["weights"]


def test_25_a_killed_machine_ends_the_other_within_its_patience(
    yard: Yard, hosts: tuple[Host, Host], prepared: str
) -> None:
    run = yard.copy(prepared, "nodes-killed")
    commands = _both(yard, hosts, _words(yard, hosts, "nodes-killed"))
    _when(lambda: _has_step(run.stage("sft"), 1), commands)
    commands[0].kill()
    began = time.monotonic()
    codes, said = _ends(commands)
    assert codes == [-signal.SIGKILL, 78], said
    assert "machine 0 gave no sign of life" in said[1]
    assert time.monotonic() - began < 150


def test_25_what_print_launch_shows_trains_on_two_machines(
    yard: Yard, hosts: tuple[Host, Host], prepared: str, straight_pair: str
) -> None:
    run = yard.copy(prepared, "nodes-pasted")
    words = _words(yard, hosts, "nodes-pasted", launch__rendezvous_backend="static")
    # The configuration is written by the command that would start the stage; here by hand.
    yard.does("data prepare", "nodes-pasted")
    shown = [
        command.communicate(timeout=LIMIT_S)[0].splitlines()[-1]
        for command in _both(yard, hosts, [*words, "--print-launch"])
    ]
    assert all("zephyrctl.worker" in line for line in shown)
    pasted = [
        host.popen(["sh", "-c", line], env=yard.env, cwd=yard.folder)
        for host, line in zip(hosts, shown, strict=True)
    ]
    assert [shlex.split(line).count("--node-rank") for line in shown] == [1, 1]
    codes, said = _ends(pasted)
    assert codes == [0, 0], said
    wanted = curve(yard.run(straight_pair).stage("sft"))
    assert [row[2] for row in curve(run.stage("sft"))] == pytest.approx(
        [row[2] for row in wanted], abs=1e-6
    )
