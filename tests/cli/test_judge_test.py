"""`eval agreement` and `eval judge-test` as a user types them."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.evaluation.voted import write_voted
from tests.fakes import FakeEndpoint


def votes(path: Path, winners: list[str], *, judge: str) -> Path:
    rows = [
        {"question_id": 81 + place, "turn": 1, "model_a": "x", "model_b": "y", "judge": judge,
         "winner": winner}
        for place, winner in enumerate(winners)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    human = votes(tmp_path / "human.jsonl", ["model_a", "tie", "model_b"], judge="expert_1")
    judge = votes(tmp_path / "judge.jsonl", ["model_a", "model_a", "model_a"], judge="gpt")
    return ["--human", str(human), "--judge", str(judge)]


def test_agreement_prints_exactly_the_documented_object(cli: Cli, files: list[str]):
    done = cli("eval", "agreement", *files, "--turn", "1", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    counts = {
        "with_ties": {"agree": 1, "total": 3},
        "without_ties": {"agree": 1, "total": 2},
        "human_human_with_ties": {"agree": 0, "total": 0},
        "human_human_without_ties": {"agree": 0, "total": 0},
    }
    assert found == {**counts, "by_category": {"writing": counts}}


def test_agreement_is_shown_within_eighty_columns(cli: Cli, files: list[str]):
    done = cli("eval", "agreement", *files)
    assert done.code == 0
    assert "1/3  33 %" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_file_of_something_else_is_named(cli: Cli, files: list[str], tmp_path: Path):
    other = tmp_path / "questions.jsonl"
    other.write_text('{"question_id": 1, "turns": ["Hi."]}\n')
    done = cli("eval", "agreement", "--human", str(other), *files[2:], "--json")
    error = json.loads(done.out)["error"]
    assert (done.code, error["where"]) == (2, str(other))
    assert "no vote of a person" in error["message"]


def test_files_without_a_common_pair_are_refused(cli: Cli, files: list[str]):
    done = cli("eval", "agreement", *files, "--turn", "2", "--json")
    assert done.code == 2
    assert "turn 2 in common" in json.loads(done.out)["error"]["message"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "needs a judge"),
        (["--judge", "gpt-4o"], 2, "--judge openai:gpt-4o"),
        (["--judge", "lokal:tiny"], 2, "did you mean 'local'"),
        (["--judge", "replay:nowhere.jsonl"], 2, "cannot read nowhere.jsonl"),
    ],
)
def test_a_wrong_judge_is_said_before_anything_is_asked(cli: Cli, words, code, said):
    done = cli("eval", "judge-test", *words, "--data-dir", ".")
    assert done.code == code
    assert said in done.err


def test_a_judge_that_costs_money_is_asked_only_where_somebody_agreed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
    with FakeEndpoint(answer=lambda messages: "[[A]]") as server:
        words = ["eval", "judge-test", "--judge", f"openai+{server.url}:judge-1", "-n", "3"]
        words += [
            "--data-dir",
            str(write_voted(tmp_path / "mt_bench")),
            "--set",
            "eval.judge.prompt_price=30",
        ]
        words += ["--set", "eval.judge.completion_price=60"]
        refused = cli(*words)
        assert (refused.code, server.requests) == (2, [])
        assert "nobody agreed to it" in refused.err
        bill = json.loads(cli(*words, "--dry-run", "--json").out)["bills"][0]
        assert (bill["pairs"], bill["missing"]) == (3, 6)
        assert server.requests == []
        done = cli(*words, "--yes", "--json")
        assert done.code == 0
        card = json.loads(done.out)
        assert len(server.requests) == 6
    assert card["judge"] == "judge-1"
    assert card["order"]["first_shown_wins"]["value"] == 1.0


def test_a_judge_without_verdicts_ends_with_its_card_and_exit_7(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
    with FakeEndpoint(answer=lambda messages: "I cannot say.") as server:
        words = ["eval", "judge-test", "--judge", f"openai+{server.url}:mute", "-n", "2", "--yes"]
        words += ["--data-dir", str(write_voted(tmp_path / "mt_bench"))]
        as_json, as_text = cli(*words, "--json"), cli(*words)
    assert (as_json.code, as_text.code) == (7, 7)
    assert json.loads(as_json.out)["agreement"]["judge"] is None
    assert "under 80 %" in as_text.err
    assert "2 of 2 pairs without a verdict" in as_text.out
