"""The benchmark `own`: questions, rubric, fenced answers, scores."""

import json
from pathlib import Path

import pytest
from tests.evaluation.mt_bench.small import silent
from tests.evaluation.saying import Saying
from tests.fakes import FakeEndpoint

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import Answer, LeftOut, Match
from zephyrctl.evaluation.own.benchmark import Own, benchmark
from zephyrctl.evaluation.own.questions import read_questions
from zephyrctl.evaluation.own.rubric import read_rubric

SFT = Match("sft")
ROWS = [
    {"question_id": "a", "turns": ["2+2?"], "category": "sums", "reference": ["4"]},
    {"question_id": "b", "turns": ["Hi.", "In French.", "In German."]},
]
GIVEN = [
    Answer("a", 1, "four", 1, True),
    Answer("b", 1, "Hi", 1, True),
    Answer("b", 2, "Salut", 1, True),
    Answer("b", 3, "Hallo", 1, False),
]


def write(folder: Path, name: str = "mine.v2.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def recipe(judge: str | None = "openai:judge-1", **own) -> Recipe:
    return Recipe.model_validate({"eval": {"judge": {"spec": judge}, "own": own, "bootstrap": 200}})


def open_own(folder: Path, judge: Saying, **own) -> Own:
    asked = recipe(questions=str(write(folder)), **own)
    return Own("own-mine", read_questions(write(folder)), read_rubric(None), judge, recipe=asked)


def test_every_turn_is_rated_with_fenced_answers(tmp_path):
    judge = Saying(lambda r: f"Rating: [[{4 + r.turn}]]")
    bench = open_own(tmp_path, judge)
    rows = bench.judge({"sft": GIVEN}, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    assert [(r.question_id, r.turn) for r in judge.asked] == [
        ("a", 1), ("b", 1), ("b", 2), ("b", 3),
    ]  # fmt: skip
    last = judge.asked[-1]
    mark = last.user.split("<<")[1].split(" ")[0]
    assert f"<<{mark}\nHallo\n{mark}>>" in last.user
    assert f"<<{mark}\nSalut\n{mark}>>" in last.user
    assert "Hallo" not in judge.asked[-2].user
    assert last.system == ""

    scores = bench.aggregate(rows, SFT)
    assert [(s.metric, s.value, s.n) for s in scores.scores] == [
        ("average", (5 + 5 + 6 + 7) / 4, 4),
        ("turn_1", 5, 2),
        ("turn_2", 6, 1),
        ("turn_3", 7, 1),
    ]
    assert {score.benchmark for score in scores.scores} == {"own-mine"}
    assert set(scores.details["categories"]) == {"sums", "general"}
    assert scores.details["references"] == "1 of 2"
    assert scores.details["truncated"] == 1
    assert scores.by_question == {"a": 5, "b": 6}


def test_the_name_says_the_file_and_temperature_is_the_categorys_or_ones_own(tmp_path):
    with FakeEndpoint() as server:
        spec = server.spec
        bench = benchmark(recipe(spec, questions=str(write(tmp_path))))
        warm = benchmark(recipe(spec, questions=str(write(tmp_path)), temperature=0.3))
    assert isinstance(bench, Own)
    assert isinstance(warm, Own)
    assert bench.name == "own-mine"
    assert bench.sampling(bench.questions[0], sample=0).temperature == 0.7
    assert warm.sampling(warm.questions[0], sample=0).temperature == 0.3
    assert bench.matches(["sft", "dpo"], baseline="sft") == [Match("sft"), Match("dpo")]


def test_without_questions_or_judge_it_is_left_out(tmp_path):
    assert isinstance(benchmark(recipe()), LeftOut)
    assert isinstance(benchmark(recipe(None, questions=str(write(tmp_path)))), LeftOut)


def test_a_broken_rubric_is_found_before_anything_is_asked(tmp_path):
    rubric = tmp_path / "mine.jinja"
    rubric.write_text("Judge.\n{{ anser }} [[1]]")
    with FakeEndpoint() as server, pytest.raises(DataError, match="anser") as caught:
        benchmark(recipe(server.spec, questions=str(write(tmp_path)), rubric=str(rubric)))
    assert caught.value.where == f"{rubric}:2"
    assert server.requests == []


def test_another_rubric_or_question_is_another_benchmark(tmp_path):
    judge = Saying(lambda r: "[[5]]")
    first = open_own(tmp_path, judge)
    rubric = tmp_path / "mine.jinja"
    rubric.write_text("{{ answer }} [[1]]")
    questions = read_questions(write(tmp_path))
    second = Own("own-mine", questions, read_rubric(rubric), judge, recipe=recipe())
    third = Own("own-mine", questions[:1], read_rubric(None), judge, recipe=recipe())
    assert len({first.digest, second.digest, third.digest}) == 3


def test_a_shortened_benchmark_is_marked_incomplete(tmp_path):
    asked = recipe(questions=str(write(tmp_path)), limit=1)
    questions = read_questions(write(tmp_path))
    bench = Own("own-mine", questions, read_rubric(None), Saying(lambda r: "[[5]]"), recipe=asked)
    rows = bench.judge({"sft": GIVEN[:1]}, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    scores = bench.aggregate(rows, SFT)
    assert scores.notices == ("sft: incomplete, 1 of 2 questions were asked",)
    assert scores.details["incomplete"] is True
