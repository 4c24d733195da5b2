"""`zephyrctl eval rescore mt-bench` as a script and as a person meet it."""

import json
import time
from pathlib import Path

from tests.cli.conftest import Cli


def write(path: Path, *, model: str = "m", score: int = 7, lost: int = 0) -> Path:
    rows = [
        {"question_id": q, "turn": t, "model": model, "judge": ["gpt-4", "single-v1"],
         "score": score, "judgment": f"Rating: [[{score}]]", "tstamp": 0.0}
        for q in range(81, 161) for t in (1, 2)
    ]  # fmt: skip
    for row in rows[:lost]:
        row |= {"score": -1, "judgment": "none"}
    with path.open("a") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_stdout_holds_one_object_with_exactly_these_fields(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "j.jsonl")
    done = cli("eval", "rescore", "mt-bench", "--judgments", str(path), "--json")
    assert done.code == 0
    (line,) = done.out.splitlines()
    (model,) = json.loads(line)["models"]
    assert list(model) == [
        "model", "turn_1", "turn_2", "average", "by_category", "n", "unparsed",
        "duplicates_dropped", "coverage", "interval", "fastchat",
    ]  # fmt: skip
    assert list(model["fastchat"]) == ["turn_1", "turn_2", "average", "by_category"]
    assert (model["average"], model["n"], model["coverage"]) == (7, 160, 1)
    assert len(model["by_category"]) == 8


def test_too_few_verdicts_exit_7_and_still_print_the_object(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "j.jsonl", lost=40)
    done = cli("eval", "rescore", "mt-bench", "--judgments", str(path), "--json")
    assert done.code == 7
    (line,) = done.out.splitlines()
    (model,) = json.loads(line)["models"]
    assert model["average"] is None
    assert model["interval"] == [None, None]
    assert (model["unparsed"], model["fastchat"]["average"]) == (40, 7)
    assert "too few verdicts" in done.err


def test_people_get_a_table(cli: Cli, tmp_path: Path) -> None:
    path = write(write(tmp_path / "j.jsonl"), model="other", score=3)
    done = cli("eval", "rescore", "mt-bench", "--judgments", str(path))
    assert done.code == 0
    head, first, second = done.out.splitlines()[:3]
    assert head.split()[:2] == ["model", "average"]
    assert first.split()[:2] == ["m", "7.00"]
    assert second.split()[:2] == ["other", "3.00"]
    assert max(map(len, done.out.splitlines())) <= 80


def test_answers_without_the_files_are_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "j.jsonl")
    words = ["eval", "rescore", "mt-bench", "--judgments", str(path), "--answers", str(path)]
    done = cli(*words, "--json")
    assert done.code == 2
    assert json.loads(done.out)["error"]["hint"].startswith("--data-dir")


def test_an_absent_file_is_one_error_object(cli: Cli) -> None:
    done = cli("eval", "rescore", "mt-bench", "--judgments", "none.jsonl", "--json")
    assert done.code == 2
    assert "cannot read" in json.loads(done.out)["error"]["message"]


def test_ten_thousand_judgments_are_rescored_in_two_seconds(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    for number in range(63):
        write(path, model=f"m{number}")
    began = time.process_time()
    done = cli("eval", "rescore", "mt-bench", "--judgments", str(path), "--json")
    assert time.process_time() - began < 2
    assert len(json.loads(done.out)["models"]) == 63
