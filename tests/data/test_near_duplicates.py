"""MinHash finds what is alike, and says how alike."""

import hashlib
import random

import pytest

from zephyrctl.data.near_duplicates import NearDuplicates, agreement, band_rows, signature
from zephyrctl.data.text import ngrams


def jaccard(one: list[str], other: list[str]) -> float:
    a, b = set(ngrams(one, 3)), set(ngrams(other, 3))
    return len(a & b) / len(a | b)


def text(seed: int, length: int = 300) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(5000)}" for _ in range(length)]


def changed(words: list[str], every: int) -> list[str]:
    return [f"x{i}" if i % every == 0 else word for i, word in enumerate(words)]


@pytest.mark.parametrize("every", [10, 30, 100])
def test_agreement_estimates_the_jaccard_similarity(every: int) -> None:
    errors = []
    for seed in range(40):
        words = text(seed)
        other = changed(words, every)
        errors.append(agreement(signature(words), signature(other)) - jaccard(words, other))
    # 128 permutations: standard error below 0.045 each, 0.0071 for the mean of 40; four of them
    assert abs(sum(errors) / len(errors)) < 0.03
    assert max(abs(error) for error in errors) < 0.18


def test_signature_is_the_same_on_every_machine() -> None:
    words = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
    digest = hashlib.sha256(signature(words)).hexdigest()
    assert digest == "f67b14c41d5b16ad697798ebb32ed02554d8e00e2e1425dea2d6194a33b5117d"
    assert signature(["a", "b", "c"]) != signature(["c", "b", "a"])


def test_near_duplicates_are_found_and_strangers_are_not() -> None:
    near = NearDuplicates(similarity=0.8)
    for seed in range(200):
        assert near.find(signature(text(seed))) is None
        near.add(signature(text(seed)), f"text {seed}")
    found = [near.find(signature(changed(text(seed), 100))) for seed in range(200)]
    assert sum(label is not None for label in found) >= 195
    assert found[7] == "text 7"


@pytest.mark.parametrize("similarity", [0.55, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_find_a_pair_at_the_threshold(similarity: float) -> None:
    rows = band_rows(similarity)
    assert 1 - (1 - similarity**rows) ** (128 // rows) > 0.99


def test_short_and_empty_texts_have_signatures() -> None:
    assert len(signature([])) == len(signature(["a"])) == 512
    assert signature(["a"]) != signature(["b"])
