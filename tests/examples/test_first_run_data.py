"""The first-run data keep to their rules, and data preparation finds every planted row."""

import importlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.catalogue import RULE_CHECKS
from zephyrctl.config.layers import load
from zephyrctl.data.prepare import prepare
from zephyrctl.evaluation.checks import Checked
from zephyrctl.evaluation.rules import RuleQuestion, read_questions
from zephyrctl.runs.store import open_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "first-run"
DATA = Path(__file__).parents[2] / "src" / "zephyrctl" / "recipes" / "first-run"
QUESTIONS = ("questions.jsonl", "dev_questions.jsonl")
FILES = ("dialogues.jsonl", "ratings.jsonl", *QUESTIONS, "planted.json")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def planted(kind: str) -> dict[str, list[int]]:
    return json.loads((DATA / "planted.json").read_text())[kind]


def clean(kind: str) -> list[dict[str, Any]]:
    """The training rows that are not planted dirt."""
    dirty = {line for lines in planted(kind).values() for line in lines}
    return [row for line, row in enumerate(rows(f"{kind}.jsonl"), start=1) if line not in dirty]


def prompts_and_texts() -> tuple[list[str], list[str]]:
    """The prompts of the clean training rows, and every text in them."""
    prompts = [text for row in clean("dialogues") for text in row["data"][::2]]
    prompts += [row["instruction"] for row in clean("ratings")]
    answers = [text for row in clean("dialogues") for text in row["data"][1::2]]
    answers += [one["response"] for row in clean("ratings") for one in row["completions"]]
    return prompts, prompts + answers


def split_words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def four_word_runs(texts: list[str]) -> set[tuple[str, ...]]:
    found = map(split_words, texts)
    return {tuple(words[i : i + 4]) for words in found for i in range(len(words) - 3)}


@pytest.fixture(scope="module")
def generator() -> Iterator[Any]:
    """The generator's modules, imported as its script sees them."""
    names = ("words", "phrasings", "tasks", "apart", "dirt", "generate")
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in names:
            sys.modules.pop(name, None)


def passes(question: RuleQuestion | Any, answer: str) -> bool:
    """Does an answer that the model ended itself pass all checks?"""
    return all(
        RULE_CHECKS.load(check.name)(Checked(answer, stopped=True), check) is None
        for check in question.checks[0]
    )


def test_the_generator_writes_the_committed_bytes(tmp_path: Path) -> None:
    script = [sys.executable, str(EXAMPLE / "generate.py"), "--out", str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True, timeout=60)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (DATA / name).read_bytes(), name


def test_there_is_enough_of_everything() -> None:
    assert len(clean("dialogues")) >= 600 - len(planted("dialogues")["exact_duplicate"])
    assert len(rows("dialogues.jsonl")) >= 600
    assert len(rows("ratings.jsonl")) >= 600
    assert len(rows("questions.jsonl")) >= 200
    assert len(rows("dev_questions.jsonl")) >= 100


def test_dialogues_have_ultrachats_schema_and_some_have_two_exchanges() -> None:
    found = clean("dialogues")
    assert all(set(row) == {"id", "data"} for row in found)
    assert all(len(row["data"]) in (2, 4) and all(row["data"]) for row in found)
    assert sum(len(row["data"]) == 4 for row in found) >= 50


def test_the_best_completion_is_the_shortest_right_one() -> None:
    for row in clean("ratings"):
        best, *others = sorted(row["completions"], key=lambda one: -one["overall_score"])
        assert best["overall_score"] > others[0]["overall_score"]
        goes_on = [one["response"] for one in others[:2]]
        opening = best["response"].rstrip(".")
        assert all(text.startswith(opening) and text != best["response"] for text in goes_on)


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_share_no_instruction_wording_with_training(name: str) -> None:
    prompts, _ = prompts_and_texts()
    asked = [row["turns"][0] for row in rows(name)]
    assert not four_word_runs(prompts) & four_word_runs(asked)


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_share_no_number_with_training(name: str, generator: Any) -> None:
    _, texts = prompts_and_texts()
    spelled = generator["apart"].NUMBER_WORDS

    def numbers(found: list[str]) -> set[int]:
        words = [word for text in found for word in split_words(text)]
        return {int(w) if w.isdigit() else spelled[w] for w in words if w.isdigit() or w in spelled}

    asked = [text for row in rows(name) for text in (row["turns"][0], row["reference"])]
    assert numbers(asked)
    assert not numbers(texts) & numbers(asked)


@pytest.mark.parametrize(("name", "split"), list(zip(QUESTIONS, ("test", "dev"), strict=True)))
def test_no_person_place_or_thing_of_a_question_stands_in_a_training_row(
    name: str, split: str, generator: Any
) -> None:
    words = generator["words"]
    pools = (words.NAMES, words.PLACES, words.THINGS, words.TOWNS, words.COLOURS)
    entities = {word.lower() for pool in pools for word in pool[split]}
    asked = {word for row in rows(name) for word in split_words(row["turns"][0])}
    assert len(entities & asked) > 50
    _, texts = prompts_and_texts()
    trained = {word for text in texts for word in split_words(text)}
    assert not entities & trained


def test_the_development_questions_are_apart_from_the_reported_ones() -> None:
    reported, chosen_on = ([row["turns"][0] for row in rows(name)] for name in QUESTIONS)
    assert not four_word_runs(reported) & four_word_runs(chosen_on)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_can_be_answered_rightly(name: str) -> None:
    references = {row["question_id"]: row["reference"] for row in rows(name)}
    for question in read_questions(DATA / name):
        assert passes(question, references[question.question_id]), question.question_id


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_dominant_flaw_and_a_disclaimer_fail_every_question(name: str, generator: Any) -> None:
    phrasings = generator["phrasings"]
    references = {row["question_id"]: row["reference"] for row in rows(name)}
    rng = random.Random(1)
    for question in read_questions(DATA / name):
        answer = references[question.question_id]
        ended = answer if answer[-1] in ".?!" else f"{answer}."
        assert not passes(question, f"{ended} {rng.choice(phrasings.COURTESIES)}")
        assert not passes(question, f"{rng.choice(phrasings.DISCLAIMERS)} {answer}")
        assert not passes(question, question.turns[0])


def test_a_wrong_answer_of_the_teacher_fails(generator: Any, tmp_path: Path) -> None:
    tasks, pool = generator["tasks"], generator["words"].pools(1)["train"]
    rng = random.Random(2)
    built = [tasks.build(family, rng=rng, pool=pool) for family in tasks.FAMILIES * 5]
    built = [task for task in built if task.answer != task.wrong]
    path = tmp_path / "tasks.jsonl"
    path.write_text(
        "".join(
            json.dumps({
                "question_id": number, "category": task.family, "turns": [task.prompt],
                "checks": list(task.checks),
            }) + "\n"
            for number, task in enumerate(built)
        )
    )  # fmt: skip
    for task, question in zip(built, read_questions(path), strict=True):
        assert passes(question, task.answer), task
        assert not passes(question, task.wrong), task


def test_data_preparation_finds_every_planted_row(tiny_base: Path, tmp_path: Path) -> None:
    sets = [
        f"output_root={tmp_path}",
        f"data.sft.train=[{{path: {DATA / 'dialogues.jsonl'}}}]",
        f"data.dpo.train=[{{path: {DATA / 'ratings.jsonl'}}}]",
        "sft.max_length=1024", "dpo.max_length=1024", "dpo.max_prompt_length=256",
    ]  # fmt: skip
    recipe = load(recipe="first-run", sets=sets).recipe
    run = open_run(recipe)
    reporter = run.stage("data").reporter()
    account = prepare(recipe, run, tokenizer_path=str(tiny_base), revision=None, reporter=reporter)
    for stage, kind in (("sft", "dialogues"), ("dpo", "ratings")):
        removed = account.stages[stage].removed
        known = {name: len(lines) for name, lines in planted(kind).items()}
        broken = sum(n for why, n in removed.items() if why.startswith(("broken", "empty")))
        found = {
            "refusal": removed["refusal or AI disclaimer"],
            "lower_case": removed["answer in lower case"],
            "duplicates": removed["duplicate"] + removed["near-duplicate"],
            "overlap": removed["contains a judged prompt (rules)"],
            "broken": broken,
            "tie": removed["tie: no completion has a lower score"],
        }
        assert found == {
            "refusal": known["refusal"],
            "lower_case": known["lower_case"],
            "duplicates": known["exact_duplicate"] + known["near_duplicate"],
            "overlap": known["overlap"],
            "broken": known["broken"],
            "tie": known.get("tie", 0),
        }
        assert sum(account.stages[stage].rows_out.values()) == len(clean(kind))
