"""The evaluation stage on rated benchmarks: MT-Bench in both modes, and questions of one's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.mt_bench.small import write_files
from tests.fakes import FakeEndpoint

from zephyrctl.config.layers import load
from zephyrctl.errors import GateMissed
from zephyrctl.runs.score_files import read_score_files
from zephyrctl.runs.store import Run, open_run, write_config
from zephyrctl.runs.summary import summarize
from zephyrctl.stages.evaluate import run as evaluate


def make_run(folder: Path, **flags: Any) -> Run:
    given = {"output_root": str(folder), "name": "r", "eval.bootstrap": 200, **flags}
    loaded = load(flags=given, env={}, cwd=folder)
    made = open_run(loaded.recipe)
    write_config(made, loaded)
    return made


def settings(judge: FakeEndpoint, *models: FakeEndpoint) -> dict[str, Any]:
    return {
        "eval.models": [model.spec for model in models],
        "eval.judge.spec": judge.spec,
        "eval.benchmarks": ["mt-bench"],
    }


def scores_at(run: Run, folder: str) -> dict[str, Any]:
    return json.loads((run.root / "eval" / folder / "scores.json").read_text())


def long_or_short(messages: list[dict[str, str]]) -> str:
    """A judge that likes `long` answers: 9 or 4, and in pairs the assistant who gave one."""
    text = messages[-1]["content"]
    if "Reply with the" in text:
        return "[[3]]"
    if "|A:" in text:
        return "[[A]]" if "long" in text.split("|A:")[1].split("|B:")[0] else "[[B]]"
    if "Again." in text:
        return "no rating in these words"
    return "Rating: [[9]]" if "long" in text else "Rating: [[4]]"


def test_both_modes_stand_side_by_side_and_a_second_start_asks_nothing(tmp_path: Path) -> None:
    with (
        FakeEndpoint(answer=lambda m: "short", model="a") as a,
        FakeEndpoint(answer=lambda m: "a long answer", model="b") as b,
        FakeEndpoint(answer=long_or_short, model="judge") as judge,
    ):
        flags = {
            **settings(judge, a, b),
            "eval.mt_bench.mode": "both",
            "eval.mt_bench.references": "original",
            "eval.data_dir": str(write_files(tmp_path / "files")),
        }
        run = make_run(tmp_path, **flags)
        result = evaluate(run.recipe(), run)
        asked = len(judge.requests)
        evaluate(run.recipe(), run)
        assert len(judge.requests) == asked
    # 4 ratings and 1 repair a model, less the repair they share by their equal words; 8 games.
    assert asked == 4 + 4 + 2 + 8
    assert result.metrics["mt-bench.a.average"] == (4 + 3 + 4 + 4) / 4
    assert result.metrics["mt-bench.b.average"] == (9 + 3 + 9 + 9) / 4
    alone = scores_at(run, "mt-bench/b/judge")
    assert (alone["n"], alone["repaired"], alone["fastchat"]["average"]) == (4, 1, 9)
    against = scores_at(run, "mt-bench/b/judge/vs-a")
    assert against["scores"][0]["metric"] == "win_rate_vs_a"
    assert (against["wins"], against["ties"], against["losses"]) == (4, 0, 0)
    assert against["about"]["opponent"] == "a"


def test_in_pairs_alone_the_conduct_of_both_models_is_measured(tmp_path: Path) -> None:
    with (
        FakeEndpoint(answer=lambda m: "I'm sorry, but I can't help with that.", model="a") as a,
        FakeEndpoint(answer=lambda m: "a long answer", model="b") as b,
        FakeEndpoint(answer=long_or_short, model="judge") as judge,
    ):
        flags = {
            **settings(judge, a, b),
            "eval.mt_bench.mode": "pair",
            "eval.mt_bench.references": "original",
            "eval.data_dir": str(write_files(tmp_path / "files")),
        }
        run = make_run(tmp_path, **flags)
        evaluate(run.recipe(), run)
    refusals = {s["model"]: s for s in summarize(run)["scores"] if s["metric"] == "refusal_rate"}
    assert (refusals["a"]["value"], refusals["b"]["value"]) == (1, 0)
    assert refusals["a"]["low"] < 1
    against = scores_at(run, "mt-bench/b/judge/vs-a")
    assert against["scores"][0]["metric"] == "win_rate_vs_a"
    assert against["mean_tokens"] == 3  # of b, whose match it is
    (file,) = read_score_files(run)
    assert [value for label, value in file.facts if label == "mean words"] == [3]


def write_questions(path: Path) -> str:
    rows = [
        {"question_id": 1, "turns": ["One?", "Two?", "Three?"]},
        {"question_id": 2, "turns": ["Four?"], "category": "sums", "reference": ["4"]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_questions_of_ones_own_are_rated_by_ones_own_rubric(tmp_path: Path) -> None:
    rubric = tmp_path / "strict.jinja"
    rubric.write_text("Q {{ question }} R {{ reference }} A {{ answer }}: [[n]] with n in 1..10")
    with (
        FakeEndpoint(answer=lambda m: f"turn {len(m)}", model="a") as a,
        FakeEndpoint(answer=lambda m: "[[7]]", model="judge") as judge,
    ):
        flags = {
            **settings(judge, a),
            "eval.benchmarks": ["own"],
            "eval.own.questions": write_questions(tmp_path / "quiz.jsonl"),
        }
        packaged = make_run(tmp_path, **flags)
        evaluate(packaged.recipe(), packaged)
        answered, asked = len(a.requests), len(judge.requests)
        run = make_run(tmp_path, **flags, **{"eval.own.rubric": str(rubric)})
        result = evaluate(run.recipe(), run)
        # Another rubric judges the same answers anew.
        assert (len(a.requests), len(judge.requests)) == (answered, 2 * asked)
        prompts = [body["messages"][-1]["content"] for _, body in judge.requests[asked:]]
    assert (answered, asked) == (4, 4)
    assert result.metrics["own-quiz.a.average"] == 7
    four = next(prompt for prompt in prompts if "Q Four?" in prompt)
    assert "R 4 A <<" in four
    assert "turn 5" in next(prompt for prompt in prompts if "Q Three?" in prompt)
    scores = scores_at(run, "own-quiz/a/judge")
    assert scores["rubric"] == "strict.jinja"
    assert set(scores["categories"]) == {"general", "sums"}


def test_a_judge_without_ratings_gives_no_score_and_exit_7(tmp_path: Path) -> None:
    with (
        FakeEndpoint(model="a") as a,
        FakeEndpoint(answer=lambda m: "lovely", model="judge") as judge,
    ):
        flags = {
            **settings(judge, a),
            "eval.benchmarks": ["own"],
            "eval.own.questions": write_questions(tmp_path / "quiz.jsonl"),
        }
        run = make_run(tmp_path, **flags)
        with pytest.raises(GateMissed, match="too few verdicts on a"):
            evaluate(run.recipe(), run)
    scores = scores_at(run, "own-quiz/a/judge")
    assert scores["scores"] == []
    assert (scores["n"], scores["unparsed"], scores["coverage"]) == (0, 4, 0)
