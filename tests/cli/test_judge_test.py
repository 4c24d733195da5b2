"""`eval agreement` and `eval judge-test` as a user types them."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Cli


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
