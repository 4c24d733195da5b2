"""One conversation is the same token ids in data, training, evaluation and chat."""

import json
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.chat.talker import LocalTalker
from zephyrctl.config.schema import Recipe
from zephyrctl.data.load import load_split
from zephyrctl.data.messages import Message
from zephyrctl.evaluation.rules import RuleQuestion, Rules
from zephyrctl.generation.engine import Engine, load_engine
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.store import Run
from zephyrctl.training.sft import Method

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def engine(straight: Path) -> Engine:
    """The trained SFT model with the template saved beside it."""
    return load_engine(str(straight / "sft" / "model"))


def _messages(rows: Any) -> list[Message]:
    return [Message(row["role"], row["content"]) for row in rows]


def _read_by_the_model(engine: Engine, ask: Any) -> list[int]:
    """The ids of the first forward pass while `ask()` runs."""
    seen: list[list[int]] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        seen.append(kwargs["input_ids"][0].tolist())

    handle = engine.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        ask()
    finally:
        handle.remove()
    return seen[0]


def test_prepared_rows_are_what_every_part_reads(straight: Path, engine: Engine):
    run = Run(straight)
    recipe = Recipe.model_validate(json.loads((straight / "config.json").read_text()))
    text = json.loads((straight / "data" / "sft" / "train.jsonl").read_text().splitlines()[0])
    messages = _messages(text["messages"])
    prepared = load_split(run, "sft", "train")[0]["input_ids"]
    trained = Method(recipe).load(run).train[0]
    assert trained["input_ids"] == prepared

    prompt, answer = messages[:-1], messages[-1]
    short = Sampling(max_new_tokens=1)
    talker = LocalTalker(engine, name="sft", template="zephyr", notices=[])
    rules = Rules(
        [RuleQuestion(1, "", (prompt[-1].content,), ((),), system=None)], max_new_tokens=1
    )
    assert len(prompt) == 1
    asked = rules.conversation(rules.questions[0], [])
    in_evaluation = _read_by_the_model(
        engine, lambda: engine.answer([asked], sampling=short, batch_size=1)
    )
    in_chat = _read_by_the_model(engine, lambda: talker.answer(prompt, sampling=short))
    engine.forget()  # what an earlier reply left in memory is not read again
    streamed = _read_by_the_model(
        engine, lambda: list(talker.reply(prompt, sampling=short, stop=lambda: False))
    )
    assert in_evaluation == in_chat == streamed == prepared[: len(in_chat)]
    completion = prepared[len(in_chat) :]
    assert engine.tokenizer.decode(completion, skip_special_tokens=True).strip() == answer.content
    assert next(label for label in trained["labels"] if label != -100) == completion[0]


def test_preference_prompts_are_the_same_ids(straight: Path, engine: Engine):
    text = json.loads((straight / "data" / "dpo" / "train.jsonl").read_text().splitlines()[0])
    row = load_split(Run(straight), "dpo", "train")[0]
    prompt = _messages(text["prompt"])
    read = _read_by_the_model(
        engine,
        lambda: engine.answer([prompt], sampling=Sampling(max_new_tokens=1), batch_size=1),
    )
    assert read == row["prompt_ids"]
