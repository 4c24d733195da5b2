"""The plan shows exactly what would be started."""

import json
import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.launch import Launch
from zephyrctl.environment import Gpu, select_gpus
from zephyrctl.errors import ConfigError, EnvironmentProblem, ZephyrctlError
from zephyrctl.launch.grace import saved_bytes
from zephyrctl.launch.plan import (
    UNKNOWN_RENDEZVOUS,
    WORKER,
    Host,
    LaunchPlan,
    choose_gpus,
    inherited,
    plan_launch,
)
from zephyrctl.runs.store import Run, StageName

GPUS = [
    Gpu(index=i, uuid=f"GPU-{i}", name="H100", memory_mib=81920, free_mib=81000, capability="9.0")
    for i in (0, 1, 3)
]


def _plan(
    stage: StageName,
    *,
    visible: list[Gpu] | None = None,
    host: Host | None = None,
    saved_bytes: float = 0.0,
    **launch: Any,
) -> LaunchPlan:
    here = Host(visible or [], cores=8, env_names=("HOME", "HF_TOKEN"))
    settings = Launch(**launch)
    run = Run(Path("/runs/my run"))
    return plan_launch(run, stage, settings, host=host or here, saved_bytes=saved_bytes)


def _words(plan: LaunchPlan) -> dict[str, str]:
    """The options of torchrun that have a value."""
    words = list(plan.argv[4 : plan.argv.index("--")])
    return {
        word: words[place + 1]
        for place, word in enumerate(words[:-1])
        if word.startswith("--") and not words[place + 1].startswith("--")
    }


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


def test_a_gpu_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="names a GPU twice: 0, 0"):
        choose_gpus([0, 0], GPUS)


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


TWO = {"nodes": 2, "rendezvous": "10.99.0.1:29400"}


def test_one_machine_meets_itself_at_a_free_port() -> None:
    plan = _plan("sft", cpu_processes=2)
    assert "--standalone" in plan.argv
    assert not {"--nnodes", "--master-port", "--rdzv-endpoint"} & set(plan.argv)
    assert plan.env["GLOO_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize("rank", [0, 1])
def test_machines_meet_at_the_store_of_machine_0(rank: int) -> None:
    plan = _plan("sft", host=Host(GPUS, cores=8, rank=rank, attempt="a1"), **TWO)
    words = _words(plan)
    assert (plan.nodes, plan.processes, plan.node) == (2, 3, rank)
    assert {key: words[key] for key in list(words) if key.startswith(("--nn", "--rdzv"))} == {
        "--nnodes": "2",
        "--rdzv-backend": "c10d",
        "--rdzv-endpoint": "10.99.0.1:29400",
        "--rdzv-id": "a1",
        "--rdzv-conf": f"is_host={'true' if rank == 0 else 'false'}",
    }
    assert words.get("--local-addr") == ("10.99.0.1" if rank == 0 else None)
    assert "--standalone" not in plan.argv
    assert "GLOO_SOCKET_IFNAME" not in plan.env


def test_machines_meet_by_their_numbers() -> None:
    host = Host([], cores=8, rank=1, address="10.99.0.2")
    words = _words(_plan("dpo", host=host, rendezvous_backend="static", interface="ib0", **TWO))
    assert (words["--node-rank"], words["--local-addr"]) == ("1", "10.99.0.2")
    assert (words["--master-addr"], words["--master-port"]) == ("10.99.0.1", "29400")
    assert not [word for word in words if word.startswith("--rdzv")]
    env = _plan("dpo", host=host, interface="ib0", **TWO).env
    assert (env["GLOO_SOCKET_IFNAME"], env["NCCL_SOCKET_IFNAME"]) == ("ib0", "ib0")


def test_only_training_spans_machines() -> None:
    for stage in ("data", "eval"):
        plan = _plan(stage, cpu_processes=2, **TWO)
        assert (plan.nodes, plan.node) == (1, 0)
        assert "--nnodes" not in plan.argv


@pytest.mark.parametrize(
    ("launch", "host", "kind", "where"),
    [
        ({"nodes": 2}, Host([], cores=1), ConfigError, "launch.rendezvous"),
        ({**TWO, "strategy": "single"}, Host([], cores=1), ConfigError, "launch.nodes"),
        (
            {"cpu_processes": 2, "strategy": "single"},
            Host([], cores=1),
            ConfigError,
            "launch.cpu_processes",
        ),
        ({"gpus_per_node": 4}, Host(GPUS, cores=1), EnvironmentProblem, "launch.gpus_per_node"),
        ({"backend": "slurm"}, Host(None, cores=1), ConfigError, "launch.gpus_per_node"),
    ],
)
def test_settings_that_contradict_each_other_or_the_machine_are_refused(
    launch: dict[str, Any], host: Host, kind: type[ZephyrctlError], where: str
) -> None:
    with pytest.raises(kind) as caught:
        _plan("sft", host=host, **launch)
    assert caught.value.where == where
    assert "--set launch." in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("launch", "processes", "devices"),
    [
        ({"gpus_per_node": 8}, 8, "cuda"),
        ({"gpus": [0, 2]}, 2, "cuda"),
        ({"gpus_per_node": 0, "cpu_processes": 3}, 3, "cpu"),
        ({"gpus": "none"}, 1, "cpu"),
        ({"backend": "skypilot", "skypilot": {"accelerators": "A100:4"}}, 4, "cuda"),
        ({"gpus_per_node": 8, "strategy": "single"}, 1, "cuda"),
    ],
)
def test_a_clusters_gpus_are_counted_by_the_settings(
    launch: dict[str, Any], processes: int, devices: str
) -> None:
    plan = _plan("sft", host=Host(None, cores=2), **{"backend": "slurm", **launch})
    assert plan.processes == processes
    assert plan.devices == devices
    assert plan.env.get("CUDA_VISIBLE_DEVICES") == ("" if devices == "cpu" else None)


def test_a_cluster_starts_the_entry_that_plans_on_each_machine() -> None:
    plan = _plan(
        "sft", host=Host(None, cores=2), backend="slurm", nodes=2, gpus_per_node=8,
        slurm={"time_minutes": 90},
    )  # fmt: skip
    assert plan.node_argv == (
        sys.executable, "-m", "zephyrctl.launch.node", "--run", "/runs/my run", "--stage", "sft",
    )  # fmt: skip
    assert _words(plan)["--rdzv-endpoint"] == UNKNOWN_RENDEZVOUS
    assert plan.time_s == 5400.0
    assert _plan("sft").node_argv == ()
    assert _plan("sft").time_s is None


def test_a_configuration_of_its_own_reaches_the_worker_and_the_entry_of_a_cluster() -> None:
    plan = plan_launch(
        Run(Path("/runs/r")), "eval", Launch(backend="slurm", gpus="none"),
        host=Host(None, cores=2), worker=(*WORKER, "--config", "/runs/r/eval/config.json"),
    )  # fmt: skip
    for argv in (plan.argv, plan.node_argv):
        assert argv[argv.index("--config") + 1] == "/runs/r/eval/config.json"


@pytest.mark.parametrize(("saved_bytes", "grace_s"), [(0.0, 60.0), (1e9, 60.0), (84e9, 336.0)])
def test_a_large_checkpoint_has_time_to_be_written(saved_bytes: float, grace_s: float) -> None:
    plan = _plan("sft", saved_bytes=saved_bytes)
    assert plan.grace_s == grace_s
    assert plan.env["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == f"{grace_s:.0f}"


def test_a_checkpoints_size_follows_what_is_trained(tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 32000,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    recipe = Recipe.model_validate({"name": "r", "model": {"base": str(tmp_path)}})
    assert saved_bytes(recipe, "sft") == pytest.approx(12 * 7.24e9, rel=0.01)
    lora = {"name": "r", "model": {"base": str(tmp_path)}, "sft": {"adapter": {"type": "lora"}}}
    small = Recipe.model_validate(lora)
    assert 0 < saved_bytes(small, "sft") < 0.1 * saved_bytes(recipe, "sft")
    assert saved_bytes(recipe, "data") == 0
    unknown = Recipe.model_validate({"name": "r", "model": {"base": "somebody/unknown"}})
    assert saved_bytes(unknown, "sft") == 0


@pytest.mark.parametrize(
    ("visible", "wanted", "names"),
    [
        (None, "all", "0,1,3"),
        ("3,0", "all", "3,0"),
        ("3,0", [0], "0"),
        ("GPU-1", "all", "1"),
        ("MIG-b,MIG-a", "all", "MIG-b,MIG-a"),
        ("MIG-b,MIG-a", [1], "MIG-a"),
    ],
)
def test_the_devices_that_are_visible_here_are_handed_on(
    visible: str | None, wanted: Any, names: str
) -> None:
    parts = [replace(GPUS[0], uuid=f"MIG-{name}") for name in "ab"]
    seen = select_gpus([*GPUS, *parts], visible)
    plan = _plan("sft", visible=seen, gpus=wanted)
    assert plan.env["CUDA_VISIBLE_DEVICES"] == names
    assert plan.devices == f"cuda:{names}"


@pytest.mark.parametrize("visible", ["", "-1"])
def test_without_a_visible_gpu_the_cpu_trains_and_a_wish_for_one_is_refused(visible: str) -> None:
    seen = select_gpus(GPUS, visible)
    assert _plan("sft", visible=seen).devices == "cpu"
    with pytest.raises(EnvironmentProblem, match="visible here: none"):
        _plan("sft", visible=seen, gpus=[0])


def test_json_holds_all_that_a_launcher_consumes() -> None:
    record = _plan("sft", visible=GPUS).to_json()
    shown = {"node", "attempt"} | set(record) - {"command"}
    assert shown == {field.name for field in fields(LaunchPlan)}
    assert record["exit_codes"] == {
        "requeue": [75], "restart": [1, 78], "stop": [2, 3, 4, 5, 6, 7, 73, 77],
    }  # fmt: skip
