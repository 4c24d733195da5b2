"""Judgments of every kind in one shape."""

import json
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.evaluation.benchmark import Match
from zephyrctl.evaluation.exchange.standing import Judged
from zephyrctl.evaluation.shown import Shown, beside, in_order, shown_of


def judged(
    folder: Path, rows: list[dict[str, Any]], *, model: str = "dpo", opponent: str | None = None,
    benchmark: str = "mt-bench",
) -> Judged:  # fmt: skip
    place = folder / benchmark / model / "gpt-4"
    place = place if opponent is None else place / f"vs-{opponent}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "judgments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Judged(benchmark, Match(model, opponent), place)


def answered(folder: Path, model: str, texts: dict[int, str], *, benchmark: str) -> None:
    rows = [{"question_id": n, "turn": 1, "answer": text} for n, text in texts.items()]
    path = folder / benchmark / model / "answers.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def verdicts(shown: Shown) -> list[tuple[str, str, float | None]]:
    return [(said.model, said.verdict, said.worth) for said in shown.said]


def test_verdicts_of_checks_name_what_failed(tmp_path: Path) -> None:
    checks = [{"name": "number", "passed": False, "found": "is 7"},
              {"name": "one_line", "passed": True, "found": None}]  # fmt: skip
    rows = [
        {"question_id": 1, "turn": 1, "category": "c", "prompt": "Say 3.", "answer": "7",
         "passed": False, "checks": checks},
        {"question_id": 2, "turn": 1, "prompt": "Say 3.", "answer": "3", "passed": None,
         "checks": []},
    ]  # fmt: skip
    first, second = shown_of(judged(tmp_path, rows, benchmark="rules"))
    assert verdicts(first) == [("dpo", "failed", 0.0)]
    assert first.remarks == (("number", "is 7"),)
    assert (first.prompt, first.said[0].text, first.category) == ("Say 3.", "7", "c")
    assert verdicts(second) == [("dpo", "not checked", None)]


def test_ratings_show_the_rating_and_the_judges_words(tmp_path: Path) -> None:
    rows = [
        {"question_id": 81, "turn": 1, "score": -1, "rating": None, "judgment": "No idea",
         "answer": "a", "prompt": "P"},
        {"question_id": 82, "turn": 1, "score": 7, "rating": 7, "judgment": "Good: [[7]]",
         "answer": "b", "prompt": "P"},
        {"question_id": 82, "turn": 1, "score": 6, "rating": 6.512, "judgment": "again",
         "answer": "b", "prompt": "P"},
    ]  # fmt: skip
    first, second = shown_of(judged(tmp_path, rows))
    assert verdicts(first) == [("dpo", "no verdict", None)]
    assert verdicts(second) == [("dpo", "6.51 of 10", 6.512)]  # the last row of a place counts
    assert second.remarks == (("judgment", "again"),)


def test_an_imported_row_takes_prompt_and_answer_from_where_they_are(tmp_path: Path) -> None:
    user = "[Instruction]\nJudge.\n\n[Question]\nWhy\nso?\n\n[The Start of Assistant's Answer]\nx"
    later = "### User:\nOne?\n\n### Assistant A:\na\n\n### User:\nTwo?\n\n### Assistant A:\nb"
    rows = [
        {"question_id": 81, "turn": 1, "score": 7, "judgment": "j", "user_prompt": user},
        {"question_id": 82, "turn": 2, "score": 7, "judgment": "j", "user_prompt": later},
        {"question_id": 83, "turn": 1, "score": 7, "judgment": "j", "user_prompt_sha256": "0"},
    ]  # fmt: skip
    answered(tmp_path, "dpo", {81: "from the file"}, benchmark="mt-bench")
    first, second, third = shown_of(judged(tmp_path, rows))
    assert (first.prompt, first.said[0].text) == ("Why\nso?", "from the file")
    assert (second.prompt, second.said[0].text) == ("Two?", None)
    assert third.prompt is None


def test_the_two_games_of_a_pair_are_one_verdict(tmp_path: Path) -> None:
    base = {"model_1": "dpo", "model_2": "sft", "judge": ["j", "p"], "turn": 1, "prompt": "P",
            "category": "c"}  # fmt: skip
    rows = [
        {**base, "question_id": 1, "g1_winner": "model_1", "g1_judgment": "A it is"},
        {**base, "question_id": 1, "g2_winner": "model_1", "g2_judgment": "B it is"},
        {**base, "question_id": 2, "g1_winner": "model_2", "g1_judgment": "x"},
        {**base, "question_id": 2, "g2_winner": "model_1", "g2_judgment": "y"},
        {**base, "question_id": 3, "g1_winner": "error", "g1_judgment": "?"},
    ]  # fmt: skip
    answered(tmp_path, "dpo", {1: "mine"}, benchmark="mt-bench")
    answered(tmp_path, "sft", {1: "theirs"}, benchmark="mt-bench")
    won, tied, lost = shown_of(judged(tmp_path, rows, opponent="sft"))
    assert verdicts(won) == [("dpo", "won", 1.0), ("sft", "lost", 0.0)]
    assert [said.text for said in won.said] == ["mine", "theirs"]
    assert won.remarks == (
        ("judgment, dpo first: dpo wins", "A it is"), ("judgment, sft first: dpo wins", "B it is"),
    )  # fmt: skip
    assert verdicts(tied) == [("dpo", "tie", 0.5), ("sft", "tie", 0.5)]
    assert verdicts(lost) == [("dpo", "no verdict", None), ("sft", "no verdict", None)]


def test_both_orders_of_a_preference_are_one_verdict(tmp_path: Path) -> None:
    base = {
        "turn": 1, "sample": 0, "instruction": "Do it.", "category": "c", "model": "dpo",
        "output_1": "base's", "output_2": "mine", "generator_1": "gpt4", "generator_2": "dpo",
    }  # fmt: skip
    rows = [
        {**base, "question_id": 0, "order": 1, "preference": 1.9, "judgment": "M", "score": 0.9},
        {**base, "question_id": 0, "order": 2, "preference": 1.5, "judgment": "m", "score": 0.5},
        {**base, "question_id": 1, "order": 2, "preference": None, "judgment": "?", "score": None},
        {**base, "question_id": 2, "order": 0, "preference": 1.5, "judgment": "", "score": 0.5},
    ]  # fmt: skip
    first, unread, same = shown_of(judged(tmp_path, rows, benchmark="alpaca-eval"))
    assert [(m, v) for m, v, _ in verdicts(first)] == [
        ("dpo", "preferred 70%"), ("gpt4", "preferred 30%"),
    ]  # fmt: skip
    assert first.worth == pytest.approx(0.7)
    assert [said.text for said in first.said] == ["mine", "base's"]
    assert first.remarks == (("judgment, gpt4 first", "M"), ("judgment, dpo first", "m"))
    assert unread.worth is None
    assert same.remarks == ()


def test_beside_another_model_the_difference_counts(tmp_path: Path) -> None:
    def rows(values: dict[int, float | None]) -> list[dict[str, Any]]:
        return [
            {"question_id": n, "turn": 1, "rating": value, "judgment": f"j{n}", "prompt": "P",
             "answer": str(n)}
            for n, value in values.items()
        ]  # fmt: skip

    mine = shown_of(judged(tmp_path, rows({1: 5.0, 2: 9.0, 3: None, 4: 1.0})))
    theirs = shown_of(judged(tmp_path, rows({1: 9.0, 2: 4.0, 3: 5.0}), model="sft"))
    found = beside(mine, theirs)
    assert [(item.question_id, item.worth) for item in found] == [(1, -4.0), (2, 5.0), (3, None)]
    assert verdicts(found[0]) == [("dpo", "5 of 10", 5.0), ("sft", "9 of 10", 9.0)]
    assert found[0].remarks == (("dpo: judgment", "j1"), ("sft: judgment", "j1"))
    assert [item.question_id for item in in_order(found, best=False)] == [3, 1, 2]
    assert [item.question_id for item in in_order(found, best=True)] == [2, 1, 3]
