"""Question files, verdicts and scores of the benchmark `rules`."""

import json
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.benchmark import Answer, LeftOut, Match
from zephyrctl.evaluation.rules import Rules, benchmark, parse_question, read_questions

STOPPED = [{"name": "stopped"}]


def row(**changes: Any) -> dict[str, Any]:
    return {"question_id": 1, "turns": ["Say hi."], "checks": ["stopped"], **changes}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answers(texts: dict[int, str]) -> list[Answer]:
    return [Answer(question, 1, text, len(text.split()), True) for question, text in texts.items()]


def judged(rules: Rules, given: list[Answer], path: Path) -> list[dict[str, Any]]:
    return rules.judge({"sft": given}, Match("sft"), path=path, on_done=lambda done, total: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question_id": None}, "question_id"),
        ({"question_id": True}, "question_id"),
        ({"turns": []}, "turns"),
        ({"turns": "Say hi."}, "turns"),
        ({"turns": ["  "]}, "turns"),
        ({"category": 3}, "category"),
        ({"checks": []}, "checks"),
        ({"checks": None}, "checks"),
        ({"checks": [3]}, "a check is a name"),
        ({"check": []}, "unknown key 'check'; did you mean 'checks'"),
        ({"checks": ["stoped"]}, "unknown rule check 'stoped'; did you mean 'stopped'"),
        ({"checks": [{"name": "max_words"}]}, "check 'max_words': value: Field required"),
        ({"checks": [{"name": "max_words", "value": -1}]}, "check 'max_words': value"),
        ({"checks": [{"name": "max_words", "valeu": 1}]}, "unknown parameter|Field required"),
        ({"checks": [{"name": "regex", "value": "("}]}, "no regular expression"),
        ({"checks": [{"name": "list_items"}]}, "either 'value' or 'count'"),
        ({"checks": [["stopped"], ["stopped"]]}, "2 lists of checks for 1 turns"),
    ],
)
def test_a_broken_question_names_its_line_and_what_is_wrong(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "q.jsonl", [row(), row(question_id=2) | changes])
    with pytest.raises(DataError, match=message) as caught:
        read_questions(path)
    assert caught.value.where == f"{path}:2"


def test_files_that_are_no_question_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="empty"):
        read_questions(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(DataError, match="stands twice"):
        read_questions(write(tmp_path / "twice.jsonl", [row(), row()]))
    (tmp_path / "bad.jsonl").write_text("{not json}\n")
    with pytest.raises(DataError, match="no JSON"):
        read_questions(tmp_path / "bad.jsonl")


def test_a_question_may_hold_what_python_calls_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    line = json.dumps(row(turns=["one\u2028two"]), ensure_ascii=False)
    path.write_text(f"{line}\r\n", encoding="utf-8")
    assert read_questions(path)[0].turns == ("one\u2028two",)


def test_a_flat_list_of_checks_belongs_to_the_last_turn() -> None:
    question = parse_question(json.dumps(row(turns=["a", "b"], checks=["stopped"])), where="here")
    assert [len(checks) for checks in question.checks] == [0, 1]


def test_later_turns_see_the_models_own_replies_and_the_system_prompt(tmp_path: Path) -> None:
    rows = [row(turns=["first", "second"], system="be brief", checks=[STOPPED, STOPPED])]
    rules = Rules(read_questions(write(tmp_path / "q.jsonl", rows)), max_new_tokens=8)
    question = rules.questions[0]
    assert rules.conversation(question, []) == [
        Message("system", "be brief"), Message("user", "first"),
    ]  # fmt: skip
    assert rules.conversation(question, ["ok"])[1:] == [
        Message("user", "first"), Message("assistant", "ok"), Message("user", "second"),
    ]  # fmt: skip


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    rows = [
        row(question_id=number, category="even" if number % 2 == 0 else "odd",
            turns=[f"Say {number}."],
            checks=[{"name": "number", "value": number}, {"name": "max_words", "value": 1}])
        for number in range(1, 9)
    ]  # fmt: skip
    return Rules(read_questions(write(tmp_path / "q.jsonl", rows)), max_new_tokens=8)


def test_scores_are_shares_of_answers_with_their_intervals(rules: Rules, tmp_path: Path) -> None:
    texts = {number: str(number) for number in range(1, 9)}
    texts[2] = "2 it is"
    texts[3] = "I'm sorry, but I can't help with that."
    rows = judged(rules, answers(texts), tmp_path / "judgments.jsonl")
    scores = rules.aggregate(rows, Match("sft"))
    values = {score.metric: score for score in scores.scores}
    assert list(values) == ["pass_rate"]
    assert values["pass_rate"].value == pytest.approx(6 / 8)
    assert 0.3 < values["pass_rate"].low < 0.75 < values["pass_rate"].high <= 1
    assert values["pass_rate"].n == 8
    assert scores.by_question[2] == 0
    assert scores.gate == pytest.approx(0.75)
    assert scores.details["failed_checks"] == {"number": 1, "max_words": 2}
    assert scores.details["categories"]["even"]["pass_rate"] == pytest.approx(3 / 4)


def test_each_failed_check_says_what_it_found(rules: Rules, tmp_path: Path) -> None:
    path = tmp_path / "judgments.jsonl"
    judged(rules, answers({1: "one of 7"}), path)
    (stored,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert stored["passed"] is False
    assert stored["checks"] == [
        {"name": "number", "passed": False, "found": "is 7"},
        {"name": "max_words", "passed": False, "found": "3 words"},
    ]
    assert stored["answer"] == "one of 7"


def test_two_turns_of_a_question_are_one_cluster(tmp_path: Path) -> None:
    rows = [
        row(question_id=number, turns=["a", "b"], checks=[STOPPED, STOPPED]) for number in range(6)
    ]
    rules = Rules(read_questions(write(tmp_path / "q.jsonl", rows)), max_new_tokens=8)
    given = [Answer(number, turn, "x", 1, number < 3) for number in range(6) for turn in (1, 2)]
    scores = rules.aggregate(judged(rules, given, tmp_path / "j.jsonl"), Match("m"))
    assert scores.scores[0].n == 12
    assert scores.by_question == {0: 1, 1: 1, 2: 1, 3: 0, 4: 0, 5: 0}


def test_the_digest_follows_questions_and_checks(tmp_path: Path) -> None:
    one = Rules(read_questions(write(tmp_path / "a.jsonl", [row()])), max_new_tokens=8)
    spaced = tmp_path / "b.jsonl"
    spaced.write_text("\n" + json.dumps(row(), indent=None).replace(": ", ":   ") + "\n\n")
    other = write(tmp_path / "c.jsonl", [row(checks=["stopped", "one_line"])])
    assert one.digest == Rules(read_questions(spaced), max_new_tokens=8).digest
    assert one.digest != Rules(read_questions(other), max_new_tokens=8).digest


def test_the_recipe_decides_questions_and_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [row(question_id=number) for number in range(5)])
    recipe = Recipe.model_validate({"eval": {"rules": {"questions": str(path), "limit": 3}}})
    made = benchmark(recipe)
    assert isinstance(made, Rules)
    assert [question.question_id for question in made.questions] == [0, 1, 2]
    assert isinstance(benchmark(Recipe()), LeftOut)


def test_the_packaged_questions_parse() -> None:
    from zephyrctl.config import recipes

    folder = Path(recipes.__file__).parents[1] / "recipes"
    files = sorted(folder.glob("*/*questions*.jsonl"))
    assert len(files) >= 4
    for path in files:
        assert len(read_questions(path)) >= 80
