"""`zephyrctl eval fetch|import|export`."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli


def _judgments(path: Path, *, models: tuple[str, ...] = ("one", "two")) -> Path:
    """Ratings of all 160 turns in FastChat's format, each model a point above the one before."""
    rows: list[dict[str, Any]] = [
        {
            "question_id": question,
            "model": model,
            "judge": ["gpt-4", "single-v1"],
            "judgment": f"Rating: [[{3 + place + question % 5}]]",
            "score": 3 + place + question % 5,
            "turn": turn,
        }
        for place, model in enumerate(models)
        for question in range(81, 161)
        for turn in (1, 2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_offline_with_nothing_fetched_is_exit_5_and_one_object(cli: Cli) -> None:
    found = cli("eval", "fetch", "mt-bench", "--json")
    assert found.code == 5
    (line,) = found.out.splitlines()
    error = json.loads(line)["error"]
    assert "eval fetch mt-bench --to" in error["hint"]
    assert "eval fetch mt-bench --from" in error["hint"]


def test_the_licence_of_alpaca_eval_is_told_once_on_stderr(cli: Cli) -> None:
    first, second = cli("eval", "fetch", "alpaca-eval"), cli("eval", "fetch", "alpaca-eval")
    assert "CC-BY-NC-4.0: not for commercial use" in first.err
    assert "not for commercial use" not in second.err
    assert (first.out, first.code) == ("", 5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fetch", "mtbench"), "did you mean 'mt-bench'"),
        (("fetch", "--from", "a", "--to", "b"), "exclude each other"),
        (("fetch", "--from", "nowhere"), "there is no folder nowhere"),
        (("import", "nowhere", "--run", "r"), "there is no nowhere"),
        (("export", "r", "--format", "csv", "--to", "out"), "no run 'r'"),
        (("export", "@last", "--format", "xml", "--to", "out"), "xml"),
    ],
)
def test_wrong_words_are_exit_2_with_a_hint(words: tuple[str, ...], said: str, cli: Cli) -> None:
    found = cli("eval", *words)
    assert found.code == 2
    assert said in found.err
    assert "hint:" in found.err


def test_an_imported_run_is_shown_reported_and_exported(cli: Cli) -> None:
    _judgments(Path("gpt-4_single.jsonl"))
    brought = cli("eval", "import", "gpt-4_single.jsonl", "--run", "pub", "--json")
    assert brought.code == 0
    assert "imported from FastChat's files (1)" in brought.err
    summary = json.loads(brought.out)
    averages = {s["model"]: s["value"] for s in summary["scores"] if s["metric"] == "average"}
    assert averages == {"one": 5.0, "two": 6.0}
    (compared,) = summary["comparisons"]
    assert (compared["a"], compared["b"], compared["difference"]) == ("one", "two", 1.0)

    again = cli("eval", "import", "gpt-4_single.jsonl", "--run", "pub")
    assert (again.code, again.out) == (0, "runs/pub\n")
    assert "nothing to do" in again.err

    assert json.loads(cli("runs", "show", "pub", "--json").out)["scores"] == summary["scores"]
    worst = cli("eval", "show", "pub", "--benchmark", "mt-bench", "-n", "1", "--json")
    assert worst.code == 0
    assert "Rating: [[4]]" in worst.out
    assert cli("report", "pub").code == 0

    assert cli("eval", "export", "pub", "--format", "csv", "--to", "table").code == 0
    lines = Path("table/scores.csv").read_text().splitlines()
    assert lines[0] == "run,benchmark,model,judge,metric,value,low,high,n,opponent"
    assert lines[1].startswith("pub,mt-bench,one,gpt-4,average,5.0,")
    full = cli("eval", "export", "@last", "--format", "fastchat", "--to", "table")
    assert full.code == 2
    assert "table is not empty" in full.err


def test_json_holds_every_score_file_and_the_comparisons(cli: Cli) -> None:
    _judgments(Path("j.jsonl"))
    cli("eval", "import", "j.jsonl", "--run", "pub")
    found = cli("eval", "export", "pub", "--format", "json", "--to", "out", "--json")
    assert json.loads(found.out) == {"folder": "out", "files": ["scores.json"]}
    document = json.loads(Path("out/scores.json").read_text())
    assert [result["model"] for result in document["results"]] == ["one", "two"]
    assert document["results"][0]["about"]["imported"]["files"].keys() == {"j.jsonl"}
    assert document["comparisons"][0]["wins"] == 80


def test_places_that_cannot_be_written_are_named(cli: Cli) -> None:
    _judgments(Path("j.jsonl"))
    cli("eval", "import", "j.jsonl", "--run", "pub")
    inside = cli("eval", "export", "pub", "--format", "csv", "--to", "j.jsonl/out")
    assert (inside.code, "cannot be written" in inside.err) == (3, True)
    here = cli("eval", "export", "pub", "--format", "csv", "--to", ".")
    assert (here.code, "the one you are in" in here.err) == (2, True)
    fetched = cli("eval", "fetch", "--to", "j.jsonl/files")
    assert (fetched.code, "cannot be made" in fetched.err) == (2, True)
    sets = ("--set", "output_root=j.jsonl/runs")
    brought = cli("eval", "import", "j.jsonl", "--run", "other", *sets)
    assert (brought.code, "cannot be made" in brought.err) == (3, True)


def test_what_a_format_cannot_hold_is_refused(cli: Cli) -> None:
    _judgments(Path("j.jsonl"))
    cli("eval", "import", "j.jsonl", "--run", "pub")
    refused = cli("eval", "export", "pub", "--format", "alpaca_eval", "--to", "out")
    assert refused.code == 2
    assert "no judgments that --format alpaca_eval can hold" in refused.err
    unknown = cli("eval", "export", "pub", "--format", "json", "--to", "out", "--benchmark", "mt")
    assert unknown.code == 2
    assert "judged are: mt-bench" in unknown.err
    assert not Path("out").exists()
