"""What would be started is shown for every backend, as it would be consumed."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli, Outcome

from zephyrctl.cli.launching import parse_gpus
from zephyrctl.config.layers import load
from zephyrctl.errors import UsageError
from zephyrctl.runs.store import open_run, write_config


def _show(cli: Cli, *words: str, **settings: str) -> Outcome:
    sets = [word for key, value in settings.items() for word in ("--set", f"launch.{key}={value}")]
    return cli("sft", "--recipe", "tiny", "--print-launch", *sets, *words)


def _plan(cli: Cli, **settings: str) -> dict[str, Any]:
    return json.loads(_show(cli, "--json", **settings).out)["launch"][-1]


def test_one_machine_of_several_shows_its_own_command(cli: Cli) -> None:
    plan = _plan(cli, gpus="none", nodes="2", rendezvous="10.0.0.1:29400")
    assert plan["nodes"] == 2
    assert plan["argv"][plan["argv"].index("--rdzv-endpoint") + 1] == "10.0.0.1:29400"


def test_a_slurm_job_shows_its_submission(cli: Cli) -> None:
    slurm = {"backend": "slurm", "nodes": "2", "gpus_per_node": "8"}
    line = shlex.split(_show(cli, **slurm).out.splitlines()[-1])
    plan = _plan(cli, **slurm)
    assert line[0] == "sbatch"
    assert line == plan["submission"]
    assert {"--nodes=2", "--gpus-per-node=8"} <= set(line)
    entry = plan["node_argv"][1:]
    assert line[-len(entry) :] == entry


def test_a_job_in_a_cloud_shows_its_task(cli: Cli) -> None:
    cloud = {"backend": "skypilot", "skypilot.bucket": "s3://runs"}
    plan = _plan(cli, **cloud)
    assert (plan["processes"], plan["task"]["num_nodes"]) == (8, 1)
    shown = _show(cli, **cloud)
    assert "num_nodes: 1" in shown.out
    assert "STAGE.config.json, which printing does" in shown.err


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"nodes": "2"}, "launch.rendezvous"),
        ({"backend": "slurm"}, "launch.gpus_per_node"),
        ({"nodes": "2", "strategy": "single"}, "launch.nodes"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_a_hint(
    cli: Cli, settings: dict[str, str], place: str
) -> None:
    done = _show(cli, **settings)
    assert (done.code, done.out) == (2, "")
    assert f"--> {place}" in done.err
    assert "hint: --set launch." in done.err


@pytest.mark.parametrize("text", ["", "0,", "one", "-1", "²"])
def test_gpus_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="numbers such as 0,1"):
        parse_gpus(text)
    assert parse_gpus("0, 2") == [0, 2]
    assert (parse_gpus("none"), parse_gpus(None)) == ("none", None)


def test_a_printed_launch_says_that_its_configuration_is_missing_or_another(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("sft", "--recipe", "tiny", "--print-launch")

    assert "runs/tiny/config.json, which is not there yet" in cli(*words).err

    write_config(open_run(load(recipe="tiny").recipe), load(recipe="tiny"))

    assert "# reads" not in cli(*words).err
    assert "config.json, which holds other settings" in cli(*words, "--set", "seed=3").err
