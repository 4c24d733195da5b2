"""`zephyrctl eval compare` and `eval show` as a person and as a script meet them."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.evaluation.scored_runs import add_scores, make_run

from zephyrctl.cli import app
from zephyrctl.cli.showing import Wanted, find, lines_of
from zephyrctl.runs.store import Run

WORSE = {number: 4.0 + number % 3 for number in range(20)}
BETTER = {number: value + 1 + number % 2 for number, value in WORSE.items()}
HOSTILE = "[bold]not markup[/bold] \x1b]52;c;aGk=\x07 \u202e{x} 日本語"


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    made = make_run(tmp_path / "runs", "one")
    add_scores(made, "sft", WORSE)
    add_scores(made, "dpo", BETTER)
    return made


def zephyrctl(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        app.main(arguments)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_comparison_is_read_at_a_glance(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = zephyrctl(capsys, "eval", "compare", "sft", "dpo")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "mt-bench · judge gpt-4o · average"
    assert lines[3].split()[:4] == ["dpo", "−", "sft", "+1.50"]
    assert "P(better) 1.00  win/tie/loss 20/0/0 · n 20" in out
    assert "writing" in out
    assert "the chat templates differ" in out
    assert max(map(len, lines)) <= 80


def test_a_script_gets_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = zephyrctl(capsys, "eval", "compare", "one:dpo", "one:sft", "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    (entry,) = record["comparisons"]
    assert entry["difference"] == pytest.approx(-1.5)
    assert entry["low"] < -1.5 < entry["high"] < 0
    assert (entry["wins"], entry["losses"], entry["p_better"]) == (0, 20, 0)
    assert [score["value"] for score in entry["scores"]] == [
        pytest.approx(sum(of.values()) / 20) for of in (BETTER, WORSE)
    ]
    assert record["not_comparable"] == []


def test_what_is_not_told_apart_says_what_it_would_take(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    close = {number: value + (0.6 if number % 3 else -1) for number, value in WORSE.items()}
    add_scores(run, "close", close)
    _, out, _ = zephyrctl(capsys, "eval", "compare", "sft", "close")
    assert "not told apart: needs" in out
    assert "or more repeats (1 now), or about" in out


def test_nothing_that_compares_is_an_error_with_the_reasons(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    add_scores(run, "old", WORSE, digest="d0", references="original")
    code, out, err = zephyrctl(capsys, "eval", "compare", "old", "dpo")
    assert (code, out) == (2, "")
    assert "references original and None" in err
    code, out, _ = zephyrctl(capsys, "eval", "compare", "old", "dpo", "--json")
    assert code == 2
    assert json.loads(out)["error"]["kind"] == "usage"


def test_the_worst_come_first_and_the_best_where_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, out, _ = zephyrctl(capsys, "eval", "show", "@last", "--model", "sft", "-n", "2", "--json")
    record = json.loads(out)
    assert [row["question_id"] for row in record["rows"]] == [0, 3]
    assert (record["total"], record["order"], record["judge"]) == (20, "worst", "gpt-4o")
    _, out, _ = zephyrctl(
        capsys, "eval", "show", "one:sft", "--best", "-n", "1", "--category", "math", "--json"
    )
    assert [row["question_id"] for row in json.loads(out)["rows"]] == [5]
    _, out, _ = zephyrctl(capsys, "eval", "show", "one", "--question", "7", "--against", "sft")
    assert "dpo 7 of 10 · sft 5 of 10" in out
    assert "Question 7?" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "dqo"], "did you mean 'dpo'"),
        (["--judge", "gpt-4"], "did you mean 'gpt-4o'"),
        (["--category", "maths"], "did you mean 'math'"),
        (["--question", "99"], "judged are 0 to 19"),
        (["--model", "dpo", "--against", "dpo"], "beside itself"),
        (["--against", "nobody"], "no judgments of model 'nobody'"),
        (["--benchmark", "mtbench"], "did you mean 'mt-bench'"),
    ],
)
def test_what_is_not_there_is_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = zephyrctl(capsys, "eval", "show", "one", *arguments)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("width", [80, 160])
def test_two_answers_stand_side_by_side_where_there_is_room(width: int) -> None:
    found = find(Wanted("one", model="dpo", against="sft", rows=1))
    lines = lines_of(found, width=width)
    assert max(map(len, lines)) <= width
    is_wide = [line for line in lines if "dpo on" in line and "sft on" in line]
    assert bool(is_wide) == (width == 160)


def test_text_of_models_is_never_markup_nor_control(run: Run) -> None:
    path = run.root / "eval/mt-bench/dpo/gpt-4o/judgments.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"answer": HOSTILE, "prompt": HOSTILE, "judgment": HOSTILE}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for width in (80, 160):
        wanted = Wanted("one", model="dpo", against="sft", question="0")
        text = "\n".join(lines_of(find(wanted), width=width))
        assert "[bold]not markup[/bold]" in text
        assert "日本語" in text
        assert not any(sign in text for sign in ("\x1b", "\x07", "\u202e", "aGk="))


def shown_on_a_terminal(folder: Path, pager: str) -> bytes:
    """What a terminal shows of `eval show` with a pager."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "zephyrctl", "eval", "show", "one", "-n", "2"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=terminal, stderr=terminal, stdin=subprocess.DEVNULL,
        env={**os.environ, "PAGER": pager, "COLUMNS": "80"},
    )  # fmt: skip
    os.close(terminal)
    found = b""
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        found += piece
    os.close(controller)
    assert process.wait() == 0
    return found


def test_a_terminal_gets_the_users_pager(tmp_path: Path) -> None:
    found = shown_on_a_terminal(tmp_path, "sed s/^/paged:/")
    assert b"paged:mt-bench" in found
    assert b"Because of" in found
    without = shown_on_a_terminal(tmp_path, "no-such-pager --here")
    assert b"does not start" in without
    assert b"Because of" in without
    # A pager that is left at once is no error.
    assert b"mt-bench" in shown_on_a_terminal(tmp_path, "head -n 1")
