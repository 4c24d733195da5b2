"""What a job is submitted with: argv, arguments of the fixed script, environment."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from zephyrctl.config.schema.launch import Launch, Slurm
from zephyrctl.errors import ConfigError, EnvironmentProblem
from zephyrctl.launch.plan import Host, LaunchPlan, plan_launch
from zephyrctl.launch.slurm.submission import SCRIPT, Submission, submission
from zephyrctl.runs.store import Run, StageName


def _launch(**settings: Any) -> Launch:
    return Launch.model_validate(
        {"backend": "slurm", "nodes": 2, "gpus_per_node": 8, "grace_s": 90.5, **settings}
    )


def _plan(stage: StageName, settings: Launch, *, root: str = "/shared/runs/mine") -> LaunchPlan:
    host = Host(gpus=None, cores=4, env_names=("HF_TOKEN",))
    return plan_launch(Run(Path(root)), stage, settings, host=host)


def _submit(
    stage: StageName = "sft", *, root: str = "/shared/runs/mine", **settings: Any
) -> Submission:
    launch = _launch(**settings)
    plan = _plan(stage, launch, root=root)
    return submission(plan, launch, environ={}, mark="zephyrctl-1", folder=Path("/home/me"))


def _split(given: Submission) -> tuple[list[str], list[str]]:
    """sbatch's options, and the arguments of the script."""
    at = given.argv.index(str(SCRIPT))
    return list(given.argv[1:at]), list(given.argv[at + 1 :])


def test_every_setting_is_one_word_of_sbatch() -> None:
    options, _ = _split(
        _submit(
            slurm={
                "partition": "gpu", "account": "lab", "qos": "high", "constraint": "h100&nvlink",
                "time_minutes": 240, "cpus_per_task": 64, "memory_gb": 512,
                "options": ["--exclusive", "--mail-type=END"],
            }
        )
    )  # fmt: skip
    assert options == [
        "--parsable", "--job-name=mine-sft", "--comment=zephyrctl-1", "--nodes=2",
        "--ntasks-per-node=1", "--gpus-per-node=8", "--cpus-per-task=64", "--mem=512G",
        "--time=240", "--partition=gpu", "--account=lab", "--qos=high", "--constraint=h100&nvlink",
        "--signal=USR1@91", "--requeue", "--open-mode=append",
        "--output=/shared/runs/mine/sft/logs/slurm.log", "--chdir=/home/me", "--export=ALL",
        "--exclusive", "--mail-type=END",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "nodes", "gpus"), [("data", 1, None), ("sft", 2, 8), ("dpo", 2, 8), ("eval", 1, 8)]
)
def test_each_stage_asks_for_what_it_uses(stage: StageName, nodes: int, gpus: int | None) -> None:
    options, _ = _split(_submit(stage))
    assert f"--nodes={nodes}" in options
    asked = [word for word in options if word.startswith("--gpus-per-node")]
    assert asked == ([] if gpus is None else [f"--gpus-per-node={gpus}"])


def test_without_gpus_none_is_asked_for() -> None:
    for given in (_submit(gpus_per_node=0), _submit(gpus="none")):
        options, _ = _split(given)
        assert not [word for word in options if "gpu" in word]


def test_the_script_gets_its_values_as_arguments() -> None:
    given = _submit(slurm={"modules": ["cuda/13.0", "gcc"], "python": "/env/bin/python"})
    assert _split(given)[1] == [
        "/shared/runs/mine", "sft", "1", "cuda/13.0 gcc", "/env/bin/python", "--",
        "/env/bin/python", "-m", "zephyrctl.launch.node", "--run", "/shared/runs/mine",
        "--stage", "sft",
    ]  # fmt: skip


def test_a_container_brings_its_own_python_and_sees_the_run() -> None:
    given = _submit(slurm={"container": "lab/zephyr:1", "container_mounts": ["/data:/data"]})
    assert _split(given)[1][3:9] == [
        "", "", "--container-image=lab/zephyr:1",
        "--container-mounts=/data:/data,/shared/runs/mine:/shared/runs/mine", "--", "python3",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="a container cannot be shown a folder with"):
        _submit(root="/shared/a,b/mine", slurm={"container": "lab/zephyr:1"})


def test_a_percent_sign_in_the_path_is_not_replaced_by_slurm() -> None:
    options, _ = _split(_submit(root="/shared/50%j/mine"))
    assert "--output=/shared/50%%j/mine/sft/logs/slurm.log" in options


def test_without_requeue_neither_slurm_nor_the_script_puts_it_back() -> None:
    options, arguments = _split(_submit(slurm={"requeue": False}))
    assert "--no-requeue" in options
    assert arguments[2] == "0"


@pytest.mark.parametrize("name", ["a\n#SBATCH --nodes=99", "a b", "-x", "..", "a;id", "$(id)"])
def test_a_name_that_could_be_more_than_a_name_is_refused(name: str) -> None:
    settings = _launch()
    plan = replace(_plan("sft", settings), run=Path("/shared/runs") / name)
    with pytest.raises(ConfigError, match="cannot be the name of a job"):
        submission(plan, settings, environ={}, mark="m", folder=Path("/"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partition", "gpu\n--wrap=id"), ("partition", "-x"), ("account", "a b"), ("qos", "a;b"),
        ("constraint", "a b"), ("modules", ["cuda\nid"]), ("options", ["--wrap=id;x"]),
        ("options", ["id"]), ("python", "-c"), ("container", "--x"), ("container", "a\nb"),
        ("container_mounts", ["/a:/b\n"]), ("container_mounts", ["/a:/b,/c:/d"]),
    ],
)  # fmt: skip
def test_values_that_could_be_more_than_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Slurm.model_validate({field: value})


@pytest.mark.parametrize(
    "option",
    [
        "--export=NONE", "--output=/tmp/x", "--wrap=id", "--array=1-9", "--job-name=x",
        "--arr=1-9", "--no-req", "--out=/tmp/x",  # cut short, as sbatch takes them too
    ],
)  # fmt: skip
def test_an_option_that_would_break_the_job_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match="is set by zephyrctl itself"):
        _submit(slurm={"options": [option]})


def test_the_environment_holds_named_secrets_and_no_other_ones() -> None:
    environ = {
        "PATH": "/bin", "HOME": "/home/me", "SSH_AUTH_SOCK": "/s", "HF_HOME": "/cache",
        "HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "g", "DB_PASSWORD": "p",
        "ANTHROPIC_API_KEY": "k", "SLURM_CONF": "/etc/slurm.conf", "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "4", "CUDA_VISIBLE_DEVICES": "0", "RANK": "3",
        "ZEPHYRCTL_SFT__LEARNING_RATE": "1", "ZEPHYRCTL_OFFLINE": "1", "SBATCH_WAIT": "1",
        "SBATCH_ARRAY_INX": "0-1", "SBATCH_ACCOUNT": "lab",
    }  # fmt: skip
    settings = _launch()
    given = submission(
        _plan("sft", settings), settings, environ=environ, mark="m", folder=Path("/home/me")
    )
    assert set(given.env) == {
        "PATH", "HOME", "SSH_AUTH_SOCK", "HF_HOME", "HF_TOKEN", "SLURM_CONF", "ZEPHYRCTL_OFFLINE",
        "PYTHONSAFEPATH", "SBATCH_ACCOUNT",
    }  # fmt: skip
    assert given.left_behind == (
        "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "GITHUB_TOKEN",
    )  # fmt: skip
    assert not set(given.argv) & {"t", "s", "g", "p", "k"}


def test_a_stage_without_gpus_is_planned_on_a_node_without_them() -> None:
    settings = _launch()
    node = Host(gpus=[], cores=4)
    run = Run(Path("/shared/runs/mine"))
    assert plan_launch(run, "data", settings, host=node).devices == "cpu"
    assert plan_launch(run, "eval", settings, host=node, alone=True).devices == "cpu"
    with pytest.raises(EnvironmentProblem, match="asks for 8 GPUs"):
        plan_launch(run, "eval", settings, host=node)
