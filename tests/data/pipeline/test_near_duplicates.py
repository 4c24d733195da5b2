"""MinHash finds what is alike, says how alike, and needs no more memory for more strangers."""

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.ngrams import ngrams

from zephyrctl.data.pipeline.near_duplicates import (
    agreement,
    band_rows,
    find_near_duplicates,
    signatures,
)
from zephyrctl.data.word_hashes import word_hashes


def jaccard(one: list[str], other: list[str]) -> float:
    a, b = set(ngrams(one, 3)), set(ngrams(other, 3))
    return len(a & b) / len(a | b)


def text(seed: int, length: int = 300) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(5000)}" for _ in range(length)]


def changed(words: list[str], every: int) -> list[str]:
    return [f"x{i}" if i % every == 0 else word for i, word in enumerate(words)]


def signed(*texts: list[str]) -> Any:
    return signatures([[word_hashes(" ".join(words))] for words in texts])


def stored(path: Path, table: Any) -> Path:
    path.write_bytes(table.tobytes())
    return path


@pytest.mark.parametrize("every", [10, 30, 100])
def test_agreement_estimates_the_jaccard_similarity(every: int) -> None:
    errors = []
    for seed in range(40):
        words = text(seed)
        other = changed(words, every)
        errors.append(agreement(*signed(words, other)) - jaccard(words, other))
    # 128 permutations: standard error below 0.045 each, 0.0071 for the mean of 40; four of them
    assert abs(sum(errors) / len(errors)) < 0.03
    assert max(abs(error) for error in errors) < 0.18


def test_signature_is_the_same_on_every_machine() -> None:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
    digest = hashlib.sha256(signed(words).tobytes()).hexdigest()
    assert digest == "680a4dc4c4cacd95b399eca981c16ae9908085f05a43207df21ea9713f14983f"
    one, other = signed(["a", "b", "c"], ["c", "b", "a"])
    assert (one != other).any()


def test_words_count_across_the_parts_of_a_text() -> None:
    parts = signatures([[word_hashes("one two"), word_hashes("three four")]])
    whole = signatures([[word_hashes("one two three four")]])
    assert (parts == whole).all()


def test_near_duplicates_are_found_and_strangers_are_not(tmp_path: Path) -> None:
    strangers = [text(seed) for seed in range(200)]
    copies = [changed(words, 100) for words in strangers]
    path = stored(tmp_path / "s", signed(*strangers, *copies))
    like = find_near_duplicates(path, rows=np.arange(400), similarity=0.8)
    assert min(like) >= 200
    assert len(like) >= 195
    assert like[207] == 7


def test_rows_that_are_left_out_make_no_other_go(tmp_path: Path) -> None:
    words = text(1)
    path = stored(tmp_path / "s", signed(words, changed(words, 100), text(2), words))
    assert find_near_duplicates(path, rows=np.array([0, 1, 2, 3]), similarity=0.8) == {1: 0, 3: 0}
    assert find_near_duplicates(path, rows=np.array([1, 2, 3]), similarity=0.8) == {3: 1}
    assert find_near_duplicates(path, rows=np.array([2]), similarity=0.8) == {}
    assert find_near_duplicates(path, rows=np.array([], dtype=int), similarity=0.8) == {}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    kinds=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([0, 15, 40, 120])), min_size=1, max_size=25
    )
)
def test_the_banded_search_agrees_with_comparing_every_pair(
    kinds: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = signed(*(changed(text(seed), every) if every else text(seed) for seed, every in kinds))
    kept: list[int] = []
    expected: dict[int, int] = {}
    for row in range(len(table)):
        like = [other for other in kept if agreement(table[row], table[other]) >= 0.9]
        if like:
            expected[row] = like[0]
        else:
            kept.append(row)
    path = stored(tmp_path_factory.mktemp("s") / "s", table)
    assert find_near_duplicates(path, rows=np.arange(len(table)), similarity=0.9) == expected


@pytest.mark.parametrize("similarity", [0.55, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_a_pair_at_the_threshold(similarity: float) -> None:
    rows = band_rows(similarity)
    assert 1 - (1 - similarity**rows) ** (128 // rows) > 0.99


def test_short_and_empty_texts_have_signatures() -> None:
    table = signed([], ["a"], ["b"])
    assert table.shape == (3, 128)
    assert (table[1] != table[2]).any()
