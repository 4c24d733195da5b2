"""What an answer is does not depend on the answers beside it, in any family of models."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.families import FAMILIES, HEADS, family
from transformers import AutoModelForCausalLM

from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.generation.engine import Engine
from zephyrctl.generation.sampling import Completion, Sampling

NEOX = family("GPTNeoX", "", **HEADS, intermediate_size=48)
SEEN = (
    "mistral", "llama", "qwen2", "gemma2", "gemma3", "falcon-alibi", "phi", "smollm3", "mixtral",
    "mamba",
)  # fmt: skip
"""Windows, soft caps, ALiBi, partial rotation, layers without positions, experts, states."""
BUILT = {name: FAMILIES[name].config for name in SEEN} | {"neox": NEOX.config}
SENTENCE = "offer pasta to ravi politely . tell mia about the weather in a short letter please"
WORDS = SENTENCE.split()
STOPPING = 40
"""Every token under this one ends an answer: about one in twenty of a toy's tokens."""
GREEDY = Sampling(max_new_tokens=16)
SAMPLED = Sampling(temperature=0.9, top_p=0.95, top_k=200, max_new_tokens=20, seed=5)


def prompts(count: int, *, seed: int = 0) -> list[list[Message]]:
    """Prompts of 1 to 20 words, so that their lengths differ by up to fifty tokens."""
    drawn = random.Random(seed)
    return [
        [Message("user", " ".join(drawn.choices(WORDS, k=drawn.randint(1, 20))))]
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def engine_of(tiny_base: Path) -> Callable[[str], Engine]:
    """A toy of a family whose answers have many lengths; weights are large, so that the most
    probable token is never nearly shared."""
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")

    @cache
    def build(name: str) -> Engine:
        config: Any = BUILT[name]()
        config.initializer_range = 0.4
        config.tie_word_embeddings = False  # tied, such a toy only repeats its last token
        config.max_position_embeddings = 256
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config).float().eval()
        engine = Engine(model, tokenizer, path=name)
        engine.decoder.reader.stop_ids = frozenset(range(STOPPING))
        return engine

    return build


def said(completions: list[Completion]) -> list[tuple[str, int, bool]]:
    return [(c.text, c.tokens, c.stopped) for c in completions]


@pytest.mark.parametrize("name", sorted(BUILT))
def test_batched_answers_are_those_given_alone(
    name: str, engine_of: Callable[[str], Engine]
) -> None:
    # A recurrent state cannot be joined, and its reference code in Python is slow.
    engine, asked = engine_of(name), prompts(5 if name == "mamba" else 9)
    lengths: set[int] = set()
    for sampling in (GREEDY, SAMPLED):
        alone = [engine.answer([p], sampling=sampling, batch_size=1)[0] for p in asked]
        for size in (3, len(asked)):
            assert said(engine.answer(asked, sampling=sampling, batch_size=size)) == said(alone)
        lengths |= {answer.tokens for answer in alone}
    assert len(lengths) > 1, "some end early, so that places are refilled"


def widths_read(engine: Engine, work: Callable[[], Any]) -> list[int]:
    """How many rows each forward pass had."""
    seen: list[int] = []
    hook = engine.model.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        work()
    finally:
        hook.remove()
    return seen


def test_places_that_become_free_are_filled(engine_of: Callable[[str], Engine]) -> None:
    engine, asked = engine_of("llama"), prompts(24)
    seen = widths_read(engine, lambda: engine.answer(asked, sampling=SAMPLED, batch_size=8))
    answers = engine.answer(asked, sampling=SAMPLED, batch_size=8)
    in_turn = [
        max(answer.tokens for answer in answers[start : start + 8]) for start in range(0, 24, 8)
    ]
    assert max(seen) == 8
    assert len(seen) < sum(in_turn), "fewer passes than one group after the other"


class SmallMemory:
    """A device whose memory runs out amid a pass: with more than so many rows, or at some passes.

    The first layer has written its keys by then, and the second has not.
    """

    def __init__(self, engine: Engine, *, rows: int = 99, at: tuple[int, ...] = ()) -> None:
        self.passes = 0
        self.failed = 0

        def run_out(layer: Any, arguments: Any) -> None:
            del layer
            self.passes += 1
            if len(arguments[0]) > rows or self.passes in at:
                self.failed += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        self.hook = engine.model.model.layers[1].register_forward_pre_hook(run_out)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("limits", [{"rows": 3}, {"at": (9, 30)}], ids=str)
def test_where_memory_runs_out_fewer_answers_go_on_with_the_same_tokens(
    limits: dict[str, Any], sampling: Sampling, engine_of: Callable[[str], Engine]
) -> None:
    whole, asked = engine_of("mistral"), prompts(13)
    engine = Engine(whole.model, whole.tokenizer, path="small")
    engine.decoder.reader.stop_ids = whole.stop_ids
    wanted = said(whole.answer(asked, sampling=sampling, batch_size=13))
    told: list[str] = []
    done: list[int] = []
    memory = SmallMemory(engine, **limits)
    try:
        answers = engine.answer(
            asked,
            sampling=sampling,
            batch_size=13,
            say=told.append,
            on_done=lambda index, _: done.append(index),
        )
        failed = memory.failed
        engine.answer(asked[:3], sampling=sampling, batch_size=13)
    finally:
        memory.hook.remove()
    assert said(answers) == wanted
    assert sorted(done) == list(range(13))
    assert failed == len(told) > 0
    assert told[0].startswith("memory ran out with ")


def test_memory_too_small_for_one_answer_is_an_error(engine_of: Callable[[str], Engine]) -> None:
    whole = engine_of("mistral")
    engine = Engine(whole.model, whole.tokenizer, path="small")
    memory = SmallMemory(engine, rows=0)
    try:
        with pytest.raises(EnvironmentProblem, match="too small for a single answer"):
            engine.answer(prompts(4), sampling=GREEDY, batch_size=4)
    finally:
        memory.hook.remove()


def test_a_prompt_longer_than_the_context_leaves_the_others_their_answers(
    engine_of: Callable[[str], Engine],
) -> None:
    engine, asked = engine_of("llama"), prompts(3)
    asked.insert(1, [Message("user", "pasta " * 400)])
    done: dict[int, Completion] = {}
    answers = engine.answer(
        asked, sampling=GREEDY, batch_size=2, keep_going=True, on_done=done.__setitem__
    )
    assert answers[1].text == ""
    assert not answers[1].stopped
    assert "and the model reads 256" in (answers[1].problem or "")
    assert [answer.problem for answer in answers].count(None) == 3
    assert dict(sorted(done.items())) == dict(enumerate(answers))
