"""A word has one number, wherever it stands and whatever stands beside it."""

import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.data.ngrams import ngrams

from zephyrctl.data import word_hashes as module
from zephyrctl.data.text import words
from zephyrctl.data.word_hashes import Vocabulary, digest_of, hash_together, run_hashes, word_hashes

TEXTS = st.text(st.sampled_from("aB1_ .,\n\t'\u2019\u00e9\u0130\u4e2d\U0001f389\ud800\u0301"))


def number(word: str) -> int:
    """The polynomial and the mixing, one byte after the other."""
    value, power = 0, 1
    for byte in word.encode("utf-8", errors="surrogatepass"):
        value += byte * power
        power = power * 0x9E3779B97F4A7C15 % 2**64
    value %= 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


@given(TEXTS)
@example("")
@example("Na\u00efve \u201cquotes\u201d")
def test_the_numbers_are_those_of_the_words_one_by_one(text: str) -> None:
    module._known.clear()
    hashes = word_hashes(text)
    assert hashes.tolist() == [number(word) for word in words(text)]
    assert hashes.dtype == np.uint64
    assert not hashes.flags.writeable


@given(st.lists(TEXTS, max_size=6))
def test_texts_hashed_together_have_the_numbers_of_each_alone(texts: list[str]) -> None:
    module._known.clear()
    hash_together(texts)
    together = [word_hashes(text).tolist() for text in texts]
    module._known.clear()
    assert [word_hashes(text).tolist() for text in texts] == together


@pytest.mark.parametrize("size", [100, 70_000, 140_000, 400_000])
def test_a_long_text_is_hashed_in_blocks_with_the_same_numbers(size: int) -> None:
    rng = random.Random(size)
    text = " ".join(rng.choice(["sea", "stone", "a", "x" * 50]) for _ in range(size // 6))
    long_word = "y" * size
    hashes = word_hashes(f"{text} {long_word} end").tolist()
    assert hashes == [number(word) for word in (*words(text), long_word, "end")]


def test_the_memory_of_texts_is_bounded() -> None:
    for i in range(1000):
        word_hashes(f"text {i}")
    assert len(module._known) <= 256


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 15))
def test_equal_runs_have_equal_hashes_and_only_those(tokens: list[str], n: int) -> None:
    runs = list(ngrams(tokens, n))
    hashes = run_hashes(word_hashes(" ".join(tokens)), n).tolist()
    assert len(hashes) == len(runs)
    assert len(set(hashes)) == len(set(runs))


def test_the_digest_tells_where_one_text_ends() -> None:
    one, other = (word_hashes(text) for text in ("a b", "c"))
    three, four = (word_hashes(text) for text in ("a", "b c"))
    assert digest_of([one, other]) != digest_of([three, four])
    assert digest_of([one, other]) == digest_of([word_hashes("A, b!"), word_hashes("C")])


@given(TEXTS)
@example("I can't see the sea, and the sea can't see me.")
def test_a_vocabulary_finds_its_words_in_a_text(text: str) -> None:
    listed = {"a", "b", "i", "can", "t", "sea", "\u4e2d", "b1"}
    assert Vocabulary(listed).found_in(text) == listed.intersection(words(text))
