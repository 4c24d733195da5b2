"""Question files of one's own."""

import json

import pytest

from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.own.questions import OwnQuestion, parse_question, read_questions


def test_a_question_has_turns_and_perhaps_a_category_and_references(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [
        {"question_id": 1, "turns": ["a\u2028b"], "category": "x", "reference": ["r"]},
        {"question_id": "two", "turns": ["a", "b", "c"], "source": "me"},
        {"question_id": 3, "turns": ["a"], "reference": "r"},
        {"question_id": 4, "turns": ["a"], "reference": []},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\ufeff" + "\n\n".join(lines), encoding="utf-8")
    assert read_questions(path) == [
        OwnQuestion(1, "x", ("a\u2028b",), ("r",)),
        OwnQuestion("two", "general", ("a", "b", "c")),
        OwnQuestion(3, "general", ("a",), ("r",)),
        OwnQuestion(4, "general", ("a",)),
    ]


def test_mt_benchs_own_questions_are_read(mt_bench_dir):
    questions = read_questions(mt_bench_dir / "question.jsonl")
    assert len(questions) == 80
    assert sum(bool(question.references) for question in questions) == 39
    assert questions[0].category == "writing"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("[]", "a JSON object"),
        ("{", "no JSON"),
        ('{"turns": ["a"]}', "'question_id'"),
        ('{"question_id": true, "turns": ["a"]}', "'question_id'"),
        ('{"question_id": 1}', "'turns'"),
        ('{"question_id": 1, "turns": []}', "'turns'"),
        ('{"question_id": 1, "turns": ["a", " "]}', "none empty"),
        ('{"question_id": 1, "turns": "a"}', "'turns'"),
        ('{"question_id": 1, "turns": ["a"], "category": 3}', "'category'"),
        ('{"question_id": 1, "turns": ["a"], "reference": [1]}', "'reference'"),
        ('{"question_id": 1, "turns": ["a", "b"], "reference": ["r"]}', "1 reference for 2 turns"),
        ('{"question_id": 1, "turns": ["a"], "referense": ["r"]}', "did you mean 'reference'"),
    ],
)
def test_a_broken_question_is_refused(row, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_question(row, where="mine.jsonl:7")
    assert caught.value.where == "mine.jsonl:7"


def test_a_repeated_id_is_named_with_its_line(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question_id": 1, "turns": ["a"]}\n' * 2)
    with pytest.raises(DataError, match="stands twice") as caught:
        read_questions(path)
    assert caught.value.where == f"{path}:2"


def test_an_absent_or_empty_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="empty"):
        read_questions(tmp_path / "empty.jsonl")
