"""Rows join and leave one running batch: what they say, in which order, and how much memory."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from tests.serving.conftest import ROOMY
from transformers import AutoModelForCausalLM, LlamaConfig, MambaConfig, MistralConfig
from transformers.cache_utils import DynamicLayer

from zephyrctl.data.messages import Message
from zephyrctl.generation import decoding
from zephyrctl.generation.choosing import draw
from zephyrctl.generation.engine import Engine
from zephyrctl.generation.rows import Row
from zephyrctl.generation.sampling import Sampling
from zephyrctl.serving.budget import Budget, budget_of
from zephyrctl.serving.scheduler import Scheduler, Task

WORDS = ["offer", "pasta", "to", "ravi", "politely", ".", "tell", "mia", "about", "the", "weather"]
GREEDY = Sampling(max_new_tokens=10)
SIZES: dict[str, Any] = {
    "hidden_size": 64, "head_dim": 16, "intermediate_size": 128, "num_hidden_layers": 2,
    "max_position_embeddings": 512, "initializer_range": 0.4, "tie_word_embeddings": False,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


class Watched:
    """A scheduler whose tasks keep what they were told; `passes` holds rows x columns of each
    forward pass, and `cells` the keys held after it."""

    def __init__(self, engine: Engine, budget: Budget) -> None:
        self.told: dict[int, list[int]] = {}
        self.order: list[int] = []
        self.done = threading.Event()
        self.said: list[str] = []
        self.passes: list[tuple[int, int]] = []
        self.cells: list[int] = []
        self._open = 0
        self._hook = engine.model.register_forward_hook(self._saw, with_kwargs=True)
        self.scheduler = Scheduler(
            engine.decoder.reader, budget=budget, say=self.said.append, after_pass=lambda: None
        )

    def _saw(self, model: Any, arguments: Any, kwargs: Any, out: Any) -> None:
        del model, arguments, out
        self.passes.append(tuple(kwargs["input_ids"].shape))
        self.cells.append(kwargs["attention_mask"].numel())

    def ask(self, rows: list[Row]) -> None:
        self._open += len(rows)
        self.scheduler.submit([Task(row, self._grown) for row in rows])

    def _grown(self, row: Row) -> None:
        if row.problem is None:
            if row.index not in self.order:
                self.order.append(row.index)
            self.told.setdefault(row.index, []).append(row.tokens[-1])
        if row.is_done:
            self._open -= 1
            if not self._open:
                self.done.set()

    def wait(self) -> None:
        assert self.done.wait(timeout=120)

    def close(self) -> None:
        self.scheduler.close()
        self._hook.remove()


@contextmanager
def watched(engine: Engine, budget: Budget = ROOMY) -> Iterator[Watched]:
    one = Watched(engine, budget)
    try:
        yield one
    finally:
        one.close()


def rows(engine: Engine, *sizes: int, sampling: Sampling = GREEDY) -> list[Row]:
    """Rows whose prompts have so many words."""
    found = []
    for index, size in enumerate(sizes):
        words = [WORDS[(index * 5 + place) % len(WORDS)] for place in range(size)]
        ids = engine.encode([Message("user", " ".join(words))])
        found.append(Row(index, ids, sampling.max_new_tokens, sampling))
    return found


def alone(engine: Engine, row: Row) -> list[int]:
    copy = Row(0, row.prompt, row.limit, row.sampling)
    list(engine.decoder.decode([copy], at_once=1))
    return copy.tokens


def toy(engine: Engine, config: Any, **more: Any) -> Engine:
    for key, value in {**SIZES, **more, "vocab_size": len(engine.tokenizer)}.items():
        setattr(config, key, value)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    return Engine(model, engine.tokenizer, path="toy")


@pytest.fixture(scope="module")
def llama(engine: Engine) -> Engine:
    """Large weights, so that the likeliest token is never nearly shared."""
    return toy(engine, LlamaConfig(**HEADS))


@pytest.fixture(scope="module")
def mistral(engine: Engine) -> Engine:
    """A window of 8."""
    return toy(engine, MistralConfig(**HEADS, sliding_window=8))


def test_every_row_has_its_own_settings_and_says_what_it_says_alone(llama: Engine) -> None:
    asked = [
        replace_sampling(row, sampling)
        for row, sampling in zip(
            rows(llama, 1, 9, 3, 14, 2, 5),
            [GREEDY, Sampling(0.9, 0.9, 0, 7, 1), Sampling(0.9, 0.9, 0, 12, 2),
             Sampling(1.3, 1.0, 0, 3, 1), GREEDY, Sampling(0.2, 0.5, 0, 9, 5)],
            strict=True,
        )
    ]  # fmt: skip
    with watched(llama) as one:
        one.ask(asked[:2])
        one.ask(asked[2:])
        one.wait()
    assert [one.told[row.index] for row in asked] == [alone(llama, row) for row in asked]
    assert max(count for count, columns in one.passes if columns == 1) == 6


def replace_sampling(row: Row, sampling: Sampling) -> Row:
    return Row(row.index, row.prompt, sampling.max_new_tokens, sampling)


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_a_long_prompt_is_read_in_parts_beside_the_others_and_answered_the_same(
    family: str, request: pytest.FixtureRequest
) -> None:
    engine: Engine = request.getfixturevalue(family)
    asked = rows(engine, 2, 60, 3)
    asked[0].limit = 30
    with watched(engine, replace(ROOMY, part=16)) as one:
        one.ask(asked)
        one.wait()
    assert [one.told[row.index] for row in asked] == [alone(engine, row) for row in asked]
    widths = [columns for count, columns in one.passes]
    assert widths.count(16) >= 6
    assert max(widths) == 16
    begun = widths.index(1)
    pairs = pairwise(widths[begun:])
    assert all(1 in pair for pair in pairs), "a token for the others after each part"
    assert one.order == [0, 2, 1], "of those taken on at once the shortest is read first"


def test_rows_times_columns_stay_within_the_budget_and_all_are_answered(llama: Engine) -> None:
    asked = rows(llama, *[1, 12, 3, 7, 25, 2, 9, 4, 30, 1, 6, 2])
    longest = max(row.longest for row in asked)
    with watched(llama, replace(ROOMY, rows=5, tokens=2 * longest)) as one:
        one.ask(asked)
        one.wait()
    assert {row.index: alone(llama, row) for row in asked} == one.told
    assert max(one.cells) <= 2 * longest
    assert max(count for count, _ in one.passes) > 2
    for place, later in enumerate(one.order):
        overtaken = [index for index in one.order[place:] if index < later]
        assert all(later - index < 5 for index in overtaken), "only what is taken on at once"


def test_a_row_that_alone_is_over_the_budget_is_answered_alone(llama: Engine) -> None:
    asked = rows(llama, 2, 2)
    with watched(llama, replace(ROOMY, tokens=5)) as one:
        one.ask(asked)
        one.wait()
    assert {count for count, _ in one.passes} == {1}
    assert len(one.told) == 2


def test_a_model_that_takes_no_newcomers_answers_one_batch_after_the_other(engine: Engine) -> None:
    mamba = toy(engine, MambaConfig(), state_size=4)
    budget = budget_of(mamba, rows=3)
    assert not budget.joins
    assert "one batch follows the other" in budget.said()[1]
    asked = rows(mamba, 2, 5, 3, 4)
    with watched(mamba, budget) as one:
        one.ask(asked)
        one.wait()
    assert {row.index: alone(mamba, row) for row in asked} == one.told
    assert [count for count, columns in one.passes if columns > 1] in ([1, 3], [3, 1])


def test_the_budget_is_half_of_the_free_memory(
    llama: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zephyrctl.generation.kv_cache.free_bytes", lambda device: 2**20)
    each = 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, head size, float32
    budget = budget_of(llama, rows=7)
    assert (budget.rows, budget.token_bytes, budget.joins) == (7, each, True)
    assert budget.tokens == 2**19 // each
    assert "up to 7 answers at once" in budget.said()[0]


def test_a_row_that_is_left_makes_room_before_the_next_pass(llama: Engine) -> None:
    asked = rows(llama, 3, 4, 5)
    for row in asked:
        row.limit = 400
    with watched(llama, replace(ROOMY, rows=2)) as one:
        one.ask(asked)
        while len(one.told.get(1, [])) < 3:
            time.sleep(0.005)
        one.scheduler.leave(asked[:1])
        while not one.told.get(2):
            time.sleep(0.005)
        assert len(one.told[0]) < 400
        assert max(count for count, _ in one.passes) == 2
        one.scheduler.leave(asked[1:])
        while one.scheduler._is_busy:
            time.sleep(0.005)


@pytest.mark.parametrize("at", [5, 9])
def test_where_memory_runs_out_half_go_on_and_none_is_lost(at: int, llama: Engine) -> None:
    sampled = Sampling(temperature=0.9, max_new_tokens=12, seed=4)
    asked = [*rows(llama, 2, 3, 4), *rows(llama, 5, 6, 7, sampling=sampled)]
    for index, row in enumerate(asked):
        row.index = index
    passes = 0

    def run_out(layer: Any, arguments: Any) -> None:
        nonlocal passes
        del layer, arguments
        passes += 1
        if passes == at:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    hook = llama.model.model.layers[1].register_forward_pre_hook(run_out)
    try:
        with watched(llama) as one:
            one.ask(asked)
            one.wait()
    finally:
        hook.remove()
    assert one.told == {row.index: alone(llama, row) for row in asked}
    (said,) = one.said
    count = int(said.removeprefix("! memory ran out with ").partition(" ")[0])
    assert said.endswith(f"{count} answers at once; {count // 2} at once from now on")


def test_memory_that_runs_out_as_rows_go_costs_nobody_a_token(
    llama: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = rows(llama, 2, 3, 4, 5)
    asked[0].limit = asked[1].limit = 4
    keep, is_full = DynamicLayer.reorder_cache, True

    def run_out(layer: Any, places: Any) -> None:
        nonlocal is_full
        if is_full:
            is_full = False
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        keep(layer, places)

    monkeypatch.setattr(DynamicLayer, "reorder_cache", run_out)
    with watched(llama) as one:
        one.ask(asked)
        one.wait()
    assert not is_full
    assert one.told == {row.index: alone(llama, row) for row in asked}


def test_whoever_cannot_be_told_the_last_token_is_told_the_problem(llama: Engine) -> None:
    (row,) = rows(llama, 2)
    row.limit = 1
    told, problems = threading.Event(), []

    def grown(row: Row) -> None:
        if row.problem is None:
            raise ValueError("no text of this token")
        problems.append(row.problem.message)
        told.set()

    with watched(llama) as one:
        one.scheduler.submit([Task(row, grown)])
        assert told.wait(timeout=30)
    assert problems == ["ValueError: no text of this token"]


def test_one_row_without_numbers_fails_alone(llama: Engine) -> None:
    asked = rows(llama, 2, 3, 4)

    def spoil(model: Any, arguments: Any, out: Any) -> None:
        del model, arguments
        if len(out.logits) == 3:
            out.logits[1] = torch.nan

    hook = llama.model.register_forward_hook(spoil)
    try:
        with watched(llama) as one:
            one.ask(asked)
            one.wait()
    finally:
        hook.remove()
    assert asked[1].problem is not None
    assert "not a number" in asked[1].problem.message
    for row in (asked[0], asked[2]):
        assert one.told[row.index] == alone(llama, row)


class Broken(Budget):
    """Cannot tell whether a third row has room."""

    def takes(self, row: Row, others: Sequence[Row], *, rows: int | None = None) -> bool:
        if len(others) == 2:
            raise RuntimeError("no such budget")
        return super().takes(row, others, rows=rows)


def test_whoever_was_taken_on_is_told_of_a_failure_before_the_first_pass(llama: Engine) -> None:
    asked = rows(llama, 2, 3, 4)
    with watched(llama, Broken(rows=8, tokens=10**6, part=64, joins=True)) as one:
        one.ask(asked)
        one.wait()
    assert [row.problem is not None for row in asked] == [True, True, False]
    assert one.told == {2: alone(llama, asked[2])}


def test_scores_are_those_of_the_models_own_distribution(llama: Engine) -> None:
    hot = Sampling(temperature=1.7, top_p=0.8, max_new_tokens=6, seed=2)
    (row,) = rows(llama, 4, sampling=hot)
    scored = Row(0, row.prompt, 6, hot, top_logprobs=3)
    list(decoding.Decoder(llama.decoder.reader).decode([scored], at_once=1))
    assert scored.tokens == alone(llama, row), "asking for scores changes no answer"
    with torch.inference_mode():
        logits = llama.model(torch.tensor([scored.ids])).logits[0].log_softmax(-1)
    for place, (token, score) in enumerate(zip(scored.tokens, scored.scores, strict=True)):
        at = logits[len(row.prompt) - 1 + place]
        assert score.logprob == pytest.approx(float(at[token]), abs=1e-4)
        values, ids = at.topk(3)
        assert [number for number, _ in score.top] == ids.tolist()
        assert [value for _, value in score.top] == pytest.approx(values.tolist(), abs=1e-4)


def test_the_last_bits_of_the_logits_choose_between_no_neighbours() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4000, 500) * 1e-5  # neighbours by rank are nearly the same
    noise = torch.randn_like(logits) * 1e-6
    draws = torch.rand(4000).tolist()
    for sampling in (Sampling(1.0), Sampling(0.7)):
        one, other = (draw(each, draws, sampling) for each in (logits, logits + noise))
        assert int((one != other).sum()) <= 8
        assert len(set(one.tolist())) > 450
