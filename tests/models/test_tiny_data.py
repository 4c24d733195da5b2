"""The tiny recipe's data are what their generator writes, and the questions are held out."""

import importlib.util
import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import zephyrctl

FOLDER = Path(zephyrctl.__file__).parent / "recipes" / "tiny"
FILES = ("dialogues.jsonl", "ratings.jsonl", "questions.jsonl", "questions-tuning.jsonl")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_tiny", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate_tiny"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", FILES)
def test_the_generator_writes_the_committed_bytes(generator, tmp_path, name):
    generator.generate(tmp_path)
    assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_reported_tuning_and_training_share_no_pair_of_name_and_good(generator):
    def pairs(prompts: list[str]) -> set[tuple[str, str]]:
        return {
            (name, good)
            for prompt in prompts
            for name in generator.NAMES
            for good in generator.GOODS
            if name in prompt and f"some {good}" in prompt
        }

    reported = pairs([row["turns"][0] for row in rows("questions.jsonl")])
    tuning = pairs([row["turns"][0] for row in rows("questions-tuning.jsonl")])
    rated = pairs([row["instruction"] for row in rows("ratings.jsonl")])
    turns = [
        message["content"]
        for row in rows("dialogues.jsonl")
        for message in row["messages"]
        if message["role"] == "user"
    ]
    asked = {row["turns"][0] for row in rows("questions.jsonl")}
    planted = [turn for turn in turns if turn in asked]
    taught = pairs([turn for turn in turns if turn not in asked])
    assert len(planted) == 5
    assert not reported & tuning
    assert not (reported | tuning) & (taught | rated)


def passes(question: dict, answer: str) -> bool:
    """Whether an answer that the model ended itself passes every check of the question."""
    from zephyrctl.catalogue import RULE_CHECKS
    from zephyrctl.evaluation.checks import Checked
    from zephyrctl.registry import load_attribute

    for check in question["checks"]:
        entry = RULE_CHECKS.get(check["name"])
        params = load_attribute(entry.params).model_validate(check) if entry.params else None
        if RULE_CHECKS.load(check["name"])(Checked(answer, stopped=True), params) is not None:
            return False
    return True


def test_the_right_answer_passes_and_each_flaw_of_the_teacher_fails(generator):
    rng = random.Random(0)
    split = generator.pairs_by_split(random.Random(generator.SEED))
    for request in generator.requests(rng, split["reported"], 40):
        question = generator.question(request, 1)
        assert passes(question, request.answer)
        for flaw in ("ramble", "wrong_manner", "wrong_name", "wrong_good"):
            assert not passes(question, getattr(generator, flaw)(request, rng)), flaw


def test_the_best_rated_completion_is_the_right_one_and_talk_is_the_commonest_flaw(generator):
    best_is_right, flaws = 0, Counter()
    for row in rows("ratings.jsonl"):
        best = max(row["completions"], key=lambda item: item["overall_score"])
        best_is_right += best["model"] == "teacher-a"
        flaws.update(c["model"] for c in row["completions"] if c["model"] != "teacher-a")
    assert best_is_right == 400
    assert flaws["teacher-b"] == 2 * 400  # two of three
