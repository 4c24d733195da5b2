"""Ratings become pairs by the chosen rule."""

from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError

from zephyrctl.config.schema.data import Binarize
from zephyrctl.data.messages import Message
from zephyrctl.data.preferences import (
    PRESETS,
    Binarized,
    RatedCompletion,
    RatedPrompt,
    Rule,
    Unfit,
    binarize,
    check_score,
    rule_of,
)
from zephyrctl.errors import ConfigError, DataError


def rated(*scores: float | None, question: str = "q", origin: str = "", **aspects: Any) -> Any:
    """A prompt whose completions are named after their position."""
    return RatedPrompt(
        prompt=(Message("user", question),),
        completions=tuple(
            RatedCompletion(f"answer {i}", "m", score, None, {k: v[i] for k, v in aspects.items()})
            for i, score in enumerate(scores)
        ),
        id="1",
        source="test",
        origin=origin,
    )


def picked(prompt: RatedPrompt, rule: Rule, *, seed: int = 0) -> tuple[int, int]:
    """Positions of chosen and rejected."""
    made = binarize(prompt, rule=rule, seed=seed)
    assert isinstance(made, Binarized)
    chosen, rejected = made.pair.chosen[0].content, made.pair.rejected[0].content
    return int(chosen.split()[1]), int(rejected.split()[1])


@pytest.mark.parametrize(
    ("rejected", "expected"), [("worst", (1, 3)), ("median", (1, 2)), ("random", None)]
)
def test_best_is_chosen_and_the_rule_rejects(rejected: str, expected: Any) -> None:
    found = picked(rated(8, 9, 5, 1), Rule(rejected=rejected))
    assert found[0] == 1
    assert found == expected or (expected is None and found[1] != 1)


def test_random_rejection_is_even_and_follows_the_words_not_their_case() -> None:
    draws = Counter(picked(rated(9, 1, 1, 1, question=f"q{i}"), Rule())[1] for i in range(600))
    assert set(draws) == {1, 2, 3}
    assert min(draws.values()) > 150  # 200 expected, standard deviation 11.5
    plain, loud = rated(9, 1, 1, 1, question="Why so?"), rated(9, 1, 1, 1, question="WHY SO")
    assert picked(plain, Rule()) == picked(loud, Rule())


def test_another_seed_draws_anew() -> None:
    prompts = [rated(9, 1, 1, 1, question=f"q{i}") for i in range(50)]
    first, second = ([picked(p, Rule(), seed=seed) for p in prompts] for seed in (1, 2))
    assert first != second


def test_ties_are_dropped_kept_or_ordered() -> None:
    tied = rated(7, 7)
    assert isinstance(binarize(tied, rule=Rule(ties="drop"), seed=0), Unfit)
    assert picked(tied, Rule(ties="keep")) == (0, 1)
    assert picked(tied, Rule(ties="first")) == (0, 1)
    assert picked(rated(7, 7, 3), Rule(ties="drop")) == (0, 2)


def test_pair_closer_than_the_margin_is_left_out() -> None:
    assert binarize(rated(7, 6), rule=Rule(margin=1.5), seed=0) == Unfit(
        "scores closer than the margin"
    )
    assert picked(rated(7, 5.5), Rule(margin=1.5)) == (0, 1)


def test_score_can_be_the_mean_of_aspects_or_one_of_them() -> None:
    prompt = rated(9, 1, honesty=[1, 4], helpfulness=[4, 5])
    assert picked(prompt, Rule(score="mean_of_aspects")) == (1, 0)
    assert picked(rated(9, 1, honesty=[5, 4]), Rule(score="honesty")) == (0, 1)


def test_unknown_aspect_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="no aspect 'humour'") as caught:
        check_score(rated(9, 1, honesty=[1, 2]), Rule(score="humour"), where="x:1")
    assert caught.value.hint is not None
    assert "honesty" in caught.value.hint


def test_completions_without_score_or_text_are_left_out_and_counted() -> None:
    made = binarize(rated(9, None, 3), rule=Rule(rejected="worst"), seed=0)
    assert isinstance(made, Binarized)
    assert made.remarks == {"completions without a score left out": 1}
    with pytest.raises(DataError, match="fewer than two rated completions"):
        binarize(rated(9, None), rule=Rule(), seed=0)


def test_mis_scored_ten_is_repaired_by_the_published_rule() -> None:
    prompt = rated(10, 8, 2, helpfulness=[1, 4, 2])
    assert picked(prompt, Rule(rejected="worst")) == (1, 0)  # the 10 was a 1
    assert picked(prompt, Rule(rejected="worst", misscored="keep")) == (0, 2)
    doubtful = binarize(rated(10, 8, 2, helpfulness=[3, 4, 2]), rule=Rule(), seed=0)
    assert isinstance(doubtful, Binarized)
    assert doubtful.remarks == {"doubtful score of 10 left out": 1}
    assert picked(rated(10, 8, helpfulness=[5, 4]), Rule()) == (0, 1)  # a true 10


def test_h4_v1_rejects_position_0_or_2_and_keeps_ties() -> None:
    rule = PRESETS["h4-v1"]
    assert picked(rated(5, 9, 1, 7), rule) == (1, 0)
    assert picked(rated(9, 5, 1, 7), rule) == (0, 2)
    assert picked(rated(9, 5, 9, 7), rule) == (0, 2)


def test_2024_presets_leave_truthful_qa_out() -> None:
    prompt = rated(9, 1, origin="truthful_qa", helpfulness=[5, 1])
    for name in ("h4-2024", "argilla-clean"):
        assert binarize(prompt, rule=PRESETS[name], seed=0) == Unfit("prompt of TruthfulQA")
    assert picked(prompt, PRESETS["h4-v1"]) == (0, 1)


def test_argilla_preset_ranks_by_aspects_and_drops_ties() -> None:
    assert picked(rated(9, 1, helpfulness=[2, 4]), PRESETS["argilla-clean"]) == (1, 0)
    tie = binarize(rated(9, 1, helpfulness=[4, 4]), rule=PRESETS["argilla-clean"], seed=0)
    assert isinstance(tie, Unfit)


def test_preset_stands_alone() -> None:
    assert rule_of(Binarize(preset="h4-2024")) == PRESETS["h4-2024"]
    with pytest.raises(ValidationError, match="fixes margin"):
        Binarize(preset="h4-2024", margin=1.0)
