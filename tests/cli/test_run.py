"""The commands run, sft, dpo and runs, as a user types them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli
from tests.runs.conftest import finish_stage, make_run

from zephyrctl.runs.atomic import append_jsonl, write_json
from zephyrctl.runs.store import Run, lock


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """`runs` of the folder in which `cli` works."""
    return tmp_path / "work" / "runs"


def _json(text: str) -> Any:
    assert text.count("\n") == 1
    return json.loads(text)


def test_a_dry_run_says_why_and_writes_nothing(cli: Cli, runs: Path) -> None:
    outcome = cli("run", "--recipe", "tiny", "--dry-run")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "data   run    first run",
        "sft    run    first run",
        "dpo    run    first run",
        "eval   run    first run",
    ]
    assert not runs.exists()


def test_a_dry_run_is_one_json_object(cli: Cli) -> None:
    outcome = cli(
        "run", "--recipe", "tiny", "--from", "sft", "--until", "dpo", "--dry-run", "--json"
    )
    assert _json(outcome.out) == {
        "run": "tiny",
        "root": "runs/tiny",
        "steps": [
            {"stage": stage, "action": "run", "reason": "first run"} for stage in ("sft", "dpo")
        ],
    }


@pytest.mark.parametrize(
    ("strategy", "code", "message", "hint"),
    [
        ("zero3", 3, "zero3 needs", "launch.strategy=fsdp2"),
        ("single", 2, "launch.cpu_processes asks for 2", "launch.strategy=auto"),
    ],
)
def test_a_strategy_that_cannot_be_had_stops_a_run_before_its_first_stage(
    cli: Cli, runs: Path, strategy: str, code: int, message: str, hint: str
) -> None:
    launch = ("--set", "launch.cpu_processes=2", "--set", f"launch.strategy={strategy}")
    outcome = cli("run", "--recipe", "tiny", *launch, "--json")
    error = _json(outcome.out)["error"]
    assert outcome.code == code
    assert message in error["message"]
    assert hint in error["hint"]
    assert not (runs / "tiny" / "data").exists()


def test_judged_questions_that_cannot_be_had_stop_a_run_before_its_first_stage(
    cli: Cli, runs: Path
) -> None:
    outcome = cli(
        "run", "--recipe", "tiny", "--set", "eval.benchmarks=[mt-bench]",
        "--set", "eval.judge.spec=local:tiny",
    )  # fmt: skip
    assert outcome.code == 5
    assert "zephyrctl eval fetch mt-bench --from ./eval-files" in outcome.err
    assert not runs.exists()


def test_the_launch_is_printed_and_nothing_is_written(cli: Cli, runs: Path) -> None:
    outcome = cli(
        "sft", "--recipe", "tiny", "--gpus", "none", "--set", "launch.cpu_processes=2",
        "--print-launch",
    )  # fmt: skip
    assert outcome.code == 0
    data, sft = outcome.out.splitlines()
    assert "-m zephyrctl.worker --run" in data
    assert "-m torch.distributed.run" in sft
    assert "--nproc-per-node 2" in sft
    assert sft.endswith("--stage sft")
    assert not runs.exists()


def test_the_launch_is_one_json_object(cli: Cli) -> None:
    outcome = cli("dpo", "--recipe", "tiny", "--gpus", "none", "--print-launch", "--json")
    launch = _json(outcome.out)["launch"]
    assert [plan["stage"] for plan in launch] == ["data", "dpo"]
    assert launch[1]["processes"] == 1
    assert launch[1]["devices"] == "cpu"
    assert launch[1]["argv"][0] == sys.executable


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["run"], 2, "no configuration"),
        (["run", "--recipe", "tinny"], 2, "did you mean"),
        (["run", "--recipe", "tiny", "--from", "eval", "--until", "sft"], 2, "comes after"),
        (["run", "--recipe", "tiny", "--until", "sfft"], 2, "sfft"),
        (["run", "--recipe", "tiny", "--gpus", "two"], 2, "--gpus takes"),
        (["run", "--recipe", "tiny", "--gpus", "7"], 3, "asks for GPU 7"),
        (["dpo", "--recipe", "tiny"], 2, "sft model of run 'tiny' is not there"),
        (["sft", "--recipe", "tiny", "--micro-batch-size", "many"], 2, "micro_batch_size"),
        (["sft", "--recipe", "tiny", "--learning-rate", "-1"], 2, "learning_rate"),
        (["run", "--recipe", "tiny", "--set", "name=../x"], 2, "name"),
        (["runs", "show", "@last"], 2, "no run yet"),
        (["runs", "show", "nothing"], 2, "no run 'nothing'"),
        (["runs", "path", "runs/x/../.."], 2, "'..' inside"),
        (["runs", "watch", "@dpo"], 2, "no run with a finished dpo"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_nothing_is_written(
    cli: Cli, runs: Path, args: list[str], code: int, message: str
) -> None:
    outcome = cli(*args, *(["--print-launch"] if "7" in args else []))
    assert outcome.code == code
    assert message in outcome.err
    assert outcome.err.count("error[") == 1
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert not runs.exists()


def test_an_empty_folder_has_an_empty_list(cli: Cli) -> None:
    plain, as_json = cli("runs", "list"), cli("runs", "list", "--json")
    assert (plain.code, plain.out) == (0, "")
    assert _json(as_json.out) == {"output_root": "runs", "runs": []}


def test_runs_are_listed_and_shown(cli: Cli, runs: Path) -> None:
    run = make_run(runs, "mine")
    finish_stage(run, "sft")
    assert "sft finished" in cli("runs", "list").out
    shown = cli("runs", "show", "@last", "--json")
    assert list(_json(shown.out)) == ["run", "stages", "scores", "comparisons"]
    assert "sft   finished" in cli("runs", "show", "mine").out
    assert cli("runs", "path", "@sft").out == "runs/mine\n"


def test_samples_are_shown_as_data(cli: Cli, runs: Path) -> None:
    run = make_run(runs, "mine")
    append_jsonl(run.stage("sft").samples_path, {"step": 3, "reply": "[/INST] \x1b[31mred"})
    out = cli("runs", "show", "mine", "--samples").out
    assert "[/INST]" in out
    assert "\x1b" not in out


def test_a_run_in_use_is_not_removed(cli: Cli, runs: Path) -> None:
    run = make_run(runs, "mine")
    with lock(run, purpose="zephyrctl run"):
        outcome = cli("runs", "rm", "mine", "--yes")
    assert outcome.code == 2
    assert f"process {os.getpid()}" in outcome.err
    assert run.root.exists()


def test_a_run_is_removed_only_when_meant(cli: Cli, runs: Path, tmp_path: Path) -> None:
    run = make_run(runs, "mine")
    assert cli("runs", "rm", "mine").code == 2
    assert run.root.exists()
    assert cli("runs", "rm", str(tmp_path), "--yes").code == 2
    removed = cli("runs", "rm", "mine", "--yes", "--json")
    assert _json(removed.out) == {"removed": ["runs/mine"]}
    assert not run.root.exists()


def test_two_runs_are_compared(cli: Cli, runs: Path) -> None:
    for name, rate in (("a", 1e-5), ("b", 2e-5)):
        run = make_run(runs, name)
        values = json.loads(run.config_path.read_text())
        values["sft"]["learning_rate"] = rate
        write_json(run.config_path, values)
        finish_stage(run, "sft")
    compared = _json(cli("runs", "compare", "a", "b", "--json").out)
    assert compared["settings"] == [{"key": "sft.learning_rate", "a": 1e-05, "b": 2e-05}]
    assert "sft.learning_rate" in cli("runs", "compare", "a", "b").out


def test_logs_are_printed_by_rank(cli: Cli, runs: Path) -> None:
    run = make_run(runs, "mine")
    finish_stage(run, "sft")
    run.stage("sft").logs.mkdir()
    for rank in (0, 1):
        (run.stage("sft").logs / f"rank{rank}.log").write_text(f"first\nrank {rank} \x1b[2J\n")
    assert cli("runs", "logs", "mine", "--rank", "1").out == "first\nrank 1 \n"
    assert cli("runs", "logs", "mine", "--rank", "1", "-n", "1").out == "rank 1 \n"
    assert cli("runs", "logs", "mine").out.startswith("==> rank0.log <==\n")
    assert cli("runs", "logs", "mine", "--rank", "5").code == 2


def test_a_finished_run_is_watched_to_its_end(cli: Cli, runs: Path) -> None:
    run = make_run(runs, "mine")
    finish_stage(run, "sft")
    run.stage("sft").reporter().metrics(step=1, total=1, values={"loss": 0.5})
    outcome = cli("runs", "watch", "mine", "--progress", "json")
    assert outcome.code == 0
    records = [json.loads(line) for line in outcome.out.splitlines()]
    assert [r["values"] for r in records if r["kind"] == "metrics"] == [{"loss": 0.5}]


@pytest.mark.e2e
def test_a_second_run_skips_what_is_done_and_says_why_it_redoes_it(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"Name the number {n}."},
                      {"role": "assistant", "content": f"It is {n}."}]}
        for n in range(30)
    ]  # fmt: skip
    for row in rows:
        append_jsonl(tmp_path / "rows.jsonl", row)
        pair = {
            "prompt": row["messages"][0]["content"],
            "chosen": "Yes, gladly.",
            "rejected": "No.",
        }
        append_jsonl(tmp_path / "pairs.jsonl", pair)
    config = tmp_path / "zephyr.yaml"
    config.write_text(
        f"name: small\nmodel: {{base: {tiny_base}}}\nsft: {{max_length: 64}}\ndata:\n"
        "  sft: {train: [{path: ./rows.jsonl}], test_size: 0.2}\n"
        "  dpo: {train: [{path: ./pairs.jsonl}], test_size: 0.2}\n"
    )

    cache = str(tmp_path / "cache")
    env = {**os.environ, "ZEPHYRCTL_CACHE": cache, "ZEPHYRCTL_OFFLINE": "1"}

    def run(*args: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "zephyrctl", "run", "--until", "data", "--json", *args],
            cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False, env=env,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return _json(done.stdout)

    first = run()
    assert first["steps"] == [{"stage": "data", "action": "run", "reason": "first run"}]
    assert first["stages"]["data"]["state"] == "finished"
    made = Run(tmp_path / "runs" / "small").stage("data").read_manifest()
    again = run()
    assert again["steps"][0]["action"] == "skip"
    assert Run(tmp_path / "runs" / "small").stage("data").read_manifest() == made
    redone = run("--set", "seed=7")
    assert redone["steps"][0] == {"stage": "data", "action": "run", "reason": "seed 42 → 7"}


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_dry_run_refuses_an_allowed_field_that_no_stage_has(cli, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)

    outcome = cli(
        "sft", "--recipe", "tiny", "--dry-run", "--allow-change", "sft.learnig_rate", *words
    )

    assert outcome.code == 2
    assert "did you mean 'sft.learning_rate'?" in outcome.out + outcome.err
