"""Which questions `zephyrctl eval mt-bench` asks, and what it refuses before anything is asked."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

from zephyrctl.cli.question_options import Asked
from zephyrctl.errors import UsageError

MODEL = "openai+http://127.0.0.1:9/v1:m"
JUDGE = ["--judge", "openai+http://127.0.0.1:9/v1:j"]


@pytest.fixture
def quiz(tmp_path: Path) -> str:
    path = tmp_path / "quiz.jsonl"
    path.write_text(json.dumps({"question_id": 1, "turns": ["One?", "Two?", "Three?"]}) + "\n")
    return str(path)


def test_options_name_the_settings_of_the_benchmark_they_ask_for() -> None:
    asked = Asked(None, None, "pair", "original", 3)
    assert asked.benchmark == "mt-bench"
    assert asked.flags() == {
        "eval.mt_bench.mode": "pair",
        "eval.mt_bench.references": "original",
        "eval.mt_bench.limit": 3,
    }
    own = Asked(Path("q.jsonl"), Path("r.jinja"), None, None, 3)
    assert own.benchmark == "own"
    assert own.flags() == {
        "eval.own.questions": "q.jsonl",
        "eval.own.rubric": "r.jinja",
        "eval.own.limit": 3,
    }
    with pytest.raises(UsageError, match="--mode"):
        Asked(Path("q.jsonl"), None, "pair", None, None).flags()
    with pytest.raises(UsageError, match="--references"):
        Asked(Path("q.jsonl"), None, None, "original", None).flags()


def test_a_rubric_is_refused_by_file_and_line(cli: Cli, quiz: str, tmp_path: Path) -> None:
    rubric = tmp_path / "strict.jinja"
    rubric.write_text("Judge.\n{{ anser }} [[1]]\n")
    words = ["eval", "mt-bench", MODEL, *JUDGE, "--questions", quiz, "--rubric", str(rubric)]
    done = cli(*words, "--json")
    error = json.loads(done.out)["error"]
    assert done.code == 2
    assert error["where"] == f"{rubric}:2"
    assert "conversation" in error["hint"]


def test_a_question_is_refused_by_file_and_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    path.write_text('{"question_id": 1, "turns": ["a"]}\n{"question_id": 2}\n')
    done = cli("eval", "mt-bench", MODEL, *JUDGE, "--questions", str(path))
    assert done.code == 2
    assert f"{path}:2" in done.err


def test_without_a_judge_the_hint_is_the_option_that_names_one(cli: Cli, quiz: str) -> None:
    done = cli("eval", "mt-bench", MODEL, "--questions", quiz)
    assert done.code == 2
    assert "hint: --judge openai:MODEL" in done.err


def test_the_bill_counts_every_turn(cli: Cli, quiz: str) -> None:
    done = cli("eval", "mt-bench", MODEL, *JUDGE, "--questions", quiz, "--dry-run")
    assert done.code == 0
    assert "3 judgments wanted" in done.err + done.out


def test_a_model_of_no_run_is_named_before_the_questions(cli: Cli) -> None:
    done = cli("eval", "rules", "dpo")
    assert done.code == 2
    assert "'dpo' of which run?" in done.err


def test_a_judge_that_is_none_is_said_before_anything_is_fetched_for_it(cli: Cli) -> None:
    outcome = cli("eval", "mt-bench", "tiny", "--judge", "opnai:gpt-4")
    assert outcome.code == 2
    assert "opnai" in outcome.err
