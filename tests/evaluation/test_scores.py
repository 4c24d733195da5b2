"""Which earlier scores stand beside fresh ones: those had in the same way, of the same weights."""

import json
from pathlib import Path

from zephyrctl.evaluation.benchmark import Answer, Match
from zephyrctl.evaluation.rules import Rules, parse_question
from zephyrctl.evaluation.scores import Places, asked_as, standing, write_scores


def rules(longest: int = 8) -> Rules:
    row = {"question_id": 1, "turns": ["Say hi."], "checks": [{"name": "contains", "value": "hi"}]}
    return Rules([parse_question(json.dumps(row), where="here")], max_new_tokens=longest)


def scored_before(folder: Path, *, weights: str) -> Places:
    bench, match = rules(), Match("sft")
    places = Places(folder, bench.judge_folder)
    answers = {"sft": [Answer(1, 1, "hi", 1, True)]}
    path = places.judgments(match)
    rows = bench.judge(answers, match, path=path, on_done=lambda done, total: None)
    about = {"asked_as": asked_as(bench), "weights": weights}
    write_scores(places.scores(match), bench.aggregate(rows, match), about=about)
    return places


def test_scores_of_the_same_weights_stand(tmp_path: Path) -> None:
    places = scored_before(tmp_path, weights="one")
    found = standing(places, rules(), fresh={}, weights_of=lambda model: "one")
    assert found["sft"].scores[0].value == 1.0


def test_scores_of_weights_that_were_trained_again_do_not(tmp_path: Path) -> None:
    places = scored_before(tmp_path, weights="one")
    assert standing(places, rules(), fresh={}, weights_of=lambda model: "two") == {}


def test_scores_of_answers_drawn_otherwise_do_not(tmp_path: Path) -> None:
    places = scored_before(tmp_path, weights="one")
    assert standing(places, rules(longest=9), fresh={}, weights_of=lambda model: "one") == {}
