"""Results as AlpacaEval's folders: what its metrics read there, and the way back."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.evaluation.alpaca_eval.small import write_small

from zephyrctl.config.layers import load
from zephyrctl.errors import DataError, NetworkError, UsageError
from zephyrctl.evaluation.alpaca_eval.benchmark import AlpacaEval
from zephyrctl.evaluation.alpaca_eval.formats import read_alpaca_eval
from zephyrctl.evaluation.benchmark import Answer
from zephyrctl.evaluation.exchange.incoming import import_results
from zephyrctl.evaluation.exchange.outgoing import export
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply
from zephyrctl.evaluation.scores import Places, write_scores
from zephyrctl.runs.store import Run, open_run, write_config
from zephyrctl.runs.summary import summarize

COUNT = 12
ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"


class Lengthwise:
    """A judge that prefers the longer output, and a little the one shown first."""

    is_deterministic = True
    name = "gpt-4-1106-preview"
    identity = {"judge": "by length"}

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        for index, request in enumerate(requests):
            first, second = request.user.split("m: <")[1].split(">\nM: <")
            gap = len(first) - len(second.split(">\nBest:")[0]) + 2
            chance = 1 / (1 + math.exp(-gap / 8))
            logprobs = {"m": math.log(chance), "M": math.log(1 - chance)}
            on_reply(index, JudgeReply("m", logprobs, 10, 1))

    def close(self) -> None:
        pass


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """AlpacaEval's files, small, and a cache without any."""
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    return write_small(tmp_path / "files", count=COUNT)


def _run(folder: Path, files: Path, *, swap: bool | None = False, repeats: int = 1) -> Run:
    """The run `own`: `sft` and `dpo` against the baseline, and `dpo` against `sft`."""
    flags = {
        "name": "own",
        "output_root": str(folder / "runs"),
        "eval.models": ["sft", "dpo"],
        "eval.benchmarks": ["alpaca-eval"],
        "eval.data_dir": str(files),
        "eval.alpaca_eval.swap": swap,
        "eval.repeats": repeats,
        "eval.bootstrap": 100,
    }
    loaded = load(flags=flags, cwd=folder)
    run = open_run(loaded.recipe)
    write_config(run, loaded)
    bench = AlpacaEval(read_alpaca_eval(files, version=2), Lengthwise(), recipe=loaded.recipe)
    places = Places.of(run, bench)
    answers = {
        model: [
            Answer(place, 1, "y" * (start + place % 5 + sample), 5, True, sample)
            for sample in range(repeats)
            for place in range(COUNT)
        ]
        for model, start in (("sft", 6), ("dpo", 12))
    }
    for match in bench.matches(["sft", "dpo"], baseline="sft"):
        rows = bench.judge(answers, match, path=places.judgments(match), on_done=lambda *_: None)
        scores = bench.aggregate(rows, match)
        write_scores(places.scores(match), scores, about={"opponent": match.opponent})
    return run


def _exported(run: Run, target: Path) -> Path:
    export(run, target, form="alpaca_eval", benchmark=None)
    return target


def _imported(source: Path, folder: Path, files: Path, *, name: str = "back") -> Run:
    sets = [f"output_root={folder}", f"eval.data_dir={files}", "eval.bootstrap=100"]
    return import_results(source, name=name, wanted=None, sets=sets)[0]


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _metrics(annotations: Path) -> dict[str, float]:
    """The steps of alpaca_eval's `get_winrate` (cd543a1, metrics/helpers.py), with pandas."""
    preference = pd.read_json(annotations)["preference"].replace(0, 1.5).dropna()
    wins = preference - 1
    rounded = preference.round().where(preference != 1.5, 1.5) - 1
    return {
        "win_rate": 100 * wins.mean(),
        "standard_error": 100 * wins.sem(),
        "n_wins": int((wins > 0.5).sum()),
        "n_wins_base": int((wins < 0.5).sum()),
        "n_draws": int((wins == 0.5).sum()),
        "n_total": len(wins),
        "discrete_win_rate": 100 * rounded.mean(),
    }


def _main(run: Run) -> dict[tuple[str, str], float]:
    return {
        (s["model"], s["metric"]): s["value"]
        for s in summarize(run)["scores"]
        if "rate" in s["metric"]
    }


def test_alpaca_evals_metrics_read_an_exported_run(tmp_path: Path, files: Path) -> None:
    run = _run(tmp_path, files)
    folder = _exported(run, tmp_path / "out")
    board = pd.read_csv(folder / "dpo" / ANNOTATOR / "leaderboard.csv", index_col=0)
    assert list(board.index) == ["dpo", "sft"]  # the best first
    scores = _main(run)
    for model in ("sft", "dpo"):
        found = _metrics(folder / model / ANNOTATOR / "annotations.json")
        for name, value in found.items():
            assert board.loc[model, name] == pytest.approx(value, abs=1e-12), name
        assert found["win_rate"] == pytest.approx(scores[(model, "win_rate")], abs=1e-9)
        controlled = scores[(model, "length_controlled_winrate")]
        assert board.loc[model, "length_controlled_winrate"] == pytest.approx(controlled)
        outputs = pd.read_json(folder / model / "model_outputs.json")
        assert list(outputs.columns) == ["dataset", "instruction", "output", "generator"]
        assert board.loc[model, "avg_length"] == int(outputs["output"].str.len().mean())
    rows = json.loads((folder / "dpo" / ANNOTATOR / "annotations.json").read_text())
    assert [row["instruction"] for row in rows] == [f"Say the number {n}." for n in range(COUNT)]
    assert {row["generator_1"] for row in rows} == {"gpt4_1106_preview"}
    top = rows[0]["raw_completion"]["logprobs"]["content"][0]["top_logprobs"]
    assert {entry["token"] for entry in top} == {"m", "M"}
    versus = json.loads((folder / "dpo" / f"{ANNOTATOR}_vs_sft" / "annotations.json").read_text())
    assert {(row["generator_1"], row["generator_2"]) for row in versus} == {("sft", "dpo")}


@pytest.mark.parametrize("swap", [False, True])
def test_an_export_comes_back_with_the_same_scores_and_bytes(
    swap: bool, tmp_path: Path, files: Path
) -> None:
    own = _run(tmp_path, files, swap=swap)
    first = _exported(own, tmp_path / "first")
    back = _imported(first, tmp_path / "runs", files)
    assert _tree(_exported(back, tmp_path / "second")) == _tree(first)
    before, after = _main(own), _main(back)
    assert after.keys() == before.keys()
    for place, value in before.items():
        assert after[place] == pytest.approx(value, abs=1e-9), place
    path = next((back.root / "eval").glob("alpaca-eval/dpo/*/scores.json"))
    record = json.loads(path.read_text())
    assert record["about"]["imported"]["format"] == "alpaca_eval"
    assert record["judge"] == "gpt-4-1106-preview"
    effect = record["order_effect"]
    assert (effect["n_first"] + effect["n_second"] > 0) is not swap


def test_two_orders_are_one_verdict_and_said_to_be(tmp_path: Path, files: Path) -> None:
    found = export(
        _run(tmp_path, files, swap=True), tmp_path / "out", form="alpaca_eval", benchmark=None
    )
    assert "are the mean of both orders" in found.notices[0]
    rows = json.loads((tmp_path / "out" / "dpo" / ANNOTATOR / "annotations.json").read_text())
    assert len(rows) == COUNT
    assert "raw_completion" not in rows[0]


def test_each_repeat_is_a_model_of_its_own(tmp_path: Path, files: Path) -> None:
    folder = _exported(_run(tmp_path, files, repeats=2), tmp_path / "out")
    for model in ("dpo", "dpo_repeat_2"):
        rows = json.loads((folder / model / ANNOTATOR / "annotations.json").read_text())
        assert len(rows) == COUNT
        assert {row["generator_2"] for row in rows} == {model}
    first, second = (
        json.loads((folder / model / "model_outputs.json").read_text())[0]["output"]
        for model in ("dpo", "dpo_repeat_2")
    )
    assert len(second) == len(first) + 1


def test_published_annotations_score_as_published(alpaca_eval_dir: Path, tmp_path: Path) -> None:
    expected = json.loads((alpaca_eval_dir / "expected_v2.json").read_text())
    name = "vicuna-7b-v1.5"
    source = alpaca_eval_dir / "annotations_v2" / f"{name}.jsonl"
    run = _imported(source, tmp_path / "runs", alpaca_eval_dir, name="published")
    published = next(case for case in _cases(expected) if case["model"] == name)["published"]
    scores = _main(run)
    assert scores[(name, "win_rate")] == pytest.approx(published["win_rate"], abs=1e-9)
    controlled = scores[(name, "length_controlled_winrate")]
    assert controlled == pytest.approx(published["length_controlled_winrate"], abs=0.16)
    exported = _exported(run, tmp_path / "out")
    assert not (exported / name / "model_outputs.json").exists()  # the rows have no texts
    back = _imported(exported, tmp_path / "runs", alpaca_eval_dir)
    assert _main(back) == scores


def _cases(expected: Any) -> list[dict[str, Any]]:
    return expected if isinstance(expected, list) else expected["models"]


def test_upstreams_own_file_is_read(alpaca_eval_dir: Path, tmp_path: Path) -> None:
    source = alpaca_eval_dir / "format_samples" / "annotations_v2_first20.json"
    run = _imported(source, tmp_path / "runs", alpaca_eval_dir)
    exported = _exported(run, tmp_path / "out") / "vicuna-7b-v1.5"
    assert json.loads((exported / ANNOTATOR / "annotations.json").read_text()) == json.loads(
        source.read_text()
    )
    outputs = alpaca_eval_dir / "format_samples" / "model_outputs_first20.json"
    assert json.loads((exported / "model_outputs.json").read_text()) == json.loads(
        outputs.read_text()
    )


def _annotation(place: int, **fields: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "instruction": f"Say the number {place}.",
        "output_1": "one",
        "generator_1": "text_davinci_003",
        "dataset": "even",
        "output_2": f"two {place}",
        "generator_2": "old",
        "annotator": "alpaca_eval_gpt4",
        "preference": 2.0,
    }
    return row | fields


def test_version_1_needs_no_files_and_knows_old_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    rows = [_annotation(place) for place in range(3)]
    rows += [_annotation(3, preference=0), _annotation(4, preference=None)]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    run = _imported(tmp_path / "annotations.json", tmp_path / "runs", tmp_path)
    assert _main(run)[("old", "win_rate")] == pytest.approx(100 * 3.5 / 4)
    path = next((run.root / "eval").glob("alpaca-eval/old/gpt-4-v1/scores.json"))
    assert json.loads(path.read_text())["unparsed"] == 1


def test_version_2_needs_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    source = tmp_path / "annotations.json"
    source.write_text(json.dumps([_annotation(0, preference=1.3, annotator=ANNOTATOR)]))
    with pytest.raises(NetworkError) as caught:
        import_results(source, name="x", wanted=None, sets=[f"output_root={tmp_path / 'runs'}"])
    assert "zephyrctl eval fetch alpaca-eval --to" in (caught.value.hint or "")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"preference": 1.2, "annotator": ANNOTATOR}, "an 'instruction' or an 'eval_index'"),
        (_annotation(99, annotator=ANNOTATOR), "not one of AlpacaEval's"),
        (_annotation(1, annotator=ANNOTATOR, output_2=None), "'output_1' and 'output_2'"),
        (_annotation(1, annotator=ANNOTATOR, preference="good"), "no number"),
        ({"preference": 1.2, "annotator": ANNOTATOR, "eval_index": "first"}, "no whole number"),
    ],
)
def test_a_row_that_is_no_annotation_is_named(
    row: dict[str, Any], words: str, tmp_path: Path, files: Path
) -> None:
    source = tmp_path / "annotations.json"
    source.write_text(json.dumps([row]))
    with pytest.raises(DataError, match=words) as caught:
        _imported(source, tmp_path / "runs", files)
    assert "annotations.json, entry 0" in (caught.value.where or "")


def test_both_kinds_in_one_folder_have_to_be_told_apart(tmp_path: Path, files: Path) -> None:
    (tmp_path / "both" / "model_judgment").mkdir(parents=True)
    (tmp_path / "both" / "model_judgment" / "gpt-4_single.jsonl").write_text("")
    (tmp_path / "both" / "annotations.json").write_text("[]")
    with pytest.raises(UsageError, match="both FastChat and AlpacaEval"):
        _imported(tmp_path / "both", tmp_path / "runs", files)


def test_a_foreign_annotators_name_does_not_leave_the_folder(tmp_path: Path, files: Path) -> None:
    rows = [
        _annotation(place, annotator="../../over", generator_2="../there") for place in range(3)
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    run = _imported(tmp_path / "annotations.json", tmp_path / "runs", files)
    folder = _exported(run, tmp_path / "deep" / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["there"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out"]
    assert (folder / "there" / "over" / "annotations.json").is_file()
