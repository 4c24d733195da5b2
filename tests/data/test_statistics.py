"""Lengths, packing and steps."""

import random

from hypothesis import given
from hypothesis import strategies as st

from zephyrctl.data.statistics import (
    Lengths,
    PairLengths,
    best_fit_decreasing,
    describe,
    histogram,
    packed_sequences,
    quantile,
    steps,
)


def slow_best_fit(lengths: list[int], max_length: int) -> int:
    """Best-fit decreasing, written out."""
    bins: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, free in enumerate(bins) if free >= length]
        if fitting:
            bins[min(fitting, key=lambda i: bins[i])] -= length
        else:
            bins.append(max_length - length)
    return len(bins)


@given(st.lists(st.integers(1, 50), max_size=60))
def test_packing_matches_the_plain_algorithm(lengths: list[int]) -> None:
    assert best_fit_decreasing(lengths, max_length=50) == slow_best_fit(lengths, 50)


def test_packing_of_many_rows_is_tight() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(10, 2048) for _ in range(20_000)]
    bins = packed_sequences(lengths, max_length=2048, packing="bfd")
    assert bins >= sum(lengths) / 2048
    assert sum(lengths) / (bins * 2048) > 0.97


def test_sequences_by_kind_of_packing() -> None:
    lengths = [60, 50, 40, 30]
    kinds = {"none": 4, "bfd": 2, "wrapped": 2}
    for packing, expected in kinds.items():
        assert packed_sequences(lengths, max_length=100, packing=packing) == expected


def test_histogram_counts_every_row_once() -> None:
    bins = histogram([1, 16, 17, 32, 33, 300])
    assert [item["rows"] for item in bins] == [2, 2, 1, 0, 0, 1]
    assert (bins[0]["from"], bins[0]["to"], bins[-1]["to"]) == (1, 16, 512)


def test_description_of_a_split() -> None:
    lengths = Lengths()
    for total in (10, 20, 30, 40):
        lengths.add(total, trained=5, cut=3 if total == 40 else 0, prompt_cut=2)
    table = describe(lengths, max_length=40, packing="none")
    assert (table["rows"], table["tokens"], table["trained_tokens"]) == (4, 100, 20)
    assert (table["rows_cut"], table["prompts_cut"], table["tokens_cut"]) == (1, 4, 11)
    assert table["quantiles"]["p50"] == 20
    assert table["packing_efficiency"] == 0.625
    assert describe(Lengths(), max_length=40, packing="none") == {"rows": 0}


def test_quantiles_are_values_of_the_data() -> None:
    assert [quantile([1, 2, 3, 4], share) for share in (0.0, 0.25, 0.5, 0.51, 1.0)] == [
        1,
        1,
        2,
        3,
        4,
    ]


def test_length_bias_of_pairs() -> None:
    bias = PairLengths()
    for chosen, rejected in ((10, 5), (5, 10), (8, 8), (20, 10)):
        bias.add(chosen, rejected)
    assert bias.to_json() == {
        "pairs": 4,
        "mean_difference": 2.5,
        "chosen_longer": 0.5,
        "same_length": 0.25,
    }


def test_steps_of_the_published_recipe() -> None:
    # 139.5 k packed sequences at a global batch of 128 took 1,090 steps; 61,135 pairs took 478
    assert steps(139_500, global_batch_size=128, epochs=1, max_steps=None) == 1090
    assert steps(61_135, global_batch_size=128, epochs=1, max_steps=None) == 478
    assert steps(61_135, global_batch_size=128, epochs=1, max_steps=12) == 12
