"""What a person and a script are told before a judge is paid."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

from zephyrctl.cli.spending import lines, spent_line
from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.bill import Bill
from zephyrctl.evaluation.prices import Price

JUDGE = "openai+http://127.0.0.1:9/v1:judge"
PRICES = ["--set", "eval.judge.prompt_price=2.5", "--set", "eval.judge.completion_price=10"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "mt_bench"
    (folder / "reference_answer").mkdir(parents=True)
    names = ["single-v1", "single-v1-multi-turn"]
    rows = {
        "question.jsonl": [{"question_id": 1, "category": "writing", "turns": ["Hi.", "Again."]}],
        "judge_prompts.jsonl": [
            {"name": name, "system_prompt": "Judge.", "prompt_template": template}
            for name, template in zip(names, ["{question} {answer}", "{answer_2}"], strict=True)
        ],
        "reference_answer/gpt-4-0125-preview.jsonl": [],
    }
    for name, content in rows.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    return folder


def words(files: Path, *more: str) -> list[str]:
    """`eval mt-bench` of an endpoint, judged by another."""
    return [
        "eval", "mt-bench", "openai+http://127.0.0.1:9/v1:student", "--recipe", "tiny",
        "--judge", JUDGE, "--data-dir", str(files), *more,
    ]  # fmt: skip


def test_a_run_is_asked_about_its_judge_before_it_trains(cli: Cli, files: Path):
    judged = [
        "run", "--recipe", "tiny", "--set", "eval.benchmarks=[rules, mt-bench]", *PRICES,
        "--set", f"eval.judge.spec={JUDGE}", "--set", f"eval.data_dir={files}",
    ]  # fmt: skip
    done = cli(*judged)
    assert done.code == 2
    assert "6 judgments wanted, 0 found from an earlier run" in done.err
    assert "nobody agreed to it" in done.err
    assert "answers of base, sft, dpo are still to be written" in done.err
    over = cli(*judged, "--max-cost", "0.001")
    assert over.code == 2
    assert "over --max-cost 0.001" in over.err
    assert not Path("runs").exists()
    shown = cli(*judged, "--dry-run")
    assert shown.code == 0
    assert "judge  judge · 1 question × 2 turns × 3 models · est. $" in shown.out
    until = cli(*judged, "--until", "dpo", "--dry-run")
    assert "judge" not in until.out  # nobody is judged


def test_without_a_price_a_limit_is_refused_and_tokens_are_shown(
    cli: Cli, files: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere = "openai+http://10.0.0.9:8000/v1:big"
    unlisted = words(files, "--judge", elsewhere)
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "0")
    shown = cli(*unlisted, "--dry-run")
    assert shown.code == 0
    assert "price unknown" in shown.out
    assert "prompt and 340 completion tokens" in shown.out
    refused = cli(*unlisted, "--max-cost", "3")
    assert refused.code == 2
    assert "--set eval.judge.prompt_price=2.5" in refused.err
    unagreed = cli(*unlisted, "--json")
    assert unagreed.code == 2
    error = json.loads(unagreed.out)["error"]
    assert (error["hint"], "unknown price" in error["message"]) == ("--yes", True)


def test_a_dry_run_as_data(cli: Cli, files: Path):
    done = cli(*words(files, *PRICES, "--dry-run", "--json", "--max-cost", "7"))
    assert done.code == 0
    judge = json.loads(done.out)["judge"]
    (bill,) = judge["bills"]
    assert (bill["wanted"], bill["missing"], judge["max_cost"]) == (2, 2, 7.0)
    assert bill["usd_low"] < bill["usd"] < bill["usd_most"] == judge["usd_most"]
    assert bill["price"]["origin"] == "as configured"


def test_what_costs_nothing_needs_no_agreement(cli: Cli, files: Path):
    shown = cli(*words(files, "--dry-run"))
    assert shown.code == 0
    assert "at no cost" in shown.out


@pytest.mark.e2e
def test_a_person_is_asked_and_may_say_no(files: Path, tmp_path: Path):
    leader, follower = pty.openpty()
    env = {**os.environ, "ZEPHYRCTL_CACHE": str(tmp_path / "cache"), "COLUMNS": "80"}
    child = subprocess.Popen(
        [sys.executable, "-m", "zephyrctl", *words(files, *PRICES)],
        cwd=tmp_path,
        env=env,
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(leader, 4096)
    os.write(leader, b"n\n")
    assert child.wait(timeout=60) == 130
    os.close(leader)
    assert b"Ask the judge for about $" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("limit", [None, 30.0])
@pytest.mark.parametrize("stand_ins", [(), ("base", "zephyr-7b-mine-sft", "zephyr-7b-mine-dpo")])
def test_a_bill_fits_on_eighty_columns(limit: float | None, stand_ins: tuple[str, ...]):
    bill = Bill(
        benchmark="alpaca-eval",
        judge="gpt-4-1106-preview",
        questions=805,
        turns=1,
        matches=("dpo", "dpo against sft"),
        repeats=3,
        wanted=4830,
        found=37,
        prompt_tokens=4_251_000,
        prompt_tokens_most=99_999_999,
        completion_tokens=814_810,
        completion_tokens_most=9_816_064,
        seconds=5120.0,
        price=Price(10.0, 30.0, "checked 2026-11-23"),
        stand_ins=stand_ins,
        stand_in_characters=1400,
    )
    recipe = Recipe.model_validate({"eval": {"max_cost": limit}})
    shown = lines([bill, bill], recipe)
    assert all(len(line) <= 80 for line in shown), shown
    assert "       alpaca-eval: 4,830 judgments wanted, 37 found from an earlier run" in shown
    assert shown[-1].startswith("       in all est. $133.91, at most $2,588.96")


def test_the_line_of_what_was_spent():
    metrics = {
        "judge.calls": 320,
        "judge.usd": 3.871,
        "judge.prompt_tokens": 290112,
        "judge.completion_tokens": 54200,
    }
    assert spent_line(metrics) == (
        "judge  answered 320 requests for $3.87: 290,112 prompt and 54,200 completion tokens"
    )


def test_a_key_is_wanted_by_a_start_and_not_by_a_bill(
    cli: Cli, files: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "0")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    of_openai = words(files, "--judge", "openai:gpt-4o")
    assert cli(*of_openai, "--dry-run").code == 0
    refused = cli(*of_openai, "--yes")
    assert refused.code == 4
    assert "export OPENAI_API_KEY" in refused.err
    assert not Path("runs").exists()


def test_a_forbidden_network_is_named_before_the_first_stage(
    cli: Cli, files: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    of_openai = words(files, "--judge", "openai:gpt-4o")
    assert cli(*of_openai, "--dry-run").code == 0
    refused = cli(*of_openai, "--yes")
    assert (refused.code, "ZEPHYRCTL_OFFLINE" in refused.err) == (5, True)
    assert not Path("runs").exists()
