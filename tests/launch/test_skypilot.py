"""A stage becomes a managed job of SkyPilot, which its own schema accepts."""

import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import ConfigError, StoppedEarly
from zephyrctl.launch import skypilot
from zephyrctl.launch.plan import Host, LaunchPlan, plan_launch
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.store import open_run

SECRET = "canary-5f1c"


def _plan(folder: Path, *, env: tuple[str, ...] = ("HF_TOKEN",), **launch: Any) -> LaunchPlan:
    sky = {"bucket": "s3://my-runs", **launch.pop("skypilot", {})}
    settings = {"backend": "skypilot", "skypilot": sky, **launch}
    recipe = Recipe.model_validate(
        {"name": "mine.1", "output_root": str(folder), "launch": settings}
    )
    run = open_run(recipe)
    write_json(run.config_path, recipe.model_dump(mode="json"))
    host = Host(gpus=None, cores=4, env_names=env)
    return plan_launch(run, "sft", recipe.launch, host=host)


def _settings(plan: LaunchPlan) -> Any:
    from zephyrctl.runs.store import Run

    return Run(plan.run).recipe().launch


def _task(plan: LaunchPlan) -> dict[str, Any]:
    return yaml.safe_load(skypilot.task_yaml(plan, _settings(plan)))


def test_the_job_starts_one_machines_part_and_keeps_the_run_in_the_bucket(tmp_path: Path) -> None:
    task = _task(_plan(tmp_path, skypilot={"infra": "aws/us-east-1", "accelerators": "A100:4"}))
    assert task["name"] == "zephyrctl-mine.1-sft"
    assert task["num_nodes"] == 1
    assert task["resources"] == {
        "infra": "aws/us-east-1",
        "accelerators": "A100:4",
        "use_spot": True,
        "disk_size": 512,
        "job_recovery": {"max_restarts_on_errors": 0, "recover_on_exit_codes": [75]},
    }
    assert task["file_mounts"]["/zephyrctl/runs"]["source"] == "s3://my-runs"
    assert task["file_mounts"]["/zephyrctl/runs"]["mode"] == "MOUNT_CACHED"
    assert shlex.split(task["run"]) == [
        "python3", "-u", "-m", "zephyrctl.launch.node", "--run", "/zephyrctl/runs/mine.1",
        "--stage", "sft", "--config", "/zephyrctl/given/config.json",
        "--given", "/zephyrctl/given", "--keep-going",
    ]  # fmt: skip
    assert (Path(task["workdir"]) / "pyproject.toml").is_file()


def test_secrets_are_named_and_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    plan = _plan(tmp_path)
    assert _task(plan)["secrets"] == {"HF_TOKEN": None}
    assert "secrets" not in _task(_plan(tmp_path, env=()))
    with pytest.raises(StoppedEarly) as caught:
        _start(plan)
    for path in plan.run.rglob("*"):
        assert not path.is_file() or SECRET not in path.read_text()
    assert "--secret HF_TOKEN" in str(caught.value.hint)


def test_several_machines_need_a_disk_that_they_share(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a bucket is no disk that they share") as caught:
        _task(_plan(tmp_path, nodes=2))
    assert caught.value.exit_code == 2
    task = _task(_plan(tmp_path, nodes=2, skypilot={"bucket": "volume://shared"}))
    assert task["volumes"] == {"/zephyrctl/runs": "shared"}
    assert task["num_nodes"] == 2
    assert task["resources"]["job_recovery"]["max_restarts_on_errors"] == 5
    assert "--keep-going" not in task["run"]


def test_a_missing_bucket_is_refused_with_the_way_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _task(_plan(tmp_path, skypilot={"bucket": None}))
    assert caught.value.where == "launch.skypilot.bucket"
    assert "s3://NAME" in str(caught.value.hint)


def test_an_image_brings_the_program_and_the_cpu_no_gpu(tmp_path: Path) -> None:
    task = _task(_plan(tmp_path, gpus="none", skypilot={"image": "docker:mine:1"}))
    assert task["resources"]["image_id"] == "docker:mine:1"
    assert "accelerators" not in task["resources"]
    assert "workdir" not in task


def test_a_stage_is_handed_over_and_not_taken_for_done(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    with pytest.raises(StoppedEarly) as caught:
        _start(plan)
    assert caught.value.exit_code == 75
    path = plan.run / "launch" / "sft.sky.yaml"
    assert caught.value.where == str(path)
    hint = shlex.split(str(caught.value.hint))
    assert hint[:3] == ["sky", "jobs", "launch"]
    assert hint[-1] == str(path)
    there = Recipe.model_validate_json((plan.run / "launch" / "sft.config.json").read_text())
    assert there.output_root == "/zephyrctl/runs"


def test_sky_is_asked_only_where_somebody_can_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "sky"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    plan = _plan(tmp_path / "runs")
    with pytest.raises(StoppedEarly, match="not submitted"):
        _start(plan)
    assert not (tmp_path / "asked").exists()
    monkeypatch.setattr("zephyrctl.terminal.is_tty", lambda stream: True)
    with pytest.raises(StoppedEarly, match="was submitted"):
        _start(plan)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [*skypilot.submit_argv(plan, plan.run / "launch" / "sft.sky.yaml")[1:]]


def test_skypilots_own_schema_accepts_the_job(tmp_path: Path) -> None:
    """With SkyPilot in another environment: ZEPHYRCTL_TEST_SKYPILOT_PYTHON names its Python."""
    python = os.environ.get("ZEPHYRCTL_TEST_SKYPILOT_PYTHON") or sys.executable
    probe = [python, "-c", "import sky.utils.schemas, jsonschema"]
    if shutil.which(python) is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("skypilot is not installed; ZEPHYRCTL_TEST_SKYPILOT_PYTHON names a Python's")
    check = (
        "import sys, yaml, jsonschema, sky\n"
        "from sky.utils import schemas\n"
        "task = yaml.safe_load(open(sys.argv[1]))\n"
        "of = jsonschema.Draft202012Validator\n"
        "of(schemas.get_task_schema()).validate(task)\n"
        "of(schemas.get_resources_schema()).validate(task['resources'])\n"
        "for mount in task['file_mounts'].values():\n"
        "    if isinstance(mount, dict):\n"
        "        of(schemas.get_storage_schema()).validate(mount)\n"
        "sky.Task.from_yaml_config(task, secrets_overrides=[('HF_TOKEN', 'x')])\n"
    )
    for number, sky in enumerate(
        ({"infra": "aws/us-east-1"}, {"image": "docker:mine:1"}, {"bucket": "volume://shared"})
    ):
        nodes = 2 if "bucket" in sky else 1
        plan = _plan(tmp_path / str(number), nodes=nodes, skypilot=sky)
        with pytest.raises(StoppedEarly):
            _start(plan)
        ended = subprocess.run(
            [python, "-c", check, str(plan.run / "launch" / "sft.sky.yaml")],
            env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr


def _start(plan: LaunchPlan) -> None:
    skypilot.start(plan, _settings(plan), on_poll=lambda: None, on_stop=lambda text: None)
