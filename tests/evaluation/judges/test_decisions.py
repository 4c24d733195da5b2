"""Probabilities of verdicts: against one prompt and option at a time, and in any batch."""

import math
from pathlib import Path

import pytest
import torch

from zephyrctl.data.messages import Message
from zephyrctl.data.tokens import encode_prompt
from zephyrctl.evaluation.judges.decisions import (
    _ended,
    query_of,
    score_options,
    top_tokens,
)
from zephyrctl.generation.engine import Engine, load_engine

WINNERS = ("[[A]]", "[[B]]", "[[C]]")
RATINGS = tuple(f"[[{rating}]]" for rating in range(1, 11))


@pytest.fixture(scope="module")
def engine(tiny_base: Path) -> Engine:
    return load_engine(str(tiny_base), chat_template="zephyr", device="cpu", dtype="float32")


def prompt(words: int) -> list[Message]:
    return [Message("system", "Judge."), Message("user", "Which is better? " * words)]


def scores(engine: Engine, queries, *, batch_size: int) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    score_options(engine, queries, batch_size=batch_size, on_scores=found.__setitem__)
    return [found[index] for index in range(len(queries))]


def by_hand(engine: Engine, ids, tail) -> float:
    """The log-probability of `tail` after `ids`, from one unpadded reading of both."""
    with torch.inference_mode():
        logits = engine.model(torch.tensor([[*ids, *tail]])).logits[0].double()
    logps = torch.log_softmax(logits, dim=-1)
    return sum(float(logps[len(ids) - 1 + at, token]) for at, token in enumerate(tail))


@pytest.mark.parametrize("options", [WINNERS, RATINGS, ("m", "M"), ("yes", "no way at all")])
def test_options_are_scored_as_one_at_a_time_in_any_batch(engine: Engine, options):
    queries = [query_of(engine.tokenizer, prompt(words), options) for words in (1, 9, 4, 30, 2, 17)]
    wanted = [[by_hand(engine, query.ids, tail) for tail in query.tails] for query in queries]
    for batch_size in (1, 4, 16):
        found = scores(engine, queries, batch_size=batch_size)
        assert torch.allclose(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5), (
            batch_size
        )


def test_what_all_verdicts_begin_with_is_read_with_the_prompt(engine: Engine):
    query = query_of(engine.tokenizer, prompt(1), WINNERS)
    ids = encode_prompt(engine.tokenizer, prompt(1))
    decode = engine.tokenizer.decode
    assert list(query.ids[: len(ids)]) == ids
    assert decode(list(query.ids[len(ids) :])) == "[["
    assert [decode(list(tail)) for tail in query.tails] == ["A", "B", "C"]


def test_a_verdict_that_begins_another_keeps_its_end(engine: Engine):
    query = query_of(engine.tokenizer, prompt(1), RATINGS)
    said = [engine.tokenizer.decode(list(tail)) for tail in query.tails]
    assert said == [f"{rating}]]" for rating in range(1, 11)]


def test_a_number_that_begins_another_does_not_get_its_probability(engine: Engine):
    query = query_of(engine.tokenizer, prompt(1), [str(rating) for rating in range(1, 11)])
    one, ten = query.tails[0], query.tails[-1]
    assert ten[: len(one)] == one  # digit by digit
    (found,) = scores(engine, [query], batch_size=1)
    both, longer = (by_hand(engine, query.ids, tail) for tail in (one, ten))
    assert found[-1] == pytest.approx(longer, abs=1e-5)
    assert math.exp(found[0]) == pytest.approx(math.exp(both) - math.exp(longer), abs=1e-7)
    # A judge sure of 10 gives the 1 nothing, and not one half.
    assert _ended([(1,), (1, 0), (7,)], [0.0, 0.0, -50.0]) == [-math.inf, 0.0, -50.0]
    chain = _ended([(1,), (1, 0), (1, 0, 0)], [math.log(p) for p in (0.9, 0.5, 0.2)])
    assert [math.exp(value) for value in chain] == pytest.approx([0.4, 0.3, 0.2])


def test_first_tokens_come_best_first(engine: Engine):
    ids = [encode_prompt(engine.tokenizer, prompt(words)) for words in (3, 8)]
    found: dict[int, dict[str, float]] = {}
    top_tokens(engine, ids, count=4, batch_size=2, on_scores=found.__setitem__)
    assert sorted(found) == [0, 1]
    for index, row in found.items():
        values = list(row.values())
        assert len(values) == 4
        assert values == sorted(values, reverse=True)
        with torch.inference_mode():
            logits = engine.model(torch.tensor([ids[index]])).logits[0, -1].double()
        best = torch.log_softmax(logits, dim=-1).max()
        assert values[0] == pytest.approx(float(best), abs=1e-5)
