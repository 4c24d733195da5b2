"""A paid judge at the real command: what is agreed to, what a stop costs, and what is asked twice.

One server is both the model and the judge, so that nothing has to be trained.
"""

import hashlib
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Shell, wait_for
from tests.e2e.questions import write_questions
from tests.fakes import FakeEndpoint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

AT_ONCE = 4
QUESTIONS = 12
"""With two turns: 24 judgments."""
LENGTH = 300
"""Tokens of a judgment; 170 are expected of a judge that nobody knows yet."""


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Two-turn questions in MT-Bench's format."""
    return write_questions(tmp_path, count=QUESTIONS)


def reply(messages: list[dict[str, str]]) -> str:
    """The model says the question back; the judge rates by the text, in `LENGTH` words."""
    text = messages[-1]["content"]
    if messages[0]["content"] != "Judge.":
        return f"My answer to {text}"
    return f"[[{rating(text)}]] " + " ".join(["word"] * (LENGTH - 1))


def rating(prompt: str) -> int:
    """From 1 to 10, by the text of the judge's prompt."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 10 + 1


@pytest.fixture
def server() -> Iterator[FakeEndpoint]:
    with FakeEndpoint(answer=reply) as fake:
        yield fake


def words(server: FakeEndpoint, questions: Path, name: str, *more: str) -> list[str]:
    """The command; a judgment costs a tenth of a cent for each of its words."""
    sets = {
        "name": name,
        "eval.judge.concurrency": AT_ONCE,
        "eval.judge.max_tokens": 1000,
        "eval.judge.prompt_price": 0,
        "eval.judge.completion_price": 1000,
        "eval.mt_bench.max_new_tokens": 40,
        "eval.bootstrap": 100,
    }
    changes = [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]
    return [
        "eval", "mt-bench", f"openai+{server.url}:student", "--recipe", "tiny",
        "--data-dir", str(questions),
        "--judge", f"openai+{server.url}:judge", "--progress", "none", *changes, *more,
    ]  # fmt: skip


def asked(server: FakeEndpoint) -> Counter[str]:
    """How often each judgment was asked for."""
    return Counter(
        body["messages"][-1]["content"] for _, body in server.requests if body["model"] == "judge"
    )


def judgments(shell: Shell, name: str) -> list[dict[str, Any]]:
    path = shell.folder / "runs" / name / "eval" / "mt-bench" / "student" / "judge"
    lines = (path / "judgments.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def scores(shell: Shell, name: str) -> list[dict[str, Any]]:
    path = shell.folder / "runs" / name / "eval" / "mt-bench" / "student" / "judge"
    return json.loads((path / "scores.json").read_text())["scores"]


def stop(shell: Shell, server: FakeEndpoint, command: list[str], number: int) -> int:
    """Send a signal in the middle of judging: to the command alone, or `kill -9` to its group."""
    child = subprocess.Popen(
        shell.argv(*command),
        cwd=shell.folder,
        env=shell.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: asked(server).total() >= 9, alive=lambda: child.poll() is None)
    if number == signal.SIGKILL:
        os.killpg(child.pid, number)
    else:
        child.send_signal(number)
    code = child.wait()
    wait_for(lambda: server.connections == 0)  # what was on its way counts as asked
    return code


def test_a_kill_and_an_interrupt_cost_the_requests_under_way_and_nothing_else(
    shell: Shell, server: FakeEndpoint, questions: Path
):
    server.delay_s = 0.05
    command = words(server, questions, "killed", "--yes")
    assert stop(shell, server, command, signal.SIGKILL) == -signal.SIGKILL
    before = asked(server)
    assert before.total() < 2 * QUESTIONS
    stood = len(judgments(shell, "killed"))
    assert before.total() - AT_ONCE <= stood <= before.total()
    server.delay_s = 0.0
    server.requests.clear()
    done = shell(*command)
    twice = [text for text, count in (before + asked(server)).items() if count > 1]
    assert len(twice) == before.total() - stood <= AT_ONCE
    assert asked(server).total() == 2 * QUESTIONS - stood
    assert f"{2 * QUESTIONS} judgments wanted, {stood} found from an earlier run" in done.stderr
    keys = [row["key"] for row in judgments(shell, "killed")]
    assert len(keys) == len(set(keys)) == 2 * QUESTIONS
    average = sum(rating(text) for text in before | asked(server)) / (2 * QUESTIONS)
    assert scores(shell, "killed")[0]["value"] == pytest.approx(average)
    # Stopped by Ctrl-C in another place, it comes to the very same scores and intervals.
    server.delay_s = 0.05
    server.requests.clear()
    command = words(server, questions, "interrupted", "--yes")
    assert stop(shell, server, command, signal.SIGINT) == 130
    stood = len(judgments(shell, "interrupted"))
    assert stood > 0
    server.delay_s = 0.0
    server.requests.clear()
    shell(*command)
    assert asked(server).total() == 2 * QUESTIONS - stood
    assert scores(shell, "interrupted") == scores(shell, "killed")


def test_a_limit_stops_with_75_and_a_higher_one_finishes(
    shell: Shell, server: FakeEndpoint, questions: Path
):
    """24 judgments are expected to cost 4.08, cost 7.20, and could cost 24."""
    over = shell.json(*words(server, questions, "cut", "--max-cost", "4"), code=2)["error"]
    assert "about $4.08, over --max-cost 4" in over["message"]
    assert server.requests == []
    error = shell.json(*words(server, questions, "cut", "--max-cost", "5"), code=75)["error"]
    assert error["kind"] == "stopped"
    assert "--max-cost" in error["hint"]
    stood = len(judgments(shell, "cut"))
    assert asked(server).total() == stood
    assert 5 - 1.0 < 0.3 * stood <= 5
    done = shell(*words(server, questions, "cut", "--max-cost", "12"))
    assert asked(server).total() == 2 * QUESTIONS == len(judgments(shell, "cut"))
    left = 2 * QUESTIONS - stood
    assert f"judge  answered {left} requests for ${0.3 * left:.2f}" in done.stderr


def test_nothing_is_spent_that_nobody_agreed_to(
    shell: Shell, server: FakeEndpoint, questions: Path
):
    error = shell.json(*words(server, questions, "unagreed"), code=2)["error"]
    assert "nobody agreed" in error["message"]
    assert "--max-cost" in error["hint"]
    assert server.requests == []
    assert not (shell.folder / "runs" / "unagreed").exists()
    bill = shell.json(*words(server, questions, "unagreed", "--dry-run"))["judge"]
    assert server.requests == []
    assert bill["bills"][0]["wanted"] == bill["bills"][0]["missing"] == 2 * QUESTIONS
    assert bill["usd"] == pytest.approx(2 * QUESTIONS * 0.17)
    assert bill["usd_most"] == pytest.approx(2 * QUESTIONS * 1.0)
