"""How answers behave, beside what they are worth."""

import json
from pathlib import Path

import pytest

from zephyrctl.evaluation.benchmark import Answer, Match, Scores
from zephyrctl.evaluation.conduct import with_conduct
from zephyrctl.evaluation.rules import Rules, parse_question

TEXTS = [
    "one", "two", "I'm sorry, but I can't help with that.", "As an AI language model, I pass.",
    "five", "six and six", "It is important to note that seven varies.", "eight",
]  # fmt: skip


@pytest.fixture
def rules() -> Rules:
    row = {"turns": ["Say something."], "checks": ["one_line"]}
    lines = [json.dumps({**row, "question_id": number}) for number in range(8)]
    return Rules([parse_question(line, where="here") for line in lines], max_new_tokens=8)


def answers() -> list[Answer]:
    return [Answer(number, 1, text, 3, number != 0) for number, text in enumerate(TEXTS)]


def measured(rules: Rules, given: list[Answer], path: Path) -> Scores:
    match = Match("dpo")
    judgments = rules.judge({"dpo": given}, match, path=path, on_done=lambda done, total: None)
    return with_conduct(
        rules.aggregate(judgments, match), given, benchmark=rules, match=match,
        replicates=500, seed=1,
    )  # fmt: skip


def test_refusals_hedges_ends_and_length_stand_beside_the_score(
    rules: Rules, tmp_path: Path
) -> None:
    scores = measured(rules, answers(), tmp_path / "judgments.jsonl")
    values = {score.metric: score for score in scores.scores}
    assert list(values) == [
        "pass_rate", "refusal_rate", "hedging_rate", "stopped_rate", "mean_words",
    ]  # fmt: skip
    assert values["refusal_rate"].value == pytest.approx(2 / 8)
    assert 0 <= values["refusal_rate"].low < 2 / 8 < values["refusal_rate"].high < 1
    assert values["hedging_rate"].value == pytest.approx(1 / 8)
    assert values["stopped_rate"].value == pytest.approx(7 / 8)
    assert values["mean_words"].value == pytest.approx(sum(len(t.split()) for t in TEXTS) / 8)
    assert {score.n for score in scores.scores} == {8}
    assert {score.judge for score in scores.scores} == {None}
    assert (scores.details["truncated"], scores.details["answers"]) == (1, 8)
    assert scores.details["mean_tokens"] == 3
    assert scores.details["failed_checks"] == {}
    assert set(scores.details["method"]) == set(values)
    assert scores.notices == ()


def test_what_is_doubtful_about_the_answers_is_said_once(rules: Rules, tmp_path: Path) -> None:
    given = [Answer(number, 1, "the same", 3, False) for number in range(8)]
    scores = measured(rules, given, tmp_path / "judgments.jsonl")
    assert any("are the same" in text for text in scores.notices)
    assert any("ended by the model" in text for text in scores.notices)
    again = with_conduct(
        scores, given, benchmark=rules, match=Match("dpo"), replicates=100, seed=1
    )  # fmt: skip
    assert again.notices == scores.notices


def test_no_metric_of_conduct_takes_the_place_of_a_score_that_does_not_stand(
    rules: Rules,
) -> None:
    none = Scores((), {}, None)
    scores = with_conduct(
        none, answers(), benchmark=rules, match=Match("dpo"), replicates=100, seed=1
    )  # fmt: skip
    assert scores.scores == ()
    by_metric = {entry["metric"]: entry["value"] for entry in scores.details["conduct"]}
    assert by_metric["refusal_rate"] == pytest.approx(2 / 8)
