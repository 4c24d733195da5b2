"""A limit of cost holds whatever comes back, in any order, from any number of threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import StoppedEarly, UsageError
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest
from zephyrctl.evaluation.prices import Price
from zephyrctl.evaluation.spending import Meter, current_meter, dollars, metered

PRICE = Price(prompt=1_000.0, completion=10_000.0, origin="test")  # a tenth of a cent, one cent


def request(prompt: int, completion: int) -> JudgeRequest:
    """`prompt` bytes, at most `completion` tokens of reply."""
    return JudgeRequest(1, 1, "single", "", "x" * prompt, max_tokens=completion)


def recipe(**of_eval: object) -> Recipe:
    return Recipe.model_validate({"eval": of_eval})


calls = st.lists(
    st.tuples(
        st.integers(1, 200),  # bytes of the prompt
        st.integers(1, 100),  # longest reply
        st.floats(0.0, 1.0),  # how much of each comes back
    ),
    max_size=60,
)


@given(calls, st.floats(0.01, 20.0), st.integers(1, 8))
@settings(max_examples=120, deadline=None)
def test_what_is_spent_and_under_way_never_passes_the_limit(
    drawn: list[tuple[int, int, float]], limit: float, at_once: int
):
    meter = Meter(PRICE, max_cost=limit, max_tokens=100)
    waiting: list[tuple[JudgeRequest, JudgeReply]] = []
    refused = 0
    worst = 0.0

    def under_way() -> float:
        most = [meter.most(asked) for asked, _ in waiting]
        return PRICE.usd(
            meter.prompt_tokens + sum(prompt for prompt, _ in most),
            meter.completion_tokens + sum(completion for _, completion in most),
        )

    for prompt, completion, share in drawn:
        asked = request(prompt, completion)
        most = meter.most(asked)
        fits = under_way() + PRICE.usd(*most) <= limit * (1 - 1e-12)
        try:
            meter.reserve(asked)
        except StoppedEarly:
            refused += 1
            assert not fits  # nothing is refused that could be paid
        else:
            back = JudgeReply("", None, int(share * most[0]), int(share * most[1]))
            waiting.append((asked, back))
        worst = max(worst, under_way())
        if len(waiting) >= at_once:
            meter.settle(*waiting.pop(0))
    for pair in waiting:
        meter.settle(*pair)
    assert worst <= limit
    assert meter.calls == len(drawn) - refused
    assert meter.spent_usd is not None
    assert meter.spent_usd <= limit


def test_threads_cannot_pass_the_limit_together():
    """32 threads draw on 10.00 in requests of at most 0.10 that really cost 0.05."""
    meter = Meter(Price(0.0, 10_000.0, "test"), max_cost=10.0, max_tokens=10)
    asked = JudgeRequest(1, 1, "single", "", "x", max_tokens=10)
    start = threading.Barrier(32)

    def work(_: int) -> int:
        start.wait()
        done = 0
        while True:
            try:
                meter.reserve(asked)
            except StoppedEarly:
                return done
            meter.settle(asked, JudgeReply("", prompt_tokens=1, completion_tokens=5))
            done += 1

    with ThreadPoolExecutor(32) as pool:
        done = sum(pool.map(work, range(32)))
    assert done == meter.calls
    assert meter.completion_tokens == 5 * done
    assert meter.spent_usd is not None
    assert 0.05 * 100 < meter.spent_usd <= 10.0


def test_a_try_whose_reply_was_lost_counts_against_the_limit_at_its_most():
    meter = Meter(Price(0.0, 10_000.0, "test"), max_cost=1.0, max_tokens=10)
    asked = JudgeRequest(1, 1, "single", "", "x", max_tokens=30)  # 0.30 at most
    meter.reserve(asked)
    meter.lose(asked)
    meter.lose(asked)
    with pytest.raises(StoppedEarly):
        meter.lose(asked)  # 0.90 may be billed, and one more try could make it 1.20
    assert meter.affordable([asked]) == 0
    meter.settle(asked, JudgeReply("", prompt_tokens=1, completion_tokens=3))
    assert meter.spent_usd == pytest.approx(0.03)
    assert meter.line is not None
    assert "3 tries whose reply was lost may be billed too, up to $0.90 more" in meter.line
    assert meter.to_json()["judge.lost_tries"] == 3


def test_a_prompt_is_reserved_by_its_bytes_and_settled_by_the_services_count():
    meter = Meter(PRICE, max_cost=100.0, max_tokens=50)
    asked = JudgeRequest(1, 1, "single", "", "Würde")
    prompt, completion = meter.most(asked)
    assert prompt >= len("Würde".encode())
    assert completion == 50
    meter.reserve(asked)
    meter.settle(asked, JudgeReply("[[7]]", prompt_tokens=3, completion_tokens=4))
    assert (meter.prompt_tokens, meter.completion_tokens) == (3, 4)
    assert meter.spent_usd == pytest.approx((3 * 1_000 + 4 * 10_000) / 1e6)


def test_a_service_that_counts_nothing_is_taken_at_the_most():
    meter = Meter(PRICE, max_cost=100.0, max_tokens=50)
    asked = request(10, 20)
    meter.reserve(asked)
    meter.settle(asked, JudgeReply("[[7]]"))
    assert (meter.prompt_tokens, meter.completion_tokens) == meter.most(asked)


def test_the_error_says_what_was_spent_and_how_to_go_on():
    meter = Meter(PRICE, max_cost=1.0, max_tokens=100)
    asked = request(10, 90)
    meter.reserve(asked)
    meter.settle(asked, JudgeReply("", prompt_tokens=100, completion_tokens=60))
    with pytest.raises(StoppedEarly) as stopped:
        meter.reserve(asked)
    assert stopped.value.exit_code == 75
    assert "the judge cost $0.70 of at most $1.00" in stopped.value.message
    assert "--max-cost" in str(stopped.value.hint)


def test_without_a_price_tokens_are_counted_and_a_limit_is_refused():
    meter = Meter(None, max_cost=None, max_tokens=100)
    asked = request(10, 90)
    meter.reserve(asked)
    meter.settle(asked, JudgeReply("", prompt_tokens=5, completion_tokens=6))
    assert meter.spent_usd is None
    assert meter.to_json()["judge.prompt_tokens"] == 5
    assert "unknown price" in str(meter.line)
    limited = Meter(None, max_cost=1.0, max_tokens=100)
    with pytest.raises(UsageError) as refused:
        limited.reserve(asked)
    assert "eval.judge.prompt_price" in str(refused.value.hint)


def test_a_command_has_one_meter_for_all_its_judges():
    judged = recipe(judge={"spec": "openai:gpt-4o"}, max_cost=3.0)
    assert current_meter() is None
    with metered(judged) as meter:
        assert current_meter() is meter
        assert meter.max_cost == 3.0
        assert meter.price == Price(2.5, 10.0, meter.price.origin if meter.price else "")
    assert current_meter() is None


def test_a_limit_with_an_unknown_price_is_no_error_where_nothing_is_asked():
    unknown = recipe(judge={"spec": "openai+https://judge.example/v1:big"}, max_cost=3.0)
    with metered(unknown) as meter:
        assert meter.affordable([]) == 0
        with pytest.raises(UsageError, match="price of the judge"):
            meter.affordable([request(1, 1)])
    assert meter.calls == 0


def test_a_command_without_a_judge_has_nothing_to_tell():
    with metered(recipe(max_cost=1.0)) as meter:
        assert meter.to_json() == {}
        assert meter.line is None


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0.0, "$0.00"), (4.1, "$4.10"), (1234.5, "$1,234.50"), (0.0312, "$0.031"), (1e-7, "less")],
)
def test_small_sums_keep_two_digits(amount: float, shown: str):
    assert dollars(amount).startswith(shown)
