"""`zephyrctl chat --compare` as a person and as a script meet it."""

import json
from pathlib import Path

import pytest
from tests.cli.test_chat import Terminal, run
from tests.fakes import FakeEndpoint

pytestmark = pytest.mark.e2e


def test_a_script_gets_all_replies_as_one_object(tmp_path: Path) -> None:
    with FakeEndpoint(answer=lambda _: "one") as one, FakeEndpoint(answer=lambda _: "two") as two:
        done = run(
            one.spec, "--compare", two.spec, "--prompt", "hi", "--seed", "3", "--json",
            folder=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    assert [reply["reply"] for reply in record["replies"]] == ["one", "two"]
    assert len({reply["model"] for reply in record["replies"]}) == 2
    assert (record["seed"], record["messages"]) == (3, [{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--blind", "--prompt", "x"], "--blind is for a comparison"),
        (["--compare", "openai+http://127.0.0.1:9/v1:m", "--blind", "--prompt", "x"], "nobody"),
        (["--compare", "openai+http://127.0.0.1:9/v1:own", "--prompt", "x"], "is there already"),
        (["--compare", "./nowhere", "--prompt", "x"], "no model './nowhere'"),
    ],
)
def test_what_cannot_be_compared_is_a_usage_error(
    tmp_path: Path, arguments: list[str], why: str
) -> None:
    done = run("openai+http://127.0.0.1:9/v1:own", *arguments, folder=tmp_path, stdin="")
    assert done.returncode == 2
    assert why in done.stderr
    assert not done.stdout


def test_a_blind_vote_at_a_terminal_becomes_a_pair(tmp_path: Path) -> None:
    with (
        FakeEndpoint(answer=lambda _: "one") as one,
        FakeEndpoint(answer=lambda _: "two") as two,
        Terminal(one.spec, "--compare", two.spec, "--blind", folder=tmp_path) as terminal,
    ):
        terminal.expect("blind, comparing")
        terminal.expect("›")
        terminal.type("hi\r")
        terminal.expect("without a vote A goes on")
        terminal.expect("›")
        terminal.type("/prefer b\r")
        terminal.expect("B was ")
        terminal.expect("›")
        terminal.type("/quit\r")
        assert terminal.process.wait(timeout=60) == 0
    path = tmp_path / "runs" / "chats" / "prefs.jsonl"
    (row,) = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["chosen"][0]["content"], row["rejected"][0]["content"]} == {"one", "two"}
    assert row["vote"]["blind"] is True
