"""Who won a pair, in rows of FastChat's names."""

import math

import pytest

from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.mt_bench.games import Outcomes, game_row, outcome, upstream_rates, whole


def game(order: int, text: str | JudgeReply, *, options: tuple[str, ...] = (), question: int = 1):
    request = JudgeRequest(
        question, 1, "pair-v2", "s", f"prompt {order}", ("dpo", "sft"), order, options=options
    )
    reply = JudgeReply(text) if isinstance(text, str) else text
    return {**game_row(request, reply, judge="gpt-4"), "sample": 0}


def test_two_games_are_one_row_of_fastchats():
    (row,) = whole([game(1, "[[A]]"), game(2, "[[B]]")])
    del row["sample"]
    assert row == {
        "question_id": 1, "model_1": "dpo", "model_2": "sft", "g1_winner": "model_1",
        "g2_winner": "model_1", "judge": ["gpt-4", "pair-v2"], "g1_user_prompt": "prompt 1",
        "g1_judgment": "[[A]]", "g2_user_prompt": "prompt 2", "g2_judgment": "[[B]]", "turn": 1,
    }  # fmt: skip
    assert whole([row]) == [row]


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("[[A]]", "[[B]]", "model_1"),
        ("[[B]]", "[[A]]", "model_2"),
        ("[[A]]", "[[A]]", "tie"),
        ("[[C]]", "[[B]]", "tie"),
        ("[[C]]", "[[C]]", "tie"),
        ("[[A]]", "hm", "error"),
    ],
)
def test_a_win_needs_both_orders(first, second, found):
    (row,) = whole([game(1, first), game(2, second)])
    assert outcome(row) == found


def test_a_game_that_was_not_played_is_an_error():
    (row,) = whole([game(1, "[[A]]")])
    assert outcome(row) == "error"


def test_the_last_row_of_a_game_counts():
    (row,) = whole([game(1, "hm"), game(2, "[[B]]"), game(1, "[[A]]")])
    assert outcome(row) == "model_1"


def chances(a: float, b: float, c: float) -> JudgeReply:
    logs = {name: math.log(p) for name, p in (("A", a), ("B", b), ("C", c)) if p}
    return JudgeReply(max(logs, key=lambda name: logs[name]), logs)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        # Shown first, dpo has 0.9; shown second 0.3: in the mean it is the likelier winner.
        ((0.9, 0.1, 0.0), (0.7, 0.3, 0.0), "model_1"),
        ((0.6, 0.4, 0.0), (0.9, 0.1, 0.0), "model_2"),
        ((0.3, 0.3, 0.4), (0.3, 0.3, 0.4), "tie"),
        ((0.5, 0.5, 0.0), (0.5, 0.5, 0.0), "tie"),
    ],
)
def test_with_probabilities_the_mean_of_both_orders_decides(first, second, found):
    options = ("A", "B", "C")
    (row,) = whole(
        [game(1, chances(*first), options=options), game(2, chances(*second), options=options)]
    )
    assert outcome(row) == found


def test_a_letter_alone_is_a_verdict_where_letters_were_asked_for():
    row = game(1, "B.", options=("A", "B", "C"))
    assert row["g1_winner"] == "model_2"
    assert "g1_probabilities" not in row
    assert game(1, "B.")["g1_winner"] == "error"


def test_counts_flips_and_the_place_shown_first():
    verdicts = [("[[A]]", "[[B]]"), ("[[A]]", "[[A]]"), ("[[C]]", "[[A]]"), ("[[C]]", "hm")]
    rows = [
        game(order, text, question=place)
        for place, texts in enumerate(verdicts)
        for order, text in enumerate(texts, start=1)
    ]
    found = Outcomes.of(rows).details()
    assert (found["wins"], found["ties"], found["losses"], found["errors"]) == (1, 2, 0, 1)
    assert found["n"] == 3
    assert found["win_rate"] == pytest.approx(1 / 3)
    assert found["order_flips"] == 2  # the second and the third
    assert found["order_flip_rate"] == pytest.approx(2 / 3)
    # Decided games: A, B, A, A, A; four times the model shown first.
    assert found["shown_first_wins"] == pytest.approx(4 / 5)
    rates = upstream_rates(whole(rows))
    assert rates["win_rate"] == pytest.approx(1 / 3)
    assert rates["win_rate_adjusted"] == pytest.approx(2 / 3)
    assert upstream_rates([])["win_rate"] is None
