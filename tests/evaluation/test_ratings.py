"""What ratings add up to: repeats, coverage, probabilities."""

import json
import math

import numpy as np
import pytest
from tests.evaluation.mt_bench.small import answers, open_small, recipe, silent
from tests.evaluation.saying import Saying

from zephyrctl.evaluation.benchmark import Answer, Match
from zephyrctl.evaluation.judges.contract import JudgeReply
from zephyrctl.evaluation.judges.replay import ReplayJudge
from zephyrctl.evaluation.own.questions import OwnQuestion
from zephyrctl.evaluation.ratings import Counted
from zephyrctl.evaluation.verdicts import RATINGS

SFT = Match("sft")


def test_repeats_are_averaged_within_their_turn(tmp_path):
    # Question 1 is sampled (writing), question 2 greedy: a deterministic judge gives its repeats
    # one reply, and it must not weigh less for that.
    ratings = {"a": 2, "b": 4, "c": 6, "d": 8, "2": 10, "4": 10}
    judge = Saying(lambda r: f"[[{ratings[r.user.split('|')[-1]]}]]", is_deterministic=True)
    bench = open_small(tmp_path, judge, repeats=2)
    given = [*answers("a", "b", "2", "4"), *answers("c", "d", "2", "4", sample=1)]
    rows = bench.judge({"sft": given}, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    assert len(judge.asked) == 6
    scores = bench.aggregate(rows, SFT)
    assert scores.by_question == {1: (4 + 6) / 2, 2: 10}
    assert scores.scores[0].value == pytest.approx((4 + 6 + 10 + 10) / 4)
    assert scores.details["repeats"] == 2
    assert scores.details["n"] == 8
    assert scores.details["coverage"] == 1


@pytest.mark.parametrize("rating", [1, 10])
def test_equal_ratings_leave_an_interval_that_stays_on_the_scale(tmp_path, rating):
    bench = open_small(tmp_path, Saying(lambda request: f"[[{rating}]]"))
    given = {"sft": answers("a", "b", "c", "d")}
    rows = bench.judge(given, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    average = bench.aggregate(rows, SFT).scores[0]
    assert average.value == rating
    assert 1 <= average.low <= rating <= average.high <= 10
    assert average.high - average.low > 1


def test_a_judge_that_says_nothing_is_told_to_need_more_room(tmp_path):
    judge = Saying(lambda request: "" if request.turn == 1 else "[[5]]")
    bench = open_small(tmp_path, judge)
    given = {"sft": answers("a", "b", "c", "d")}
    rows = bench.judge(given, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    notices = bench.aggregate(rows, SFT).notices
    assert any("2 judgments are empty" in text and "max_tokens" in text for text in notices)


def test_an_interval_draws_questions_and_not_their_repeats():
    questions = [OwnQuestion(n, "c", ("x", "y")) for n in range(40)]
    rng = np.random.default_rng(0)
    level = rng.integers(2, 9, size=40)
    once = [
        {"question_id": n, "turn": t, "sample": s, "rating": float(level[n] + t - 1),
         "judgment": "", "stopped": True}
        for n in range(40) for t in (1, 2) for s in (0, 1, 2)
    ]  # fmt: skip
    counted = Counted.of(once, questions)
    assert len(counted.means) == 80
    from zephyrctl.evaluation.cells import cell_interval

    found = cell_interval(counted.means, questions, replicates=4000, seed=1, scale=(1.0, 10.0))
    # By hand: the standard error of the mean of 40 question means, in fp64.
    means = level + 0.5
    error = means.std() / math.sqrt(40)
    assert found.value == pytest.approx(means.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.08)


@pytest.mark.parametrize(
    ("lost", "incomplete", "has_score"), [(0, False, True), (5, False, True), (6, True, True),
                                          (20, True, True), (21, False, False)],
)  # fmt: skip
def test_coverage_decides_whether_there_is_a_score(tmp_path, lost, incomplete, has_score):
    questions = [
        {"question_id": n, "category": "writing", "turns": [f"Say {n}."]} for n in range(100)
    ]
    from tests.evaluation.mt_bench.small import write_files

    from zephyrctl.evaluation.mt_bench.benchmark import MtBench
    from zephyrctl.evaluation.mt_bench.formats import read_mt_bench

    files = read_mt_bench(str(write_files(tmp_path, questions)), references="original")
    judge = Saying(lambda r: "[[none]]" if r.question_id < lost else "[[7]]")
    bench = MtBench(files, judge, recipe=recipe())
    given = [Answer(n, 1, f"{n}", 1, True) for n in range(100)]
    rows = bench.judge({"sft": given}, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    scores = bench.aggregate(rows, SFT)
    assert bool(scores.scores) is has_score
    assert (scores.gate is not None) is has_score
    assert any("incomplete" in notice for notice in scores.notices) is incomplete
    assert scores.details["incomplete"] is (incomplete or not has_score)
    assert any("no score" in notice for notice in scores.notices) is not has_score
    assert scores.details["coverage"] == (100 - lost) / 100
    assert scores.details["unparsed"] == lost


def test_a_rating_by_probability_is_the_expected_one_and_text_is_said(tmp_path):
    def reply(request):
        assert request.options[-1] == "10"
        if request.question_id == 1:
            return JudgeReply("8", {"8": math.log(0.5), "7": math.log(0.5)})
        return JudgeReply("9")

    judge = Saying(reply)
    bench = open_small(tmp_path, judge, **{"judge.scoring": "probabilities"})
    rows = bench.judge(
        {"sft": answers("a", "b", "2", "4")}, SFT, path=tmp_path / "j.jsonl", on_done=silent
    )
    assert [row["rating"] for row in rows] == [7.5, 7.5, 9, 9]
    scores = bench.aggregate(rows, SFT)
    assert scores.scores[0].value == pytest.approx(8.25)
    assert scores.details["by_probability"] == 2
    assert scores.details["prompts"] == "verdict alone"
    assert any("2 of 4 ratings" in notice for notice in scores.notices)


def test_stale_rows_of_other_questions_do_not_count():
    rows = [
        {"question_id": n, "turn": 1, "sample": 0, "rating": 5, "judgment": "[[5]]",
         "stopped": False}
        for n in (1, 99)
    ]  # fmt: skip
    counted = Counted.of(rows, [OwnQuestion(1, "c", ("x",))])
    assert (counted.n, counted.coverage, counted.truncated) == (1, 1.0, 1)


def test_recorded_probabilities_come_to_the_same_rating(tmp_path):
    said = {"1": 0.3, "9": 0.7}
    live = Saying(lambda r: JudgeReply("9", {o: math.log(said.get(o, 1e-300)) for o in RATINGS}))
    settings = {"judge.scoring": "probabilities"}
    bench = open_small(tmp_path, live, **settings)
    path = tmp_path / "judgments.jsonl"
    given = answers("a", "b", "2", "4")
    rows = bench.judge({"sft": given}, SFT, path=path, on_done=silent)
    recorded = tmp_path / "recorded.jsonl"
    for row in rows:
        row["probabilities"] = {o: said.get(o, 0.0) for o in RATINGS}
    recorded.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = f"replay:{recorded}"
    again = open_small(tmp_path, ReplayJudge(recipe(**{"judge.spec": spec})), **settings)
    found = again.judge({"sft": given}, SFT, path=tmp_path / "again.jsonl", on_done=silent)
    assert [row["rating"] for row in found] == pytest.approx([0.3 + 9 * 0.7] * 4)
