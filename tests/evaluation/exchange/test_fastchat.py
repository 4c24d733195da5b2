"""Results as FastChat's folders: what its `show_result.py` reads there, and the way back."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.evaluation.exchange.runs_to_share import RATINGS, judged_run, write_lines

from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.exchange.incoming import import_results
from zephyrctl.evaluation.exchange.outgoing import export
from zephyrctl.runs.store import Run
from zephyrctl.runs.summary import summarize


def _exported(run: Run, target: Path) -> Path:
    export(run, target, form="fastchat", benchmark=None)
    return target / "data" / "mt_bench"


def _imported(source: Path, folder: Path, *, name: str = "back") -> Run:
    run, was_there = import_results(
        source, name=name, wanted=None, sets=[f"output_root={folder}", "eval.bootstrap=100"]
    )
    assert not was_there
    return run


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _shown(file: Path) -> dict[str, Any]:
    """The steps of FastChat's show_result.py (0e6d3e4), `--mode single`, with pandas."""
    rows = pd.read_json(file, lines=True)[["model", "score", "turn"]]
    rows = rows[rows["score"] != -1]
    turns = {n: rows[rows["turn"] == n].groupby(["model", "turn"]).mean() for n in (1, 2)}
    average = rows[["model", "score"]].groupby(["model"]).mean()
    return {
        model: (
            turns[1].loc[(model, 1), "score"],
            turns[2].loc[(model, 2), "score"],
            average.loc[model, "score"],
        )
        for model in average.index
    }


def _shown_pairs(file: Path) -> dict[str, tuple[int, int, int]]:
    """`--mode pairwise-all`: wins, losses and ties of each model."""
    rows = pd.read_json(file, lines=True)
    rows = rows[(rows["g1_winner"] != "error") & (rows["g2_winner"] != "error")]
    found = []
    for _, row in rows.iterrows():
        one, two = row["model_1"], row["model_2"]
        if row["g1_winner"] == "tie" or row["g1_winner"] != row["g2_winner"]:
            found += [(one, 0, 0, 1), (two, 0, 0, 1)]
        else:
            winner, loser = (one, two) if row["g1_winner"] == "model_1" else (two, one)
            found += [(winner, 1, 0, 0), (loser, 0, 1, 0)]
    table = pd.DataFrame(found, columns=pd.Index(["model", "win", "loss", "tie"]))
    sums = table.groupby("model").sum()
    return {str(model): tuple(map(int, row)) for model, row in sums.iterrows()}


def test_show_result_reads_an_exported_run(tmp_path: Path) -> None:
    folder = _exported(judged_run(tmp_path), tmp_path / "out")
    single = folder / "model_judgment" / "gpt-4-recorded_single.jsonl"
    found = _shown(single)
    for model, (a1, a2, b1, b2) in RATINGS.items():
        assert found[model] == ((a1 + b1) / 2, (a2 + b2) / 2, (a1 + a2 + b1 + b2) / 4)
    pairs = _shown_pairs(folder / "model_judgment" / "gpt-4-recorded_pair.jsonl")
    assert pairs == {"dpo": (3, 0, 1), "sft": (0, 3, 1)}
    row = json.loads(single.read_text().splitlines()[0])
    assert list(row) == [
        "question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp",
    ]  # fmt: skip
    answer = json.loads((folder / "model_answer" / "dpo.jsonl").read_text().splitlines()[0])
    assert answer["model_id"] == "dpo"
    assert answer["choices"] == [
        {"index": 0, "turns": ["dpo says hé to 81.1 (0)", "dpo says hé to 81.2 (0)"]}
    ]
    assert single.read_bytes().isascii()


def test_an_export_comes_back_with_the_same_bytes(tmp_path: Path) -> None:
    own = judged_run(tmp_path)
    first = _exported(own, tmp_path / "first").parent.parent
    back = _imported(first, tmp_path / "runs")
    assert _tree(_exported(back, tmp_path / "second").parent.parent) == _tree(first)
    # Two of MT-Bench's 80 questions are no score of the benchmark, and its arithmetic says so.
    assert summarize(own)["scores"]
    assert summarize(back)["scores"] == []
    path = next((back.root / "eval").glob("mt-bench/dpo/*/vs-sft/scores.json"))
    record = json.loads(path.read_text())
    assert record["wins"] == 3
    assert record["about"]["imported"]["format"] == "fastchat"
    assert len(record["about"]["imported"]["files"]) == 4


def test_repeats_are_choices_and_come_back(tmp_path: Path) -> None:
    own = judged_run(tmp_path, repeats=2)
    first = _exported(own, tmp_path / "first").parent.parent
    lines = (first / "data/mt_bench/model_answer/sft.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["choices"]) for line in lines] == [2, 2]
    back = _imported(first, tmp_path / "runs")
    assert _tree(_exported(back, tmp_path / "second").parent.parent) == _tree(first)


def test_published_judgments_score_as_published(mt_bench_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(mt_bench_dir / "model_judgment", source / "model_judgment")
    shutil.copytree(mt_bench_dir / "model_answer", source / "model_answer")
    run = _imported(source, tmp_path / "runs", name="published")
    expected = json.loads((mt_bench_dir / "expected.json").read_text())["single"]
    by_model = {
        path.parent.parent.name: json.loads(path.read_text())
        for path in (run.root / "eval" / "mt-bench").glob("*/gpt-4/scores.json")
    }
    assert set(by_model) == {case["model"] for case in expected}
    for case in expected:
        found = by_model[case["model"]]["fastchat"]
        for name in ("turn_1", "turn_2", "average"):
            assert found[name] == pytest.approx(case[name], abs=1e-6), case["model"]
    again = _exported(run, tmp_path / "again")
    for path in (mt_bench_dir / "model_answer").iterdir():
        if path.name != "granite-7b-lab.jsonl":  # its rows call the model by another name
            assert (again / "model_answer" / path.name).read_bytes() == path.read_bytes(), path
    pairs = next((mt_bench_dir / "model_judgment").glob("*_pair.jsonl"))
    assert (again / "model_judgment" / "gpt-4_pair.jsonl").read_bytes() == pairs.read_bytes()
    whole = mt_bench_dir / "model_judgment" / "mamba_0_5_dpo_ep1.gpt-4_single.jsonl"
    assert whole.read_text() in (again / "model_judgment" / "gpt-4_single.jsonl").read_text()
    shown = _shown(again / "model_judgment" / "gpt-4_single.jsonl")
    for case in expected:
        assert shown[case["model"]][2] == pytest.approx(case["average"], abs=1e-6)


def _rows(model: str, judge: str, *, ids: range, score: float = 7) -> list[dict[str, Any]]:
    return [
        {"question_id": q, "model": model, "judge": [judge, "x"], "score": score, "turn": turn}
        for q in ids
        for turn in (1, 2)
    ]


def test_one_file_may_hold_several_models_and_judges(tmp_path: Path) -> None:
    ids = range(81, 161)
    rows = [
        *_rows("org/one", "gpt-4", ids=ids),
        *_rows("org/one", "claude", ids=ids, score=5),
        *_rows("two", "gpt-4", ids=ids, score=8.5),
        {"question_id": 81, "model": "two", "judge": "gpt-4", "score": -1, "turn": 1},
    ]
    write_lines(tmp_path / "all.jsonl", rows)
    run = _imported(tmp_path / "all.jsonl", tmp_path / "runs")
    scores = {
        (s["model"], s["judge"]): s["value"]
        for s in summarize(run)["scores"]
        if s["metric"] == "average"
    }
    assert scores == {("org-one", "gpt-4"): 7, ("org-one", "claude"): 5, ("two", "gpt-4"): 8.5}
    (compared,) = summarize(run)["comparisons"]
    assert (compared["a"], compared["b"]) == ("org-one", "two")
    assert compared["difference"] == pytest.approx(1.5)
    exported = _exported(run, tmp_path / "out") / "model_judgment"
    assert sorted(path.name for path in exported.iterdir()) == [
        "claude_single.jsonl",
        "gpt-4_single.jsonl",
    ]
    models = [json.loads(line)["model"] for line in (exported / "claude_single.jsonl").open()]
    assert set(models) == {"org/one"}


def test_questions_of_ones_own_are_known_by_their_file_or_by_the_rows(tmp_path: Path) -> None:
    rows = [row | {"turn": row["turn"]} for row in _rows("m", "gpt-4", ids=range(1, 5))]
    write_lines(tmp_path / "a" / "gpt-4_single.jsonl", rows)
    run = _imported(tmp_path / "a", tmp_path / "runs", name="by-rows")
    assert {s["benchmark"] for s in summarize(run)["scores"]} == {"own"}
    questions = [{"question_id": n, "category": "c", "turns": ["?", "?"]} for n in range(1, 9)]
    write_lines(tmp_path / "a" / "question.jsonl", questions)
    run = _imported(tmp_path / "a", tmp_path / "runs", name="by-file")
    assert summarize(run)["scores"] == []  # half of the questions are not judged
    write_lines(tmp_path / "a" / "question.jsonl", questions[:2])
    with pytest.raises(DataError, match=r"2 judged questions are not in question\.jsonl"):
        _imported(tmp_path / "a", tmp_path / "runs", name="too-few")


def test_two_benchmarks_in_one_folder_stay_apart(tmp_path: Path) -> None:
    rows = _rows("m", "gpt-4", ids=range(81, 161))
    write_lines(tmp_path / "s" / "data" / "mt_bench" / "model_judgment" / "j_single.jsonl", rows)
    own = tmp_path / "s" / "data" / "own-maths" / "model_judgment" / "j_single.jsonl"
    write_lines(own, rows[:8])
    run = _imported(tmp_path / "s", tmp_path / "runs")
    found = {s["benchmark"]: s["n"] for s in summarize(run)["scores"] if s["metric"] == "average"}
    assert found == {"mt-bench": 160, "own-maths": 8}
    export(run, tmp_path / "out", form="fastchat", benchmark=None)
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == [
        "mt_bench",
        "own-maths",
    ]
    write_lines(tmp_path / "s" / "data" / "copy" / "model_judgment" / "j_single.jsonl", rows)
    with pytest.raises(DataError, match="two folders of judgments on mt-bench"):
        _imported(tmp_path / "s", tmp_path / "runs", name="twice")


def test_the_same_files_are_imported_once(tmp_path: Path) -> None:
    write_lines(tmp_path / "j.jsonl", _rows("m", "gpt-4", ids=range(81, 161)))
    run = _imported(tmp_path / "j.jsonl", tmp_path / "runs")
    before = _tree(run.root)
    sets = [f"output_root={tmp_path / 'runs'}"]
    again, was_there = import_results(tmp_path / "j.jsonl", name="back", wanted=None, sets=sets)
    assert was_there
    assert _tree(again.root) == before
    write_lines(tmp_path / "j.jsonl", _rows("m", "gpt-4", ids=range(81, 160)))
    with pytest.raises(UsageError, match="did not come from these files"):
        import_results(tmp_path / "j.jsonl", name="back", wanted=None, sets=sets)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"question_id": 81}\n{}\n', "needs a 'question_id' and a 'turn'"),
        ('{"question_id": 81, "turn": 1, "model": "m", "score": "9"}\n', "a number"),
        ("not json\n{}\n", "not a line of JSON"),
        ("", "holds no judgments"),
    ],
)
def test_a_broken_file_leaves_nothing(lines: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "gpt-4_single.jsonl").write_text(lines)
    with pytest.raises(DataError, match=words):
        import_results(
            tmp_path / "gpt-4_single.jsonl",
            name="x",
            wanted="fastchat",
            sets=[f"output_root={tmp_path / 'runs'}"],
        )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "row",
    [
        {"question_id": 81, "choices": [{"index": 0, "turns": ["a", "b"]}]},
        {"question_id": 81, "model_id": "m"},
        {"question_id": 81, "model_id": "m", "choices": [{"index": 0}]},
    ],
)
def test_a_broken_answer_is_named(row: dict[str, Any], tmp_path: Path) -> None:
    write_lines(tmp_path / "model_judgment" / "j_single.jsonl", _rows("m", "j", ids=range(81, 83)))
    answers = tmp_path / "model_answer" / "m.jsonl"
    write_lines(answers, [row])
    with pytest.raises(DataError, match="an answer needs") as caught:
        _imported(tmp_path, tmp_path / "runs")
    assert caught.value.where == f"{answers}, row 1"


def test_models_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    rows = [*_rows("a/b", "j", ids=range(81, 83)), *_rows("a:b", "j", ids=range(81, 83))]
    write_lines(tmp_path / "j.jsonl", rows)
    with pytest.raises(DataError, match="would share the folder a-b"):
        _imported(tmp_path / "j.jsonl", tmp_path / "runs")


def test_repairs_stay_at_home_and_stale_rows_too(tmp_path: Path) -> None:
    run = judged_run(tmp_path)
    path = next((run.root / "eval").glob("mt-bench/dpo/*/judgments.jsonl"))
    first = json.loads(path.read_text().splitlines()[0])
    with path.open("a") as stream:
        stream.write(json.dumps({**first, "score": 1, "key": "other"}) + "\n")
        stream.write(json.dumps({**first, "repairs": first["key"], "key": "third"}) + "\n")
    found = export(run, tmp_path / "out", form="fastchat", benchmark="mt-bench")
    assert found.notices == ("dpo: 1 repaired judgments are left out; FastChat asks a judge once",)
    lines = (tmp_path / "out" / found.files[0]).read_text().splitlines()
    mine = [json.loads(line) for line in lines if json.loads(line)["model"] == "dpo"]
    assert [row["score"] for row in mine if (row["question_id"], row["turn"]) == (81, 1)] == [1]
    assert len(mine) == 4


def test_a_kill_leaves_no_half_of_a_run(tmp_path: Path) -> None:
    rows = [row for n in range(12) for row in _rows(f"m{n}", "gpt-4", ids=range(81, 161))]
    write_lines(tmp_path / "j.jsonl", rows)
    argv = [sys.executable, "-m", "zephyrctl", "eval", "import", "j.jsonl", "--run", "x"]
    child = subprocess.Popen(
        argv, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    runs = tmp_path / "runs"
    while not list(runs.glob(".x.*/eval/mt-bench/m3")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.kill()
    child.wait()
    (left,) = runs.iterdir()
    assert left.name.startswith(".x.partial-")
    run = _imported(tmp_path / "j.jsonl", runs, name="x")
    assert len([s for s in summarize(run)["scores"] if s["metric"] == "average"]) == 12
    assert [path.name for path in runs.iterdir()] == ["x"]
