"""Runs of words, by the definition: what faster ways of counting them are held against."""

from collections.abc import Iterable, Sequence


def ngrams(tokens: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    """Every run of `n` words, in order."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)
