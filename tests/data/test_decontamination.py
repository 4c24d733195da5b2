"""Judged prompts are found in training rows, also in disguise, and clean rows are left alone."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.data.decontamination import Index, QuestionList, load_lists, read_questions
from zephyrctl.data.messages import Dialogue, Message
from zephyrctl.errors import DataError, NetworkError

QUESTION = (
    "Compose an engaging travel blog post about a recent trip to Hawaii, highlighting cultural "
    "experiences and must-see attractions."
)
SHORT = "Describe the colour of the evening sky."
TINY = "Who are you?"


def row(user: str, assistant: str = "Fine.") -> Dialogue:
    return Dialogue((Message("user", user), Message("assistant", assistant)), "1", "t")


@pytest.fixture(scope="module")
def index() -> Index:
    lists = [QuestionList("bench", "here", (QUESTION, SHORT, TINY))]
    return Index(lists, ngram=13, similarity=0.8)


@pytest.mark.parametrize(
    ("user", "how"),
    [
        (QUESTION, "same words"),
        (QUESTION.upper(), "same words"),
        ("  " + QUESTION.replace(",", " -- ").replace(".", "!!"), "same words"),
        ("Please do this: " + QUESTION + " Thanks.", "13 words in a row"),
        ("Hello! " + SHORT.lower() + " And be quick.", "7 words in a row"),
        (TINY.upper() + "!", "same words"),
    ],
)
def test_copies_are_found(index: Index, user: str, how: str) -> None:
    match = index.find(row(user))
    assert match is not None
    assert match.list == "bench"
    assert match.how == how


def test_question_inside_an_answer_is_found(index: Index) -> None:
    assert index.find(row("Tell me a task.", f"Here is one: {QUESTION}")) is not None


@pytest.mark.parametrize(
    "user",
    [
        "Who are you going with?",
        "Describe the colour of the morning sky.",
        "Plan a trip to Hawaii.",
    ],
)
def test_rows_that_only_resemble_are_left_alone(index: Index, user: str) -> None:
    assert index.find(row(user)) is None


def test_swapped_word_in_a_long_prompt_is_a_near_duplicate(index: Index) -> None:
    words = QUESTION.split()
    words[12] = "sights,"
    found = Index([QuestionList("b", "", (QUESTION,))], ngram=40, similarity=0.6).find(
        row(" ".join(words))
    )
    assert found is not None
    assert found.how.startswith("similarity")


def test_no_false_hits_on_clean_rows(index: Index) -> None:
    rng = random.Random(0)
    vocabulary = sorted(set((QUESTION + " " + SHORT).lower().split()))
    rows = [row(" ".join(rng.choices(vocabulary, k=15))) for _ in range(2000)]
    assert sum(index.find(item) is not None for item in rows) == 0


def test_question_files_of_every_known_kind_are_read(tmp_path: Path) -> None:
    mt_bench = tmp_path / "question.jsonl"
    mt_bench.write_text(json.dumps({"question_id": 1, "turns": ["One?", "Two?"]}) + "\n")
    alpaca = tmp_path / "alpaca.json"
    alpaca.write_text(json.dumps([{"instruction": "Three?", "dataset": "x"}]))
    plain = tmp_path / "plain.txt"
    plain.write_text("Four?\n\nFive?\n")
    found = [list(read_questions(path)) for path in (mt_bench, alpaca, plain)]
    assert found == [["One?", "Two?"], ["Three?"], ["Four?", "Five?"]]
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"foo": 1}\n')
    with pytest.raises(DataError, match="holds no prompt"):
        list(read_questions(odd))


def test_lists_come_from_the_recipe_and_absent_ones_are_marked(
    recipe_of: Callable[..., Recipe], tmp_path: Path
) -> None:
    folder = tmp_path / "mt_bench"
    folder.mkdir()
    (folder / "question.jsonl").write_text('{"turns": ["One?", "Two?"]}\n')
    data: dict[str, Any] = {"decontaminate": {"against": ["rules", "mt-bench", "./gone.jsonl"]}}
    rules, bench, gone = load_lists(recipe_of(data, eval={"data_dir": str(folder)}))
    assert bench.texts == ("One?", "Two?")
    assert (rules.texts, rules.place) == (None, "eval.rules.questions is not set")
    assert gone.texts is None


def test_required_list_that_is_absent_ends_with_exit_5(recipe_of: Callable[..., Recipe]) -> None:
    data = {"decontaminate": {"against": ["mt-bench"], "required": True}}
    with pytest.raises(NetworkError, match="cannot be checked against: mt-bench") as caught:
        load_lists(recipe_of(data))
    assert caught.value.exit_code == 5
