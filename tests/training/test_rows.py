"""Columns of token rows."""

from datasets import Dataset

from zephyrctl.training.rows import IGNORED, lengths_of, longest_first, with_labels

ROWS = Dataset.from_list(
    [
        {"input_ids": [1, 2, 3], "assistant_mask": [0, 1, 1]},
        {"input_ids": [4], "assistant_mask": [1]},
        {"input_ids": [5, 6], "assistant_mask": [0, 0]},
    ]
)


def test_labels_follow_the_mask() -> None:
    assert with_labels(ROWS, mask="assistant_mask")["labels"][:] == [
        [IGNORED, 2, 3], [4], [IGNORED, IGNORED],
    ]  # fmt: skip
    assert with_labels(ROWS, mask=None)["labels"][:] == ROWS["input_ids"][:]


def test_a_selection_of_rows_has_its_own_labels() -> None:
    chosen = ROWS.select([2, 0])
    assert lengths_of(chosen, "input_ids") == [2, 3]
    assert with_labels(chosen, mask="assistant_mask")["labels"][:] == [
        [IGNORED, IGNORED], [IGNORED, 2, 3],
    ]  # fmt: skip


def test_the_longest_rows_come_first() -> None:
    rows, lengths = longest_first(ROWS, lengths_of(ROWS, "input_ids"))
    assert lengths == [3, 2, 1]
    assert rows["input_ids"][:] == [[1, 2, 3], [5, 6], [4]]


def test_no_rows() -> None:
    empty = ROWS.select([])
    assert lengths_of(empty, "input_ids") == []
    assert len(with_labels(empty, mask="assistant_mask")) == 0
