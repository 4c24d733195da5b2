"""Dialogues that share rows."""

import itertools
from collections import Counter
from typing import Any

import pytest
from datasets import Dataset, disable_progress_bars
from hypothesis import given
from hypothesis import strategies as st
from trl.data_utils import pack_dataset

from zephyrctl.data import statistics
from zephyrctl.errors import DataError
from zephyrctl.training.packing import best_fit_decreasing, documents_of, pack
from zephyrctl.training.rows import IGNORED


def rows_of(lengths: list[int]) -> Dataset:
    """Row i holds its own number, and its first token is not trained."""
    return Dataset.from_list(
        [{"input_ids": [i] * n, "labels": [IGNORED, *[i] * (n - 1)]} for i, n in enumerate(lengths)]
    )


def pieces(rows: Dataset) -> list[tuple[list[int], list[int]]]:
    return [document for row in rows.to_list() for document in documents_of(row)]


@given(st.lists(st.integers(1, 12), max_size=40))
def test_bfd_needs_the_rows_that_data_preparation_announced(lengths: list[int]) -> None:
    bins = best_fit_decreasing(lengths, max_length=12)
    assert len(bins) == statistics.best_fit_decreasing(Counter(lengths), max_length=12)
    assert sorted(place for places in bins for place in places) == list(range(len(lengths)))
    assert all(sum(lengths[place] for place in places) <= 12 for places in bins)


def test_bfd_makes_rows_of_the_sizes_that_trl_makes() -> None:
    lengths = [5, 9, 3, 7, 8, 12, 1, 1, 6, 4, 9]
    mine = pack(rows_of(lengths), strategy="bfd", max_length=12, seed=1)
    disable_progress_bars()
    theirs: Any = pack_dataset(rows_of(lengths), 12, "bfd", {"keep_in_memory": True})
    sizes = [sorted(row) for row in mine.rows["seq_lengths"]]
    assert sorted(sizes) == sorted(sorted(row) for row in theirs["seq_lengths"])


def test_bfd_keeps_every_document_whole_and_says_how_full_the_rows_are() -> None:
    lengths = [5, 9, 3, 7, 8]
    packed = pack(rows_of(lengths), strategy="bfd", max_length=12, seed=1)
    assert sorted(pieces(packed.rows)) == sorted(
        (row["input_ids"], row["labels"]) for row in rows_of(lengths).to_list()
    )
    assert (len(packed.rows), packed.tokens, packed.documents) == (3, 32, 5)
    assert packed.efficiency == pytest.approx(32 / 36)
    assert packed.describe() == (
        "5 dialogues are packed whole into 3 rows of at most 12 tokens, 88.9 % full; "
        "no token is lost"
    )


def test_wrapped_is_one_stream_cut_into_full_rows() -> None:
    lengths = [5, 9, 3, 7, 8, 2]
    packed = pack(rows_of(lengths), strategy="wrapped", max_length=12, seed=1)
    assert [len(row) for row in packed.rows["input_ids"]] == [12, 12, 10]
    assert packed.rows.column_names == ["input_ids", "labels"]
    stream = [token for row in packed.rows["input_ids"] for token in row]
    assert Counter(stream) == Counter(dict(enumerate(lengths)))
    changes = sum(a != b for a, b in itertools.pairwise(stream))
    assert changes == len(lengths) - 1, "each dialogue is one piece of the stream"
    trained = [label for row in packed.rows["labels"] for label in row]
    assert trained.count(IGNORED) == len(lengths)


@pytest.mark.parametrize("strategy", ["bfd", "wrapped"])
def test_neighbours_in_a_row_are_drawn_by_the_seed(strategy: Any) -> None:
    def ids(seed: int) -> list[list[int]]:
        packed = pack(rows_of([3] * 30), strategy=strategy, max_length=12, seed=seed)
        return packed.rows["input_ids"][:]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)
    assert ids(1) != [sorted(row) for row in ids(1)]


@pytest.mark.parametrize("strategy", ["bfd", "wrapped"])
@pytest.mark.parametrize("lengths", [[], [12], [12, 12], [1]])
def test_few_or_no_dialogues(strategy: Any, lengths: list[int]) -> None:
    rows = rows_of(lengths) if lengths else rows_of([1]).select([])
    packed = pack(rows, strategy=strategy, max_length=12, seed=0)
    assert [len(row) for row in packed.rows["input_ids"][:]] == lengths


def test_a_dialogue_that_is_too_long_is_not_cut_without_a_word() -> None:
    with pytest.raises(DataError, match="13 tokens does not fit into a row of 12") as caught:
        pack(rows_of([5, 13]), strategy="bfd", max_length=12, seed=0)
    assert "data prepare" in str(caught.value.hint)


def test_empty_rows_are_in_no_row() -> None:
    rows = Dataset.from_dict({"input_ids": [[7, 7], [], [8]], "labels": [[7, 7], [], [8]]})
    packed = pack(rows, strategy="bfd", max_length=4, seed=0)
    assert [sorted(row) for row in packed.rows["input_ids"]] == [[7, 7, 8]]
