"""How many requests go out, and when: the rules with the time as an argument."""

import pytest

from zephyrctl.generation.endpoint.limits import Remaining, remaining, retry_after, seconds_of
from zephyrctl.generation.endpoint.pace import FIRST, LEAD_S, LONGEST_S, Pace, Ticket


def send_all(pace: Pace, now: float = 0.0) -> list[Ticket]:
    """Send as many as may go now."""
    sent = []
    while pace.wait(now, tokens=1) == 0:
        sent.append(pace.sent(now, tokens=1))
    return sent


def reply(pace: Pace, tickets: list[Ticket], now: float = 0.0) -> list[Ticket]:
    """Answer all, one after the other; returns what was sent in their places."""
    sent = []
    for ticket in tickets:
        pace.grow()
        pace.back(ticket, now, {})
        sent += send_all(pace, now)
    return sent


def test_the_first_request_goes_alone_until_it_is_answered() -> None:
    pace = Pace(64)
    first = send_all(pace)
    assert len(first) == 1
    assert pace.wait(0.5, tokens=1) == LEAD_S - 0.5
    assert len(reply(pace, first, 0.5)) == FIRST


def test_a_slow_first_answer_does_not_hold_up_the_others() -> None:
    pace = Pace(64)
    send_all(pace)
    assert len(send_all(pace, LEAD_S)) == FIRST - 1


def test_a_refused_first_request_is_followed_by_one() -> None:
    pace = Pace(64)
    (first,) = send_all(pace)
    pace.back(first, 0.1, {})
    assert len(send_all(pace, 0.1)) == 1


def test_it_doubles_with_every_round_and_never_passes_the_most() -> None:
    pace = Pace(50)
    sent = send_all(pace)
    rounds = []
    for _ in range(6):
        rounds.append(len(sent))
        sent = reply(pace, sent)
    assert rounds == [1, 8, 16, 32, 50, 50]


def test_it_halves_once_a_round_and_then_grows_slowly() -> None:
    pace = Pace(64, limit=64.0, _is_led=True)
    tickets = send_all(pace)
    for ticket in tickets[:10]:
        pace.press(ticket, 0.0, pause=None)
    assert (pace.limit, pace.halvings) == (32, 1)
    for ticket in tickets:
        pace.back(ticket, 0.0, {})
    later = send_all(pace)
    assert len(later) == 32
    (*_, last) = reply(pace, later)
    assert 35.5 < pace.limit < 36
    pace.press(last, 0.0, pause=None)
    assert pace.halvings == 2


def test_it_never_falls_below_one() -> None:
    pace = Pace(4, _is_led=True)
    for _ in range(5):
        (ticket,) = send_all(pace)
        pace.press(ticket, 0.0, pause=None)
        pace.back(ticket, 0.0, {})
    assert len(send_all(pace)) == 1


def test_all_share_the_pause_that_one_was_asked_for() -> None:
    pace = Pace(8, limit=8.0, _is_led=True)
    ticket = pace.sent(0.0, tokens=1)
    pace.press(ticket, 0.0, pause=5.0)
    assert pace.wait(1.0, tokens=1) == 4.0
    assert pace.wait(5.0, tokens=1) == 0.0


def test_what_is_not_used_does_not_grow() -> None:
    pace = Pace(64, limit=8.0, _is_led=True)
    ticket = pace.sent(0.0, tokens=1)
    pace.grow()
    pace.back(ticket, 0.0, {})
    assert pace.limit == 8.0


def headers(resource: str, left: int, reset: str, limit: int | None = None) -> dict[str, str]:
    found = {
        f"x-ratelimit-remaining-{resource}": str(left),
        f"x-ratelimit-reset-{resource}": reset,
    }
    return found if limit is None else {**found, f"x-ratelimit-limit-{resource}": str(limit)}


def test_no_more_are_sent_than_the_headers_leave() -> None:
    pace = Pace(64, limit=64.0, _is_led=True)
    ticket = pace.sent(0.0, tokens=1)
    pace.sent(0.0, tokens=1)  # sent after the one that comes back: not in what its headers say
    pace.back(ticket, 0.0, headers("requests", 4, "10s"))
    assert len(send_all(pace)) == 3
    assert pace.wait(2.0, tokens=1) == 8.0
    assert pace.wait(10.0, tokens=1) == 0.0


def test_with_a_limit_what_was_used_comes_back_evenly() -> None:
    pace = Pace(64, limit=64.0, _is_led=True)
    ticket = pace.sent(0.0, tokens=1)
    pace.back(ticket, 0.0, headers("requests", 0, "1m0s", limit=60))
    assert pace.wait(0.0, tokens=1) == pytest.approx(1.0)
    assert pace.wait(0.4, tokens=1) == pytest.approx(0.6)
    assert pace.wait(1.01, tokens=1) == 0.0


def test_tokens_count_by_the_size_of_a_request() -> None:
    pace = Pace(64, limit=64.0, _is_led=True)
    ticket = pace.sent(0.0, tokens=100)
    pace.back(ticket, 0.0, headers("tokens", 250, "30s"))
    pace.sent(0.0, tokens=200)
    assert pace.wait(0.0, tokens=100) == 30.0
    assert pace.wait(0.0, tokens=50) == 0.0


def test_a_request_larger_than_the_whole_limit_is_not_held_for_ever() -> None:
    said = Remaining(left=900, reset_s=6.0, limit=1000)
    assert said.seconds_until(5000, since_s=0.0, spent=0.0) == pytest.approx(6.0)
    assert said.seconds_until(5000, since_s=6.1, spent=0.0) == 0.0


def test_headers_alone_hold_nothing_for_long() -> None:
    pace = Pace(64, limit=64.0, _is_led=True)
    pace.back(pace.sent(0.0, tokens=1), 0.0, headers("requests", 0, "24h0m0s"))
    assert pace.wait(0.0, tokens=1) == LONGEST_S
    assert pace.wait(LONGEST_S, tokens=1) == 0.0


def test_the_newest_requests_headers_count() -> None:
    pace = Pace(64, limit=64.0, _is_led=True)
    old, new = pace.sent(0.0, tokens=1), pace.sent(0.0, tokens=1)
    pace.back(new, 0.0, headers("requests", 0, "9s"))
    pace.back(old, 0.0, headers("requests", 50, "9s"))
    assert pace.wait(0.0, tokens=1) == 9.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1), ("6m0s", 360), ("120ms", 0.12), ("1h2m3.5s", 3723.5), ("2d", 172800), ("7", 7),
        ("0.25", 0.25), (" 3s ", 3), ("", None), ("soon", None), ("-1", None), ("nan", None),
        ("1795000000", None), ("2026-01-27T12:00:00Z", None), (None, None),
    ],
)  # fmt: skip
def test_durations_are_read_as_services_write_them(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"retry-after": "7"}, 7), ({"retry-after": "1.5s"}, 1.5), ({}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0), ({"retry-after": "later"}, None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(given: dict[str, str], seconds: float | None) -> None:
    assert retry_after(given) == seconds


def test_a_resource_without_a_reset_is_left_out() -> None:
    assert remaining({"x-ratelimit-remaining-requests": "0"}) == {}
