"""What a judgment's text or probabilities say."""

import math

import pytest

from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.verdicts import (
    RATINGS,
    WINNERS,
    bare_option,
    by_fallback,
    expected_rating,
    probabilities,
    read_rating,
    with_options,
)


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[7]]", 7),
        ("Rating: [7.5]", 7.5),
        ("[[10]]", 10),
        ("[[99]]", None),  # no rating that was asked for
        ("[[0]] although [[8]] would do", None),  # the judge's first word counts, not a kinder one
        ("print(array[0])", None),
        ("no brackets: 7", None),
    ],
)
def test_a_rating_is_a_number_from_one_to_ten(text, rating):
    assert read_rating(text) == rating


def test_single_brackets_are_the_fallback():
    assert by_fallback("see [3]")
    assert not by_fallback("see [3], so [[4]]")
    assert not by_fallback("nothing")


@pytest.mark.parametrize(
    ("text", "option"), [("7", "7"), (" [[10]]. ", "10"), ("**3**", "3"), ("7 of 10", None)]
)
def test_a_judge_asked_for_the_rating_alone_may_leave_out_brackets(text, option):
    assert bare_option(text, RATINGS) == option


def _reply(text: str = "", **chances: float) -> JudgeReply:
    tokens = {name.replace("_", " "): math.log(value) for name, value in chances.items()}
    return JudgeReply(text, tokens)


def test_the_expected_rating_is_the_mean_under_the_judges_probabilities():
    chances = probabilities(JudgeReply("8", {"8": math.log(0.6), "9": math.log(0.3)}), RATINGS)
    assert chances is not None
    assert sum(chances.values()) == pytest.approx(1, abs=1e-12)
    assert expected_rating(chances) == pytest.approx((8 * 0.6 + 9 * 0.3) / 0.9, abs=1e-12)


def test_tokens_that_mark_a_words_start_are_the_same_option():
    said = {" A": math.log(0.2), "A": math.log(0.3), "ĠB": math.log(0.25), "x": math.log(0.25)}
    chances = probabilities(JudgeReply("A", said), WINNERS)
    assert chances == pytest.approx({"A": 0.5 / 0.75, "B": 0.25 / 0.75, "C": 0.0})


def test_a_reply_that_does_not_begin_with_a_verdict_gives_no_probabilities():
    assert probabilities(_reply("The answer", The=0.9, A=0.05), WINNERS) is None
    assert probabilities(JudgeReply("A", None), WINNERS) is None
    assert probabilities(JudgeReply("A", {}), WINNERS) is None


@pytest.mark.parametrize(
    ("text", "one", "ten"), [("10", 0.0, 0.2), ("1", 0.2, 0.0), ("1.", 0.2, 0.0), ("9", None, None)]
)
def test_a_one_that_may_begin_a_ten_is_what_the_text_begins_with(text, one, ten):
    said = {"9": math.log(0.8), "1": math.log(0.2)}
    chances = probabilities(JudgeReply(text, said), RATINGS)
    assert chances is not None
    if one is None:
        assert chances["9"] == 1
    else:
        assert (chances["1"], chances["10"]) == pytest.approx((one, ten))


def test_a_ten_of_its_own_token_is_no_one():
    said = {"10": math.log(0.5), "1": math.log(0.5)}
    chances = probabilities(JudgeReply("9", said), RATINGS)
    assert chances is not None
    assert (chances["1"], chances["10"]) == pytest.approx((0.5, 0.5))


def test_options_are_asked_for_in_one_short_reply():
    asked = with_options(JudgeRequest(1, 1, "p", "s", "judge this"), WINNERS, "One letter.")
    assert asked.user == "judge this\n\nOne letter."
    assert asked.options == WINNERS
    assert asked.top_logprobs == 20
    assert asked.max_tokens is not None
    assert asked.max_tokens < 50
