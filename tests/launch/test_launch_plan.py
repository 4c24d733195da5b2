"""The plan shows exactly what would be started."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema.launch import Launch
from zephyrctl.environment import Gpu
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.launch.plan import Host, LaunchPlan, choose_gpus, inherited, plan_launch
from zephyrctl.runs.store import Run, StageName

GPUS = [
    Gpu(index=i, uuid=f"GPU-{i}", name="H100", memory_mib=81920, free_mib=81000, capability="9.0")
    for i in (0, 1, 3)
]


def _plan(stage: StageName, *, visible: list[Gpu] | None = None, **launch: Any) -> LaunchPlan:
    return plan_launch(
        Run(Path("/runs/my run")), stage, Launch(**launch),
        host=Host(visible or [], cores=8, env_names=("HOME", "HF_TOKEN")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "launch", "gpus", "processes", "devices"),
    [
        ("sft", {}, [], 1, "cpu"),
        ("sft", {"cpu_processes": 2}, [], 2, "cpu"),
        ("dpo", {}, GPUS, 3, "cuda:0,1,3"),
        ("dpo", {"gpus": [3]}, GPUS, 1, "cuda:3"),
        ("dpo", {"gpus": "none", "cpu_processes": 4}, GPUS, 4, "cpu"),
        ("sft", {"strategy": "single"}, GPUS, 1, "cuda:0"),
        ("eval", {}, GPUS, 3, "cuda:0,1,3"),
        ("eval", {"gpus": "none", "cpu_processes": 2}, GPUS, 2, "cpu"),
        ("eval", {"strategy": "single"}, GPUS, 1, "cuda:0"),
        ("data", {"cpu_processes": 2}, GPUS, 1, "cuda:0,1,3"),
    ],
)
def test_processes_and_devices_follow_the_settings(
    stage: StageName, launch: dict[str, Any], gpus: list[Gpu], processes: int, devices: str
) -> None:
    plan = _plan(stage, visible=gpus, **launch)
    assert (plan.processes, plan.devices) == (processes, devices)


def test_training_runs_under_torchrun_also_as_one_process() -> None:
    argv = list(_plan("sft").argv)
    assert argv[:4] == [sys.executable, "-u", "-m", "torch.distributed.run"]
    assert argv[argv.index("--nproc-per-node") + 1] == "1"
    assert argv[argv.index("--max-restarts") + 1] == "0"
    assert argv[argv.index("--") + 1 :] == [
        "zephyrctl.worker", "--run", "/runs/my run", "--stage", "sft",
    ]  # fmt: skip
    assert "--module" in argv


def test_questions_are_shared_under_torchrun_and_asked_alone_as_a_plain_child() -> None:
    shared = _plan("eval", visible=GPUS)
    assert shared.argv[3] == "torch.distributed.run"
    assert shared.argv[shared.argv.index("--nproc-per-node") + 1] == "3"
    for alone in (_plan("eval"), _plan("eval", visible=GPUS[:1])):
        assert alone.argv[2:4] == ("-m", "zephyrctl.worker")
    services = plan_launch(
        Run(Path("/runs/r")), "eval", Launch(), host=Host(GPUS, cores=8), alone=True
    )
    assert (services.processes, services.devices) == (1, "cuda:0")
    assert services.argv[2:4] == ("-m", "zephyrctl.worker")


def test_other_stages_are_a_plain_child() -> None:
    assert _plan("data").argv == (
        sys.executable, "-u", "-m", "zephyrctl.worker", "--run", "/runs/my run", "--stage", "data",
    )  # fmt: skip


def test_the_command_can_be_pasted() -> None:
    plan = _plan("sft", cpu_processes=4)
    words = shlex.split(plan.command())
    assert words[-len(plan.argv) :] == list(plan.argv)
    assert "OMP_NUM_THREADS=2" in words
    assert "ACCELERATE_USE_CPU=true" in words
    assert "CUDA_VISIBLE_DEVICES=" in words


def test_json_names_secrets_and_holds_no_value_of_them() -> None:
    record = json.loads(json.dumps(_plan("sft", visible=GPUS).to_json()))
    assert record["secrets"] == ["HF_TOKEN"]
    assert record["env"]["CUDA_VISIBLE_DEVICES"] == "0,1,3"
    assert record["env"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "ACCELERATE_USE_CPU" not in record["env"]
    assert "HF_TOKEN" not in record["env"]


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(EnvironmentProblem, match="GPU 2; visible here: 0, 1, 3") as caught:
        choose_gpus([0, 2], GPUS)
    assert caught.value.exit_code == 3


def test_other_launchers_variables_and_overrides_are_not_handed_on() -> None:
    given = {
        "PATH": "/bin", "RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "x", "PET_NNODES": "2",
        "ACCELERATE_USE_FSDP": "true", "TORCHELASTIC_RUN_ID": "1",
        "ZEPHYRCTL_SFT__LEARNING_RATE": "1", "ZEPHYRCTL_OFFLINE": "1", "HF_TOKEN": "t",
    }  # fmt: skip
    assert set(inherited(given)) == {"PATH", "ZEPHYRCTL_OFFLINE", "HF_TOKEN"}
