"""MT-Bench on a finished run, judged by a server that speaks the real protocol."""

import json
import shutil
from pathlib import Path

import pytest
from tests.e2e.conftest import CANARY, Shell
from tests.e2e.questions import write_questions
from tests.e2e.test_canary import files_with
from tests.fakes import FakeEndpoint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def judged(straight: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, for what is asked beyond its recipe."""
    return shutil.copytree(straight, tmp_path / "runs" / "judged")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Four two-turn questions in MT-Bench's format."""
    return write_questions(tmp_path, count=4)


def test_a_judged_score_stands_with_the_judges_name(shell: Shell, judged: Path, questions: Path):
    faults = ["429", "500", "bad_json"]
    key = f"sk-file-{CANARY}"
    (questions.parent / "key").write_text(key)
    answer = {"answer": lambda messages: "Rating: [[7]]", "faults": faults, "key": key}
    with FakeEndpoint(**answer) as server:
        words = ["eval", "mt-bench", str(judged / "sft"), str(judged / "dpo")]
        words += ["--judge", f"openai+{server.url}:judge-1", "--data-dir", str(questions)]
        words += ["--set", "eval.mt_bench.max_new_tokens=8"]
        words += ["--set", f"eval.judge.api_key_file={questions.parent / 'key'}"]
        shell(*words, "--progress", "none")
        asked = len(server.requests)
        shell(*words, "--progress", "none", "--set", "eval.bootstrap=300")
        assert len(server.requests) == asked  # every judgment stands already
    assert asked == 16 + len(faults)
    assert files_with(CANARY, judged, shell.folder) == []
    scores = [
        score
        for score in shell.json("runs", "show", str(judged))["scores"]
        if score["benchmark"] == "mt-bench" and score["metric"] == "average"
    ]
    assert [(s["model"], s["judge"], s["value"]) for s in scores] == [
        ("sft", "judge-1", 7.0),
        ("dpo", "judge-1", 7.0),
    ]


def test_a_refused_key_keeps_what_was_judged(shell: Shell, judged: Path, questions: Path):
    with FakeEndpoint(answer=lambda messages: "[[5]]", faults=["ok"] * 3 + ["401"] * 99) as server:
        words = ["eval", "mt-bench", str(judged / "dpo"), "--data-dir", str(questions)]
        words += ["--judge", f"openai+{server.url}:judge-2", "--set", "eval.judge.concurrency=1"]
        words += ["--set", "eval.mt_bench.max_new_tokens=8"]
        error = shell.json(*words, code=4)["error"]
    assert error["kind"] == "auth"
    kept = judged / "eval" / "mt-bench" / "dpo" / "judge-2" / "judgments.jsonl"
    assert len(kept.read_text().splitlines()) == 3


def test_a_local_judge_that_gives_no_rating_gives_no_score(
    shell: Shell, judged: Path, questions: Path
):
    words = ["eval", "mt-bench", str(judged / "dpo"), "--data-dir", str(questions)]
    words += ["--judge", "local:tiny", "--set", "eval.mt_bench.max_new_tokens=8"]
    words += ["--set", "eval.judge.max_tokens=8"]
    error = shell.json(*words, code=7)["error"]
    assert "too few verdicts on dpo" in error["message"]
    scores = judged / "eval" / "mt-bench" / "dpo" / "local-tiny" / "scores.json"
    found = json.loads(scores.read_text())
    assert found["scores"] == []
    assert found["unparsed"] == 8
