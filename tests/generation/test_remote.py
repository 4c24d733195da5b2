"""Many requests to one real local server: all answered, none lost, and an end when there is one."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes import FakeEndpoint, RateLimit

from zephyrctl.data.messages import Message
from zephyrctl.errors import (
    CredentialsError,
    DataError,
    DiskFull,
    Interrupted,
    NetworkError,
    StoppedEarly,
    UsageError,
    ZephyrctlError,
)
from zephyrctl.generation.endpoint import Asked, Endpoint, Patience, Reply
from zephyrctl.generation.remote import RemoteAnswerer
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs import signals

QUICK = Patience(timeout_s=5, deadline_s=20, first_s=0.002, longest_s=0.05)


def answerer(server: FakeEndpoint, concurrency: int = 16, **changes: Any) -> RemoteAnswerer:
    endpoint = Endpoint.parse(server.spec, patience=replace(QUICK, **changes), env={})
    return RemoteAnswerer(endpoint, concurrency)


def asked(count: int) -> list[Asked]:
    return [Asked([Message("user", f"number {n}")], 64) for n in range(count)]


def ask(remote: RemoteAnswerer, count: int, **more: Any) -> dict[int, Reply]:
    """All replies by index; a second reply to one request is an error."""
    replies: dict[int, Reply] = {}

    def keep(index: int, reply: Reply) -> None:
        assert index not in replies
        replies[index] = reply

    remote.ask(asked(count), on_reply=keep, **more)
    return replies


def test_all_are_answered_each_with_its_own_answer() -> None:
    with FakeEndpoint(delay_s=0.01) as server:
        replies = ask(answerer(server), 200)
    assert {n: reply.text for n, reply in replies.items()} == {
        n: f"you said: number {n}" for n in range(200)
    }
    assert len(server.requests) == 200
    assert 8 < server.most_at_once <= 16


def test_what_one_request_learns_all_others_know() -> None:
    with FakeEndpoint(refuses=["max_tokens", "temperature"], delay_s=0.02) as server:
        remote = answerer(server, 64)
        ask(remote, 128)
        ask(remote, 64)
    assert len(server.requests) == 128 + 64 + 2


def test_those_under_way_learn_together() -> None:
    """The parameter is refused late, when many requests that carry it are under way already."""
    with FakeEndpoint(delay_s=0.05) as server:
        remote = answerer(server, 32)
        threading.Timer(0.3, setattr, (server, "refuses", ("temperature",))).start()
        replies = ask(remote, 300)
    assert len(replies) == 300
    assert remote.endpoint.adjustments == ["temperature"]
    assert len(server.requests) <= 300 + 32


def test_a_pause_asked_of_one_holds_all() -> None:
    with FakeEndpoint(faults=["ok"] * 20 + ["429"], retry_after="0.4", delay_s=0.01) as server:
        moments: list[float] = []
        remote = answerer(server, 8)
        remote.ask(asked(60), on_reply=lambda *_: moments.append(time.monotonic()))
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert sorted(gaps)[-1] > 0.35
    assert sorted(gaps)[-2] < 0.2
    assert remote.pace.halvings == 1


@pytest.mark.parametrize("shows_headers", [True, False])
def test_a_rate_limit_is_kept_and_with_headers_hardly_touched(shows_headers: bool) -> None:
    limit = RateLimit(20, window_s=0.25)
    with FakeEndpoint(limit=limit, shows_limit=shows_headers) as server:
        replies = ask(answerer(server, 64, deadline_s=60), 100)
    assert len(replies) == 100
    refused_share = limit.refused / len(server.requests)
    assert refused_share < (0.05 if shows_headers else 0.8)


@pytest.mark.parametrize(
    ("fault", "error"),
    [("401", CredentialsError), ("404", UsageError), ("quota", CredentialsError)],
)
def test_what_concerns_all_ends_all_at_once_and_keeps_what_is_done(
    fault: str, error: type[ZephyrctlError]
) -> None:
    kept: list[int] = []
    with FakeEndpoint(fault_of=lambda n: "ok" if n < 30 else fault, delay_s=0.02) as server:
        with pytest.raises(error) as caught:
            answerer(server).ask(asked(500), on_reply=lambda index, _: kept.append(index))
        time.sleep(0.05)
        sent = len(server.requests)
    assert 14 <= len(kept) <= 30
    assert sent <= 30 + 16
    is_about_kept = "; what was answered so far is kept" in (caught.value.hint or "")
    assert is_about_kept == (error is CredentialsError)


def test_what_concerns_one_lets_those_under_way_come_in() -> None:
    kept: list[int] = []
    with FakeEndpoint(faults=["ok"] * 30 + ["long"], delay_s=0.05) as server:
        with pytest.raises(DataError, match="does not fit") as caught:
            answerer(server, 8).ask(
                asked(500),
                on_reply=lambda index, _: kept.append(index),
                name_of=lambda index: f"question {index}",
            )
        assert "question 3" in str(caught.value.where)
        assert caught.value.hint is not None
        assert len(kept) == len(server.requests) - 1 >= 30


def test_before_is_called_once_for_each_and_ends_the_work_with_what_is_paid() -> None:
    reserved: list[int] = []

    def before(index: int) -> None:
        if len(reserved) == 40:
            raise StoppedEarly("enough")
        reserved.append(index)

    kept: list[int] = []
    faults = [("ok", "500")[n % 3 == 2] for n in range(30)]
    with FakeEndpoint(faults=faults, delay_s=0.02) as server, pytest.raises(StoppedEarly):
        answerer(server, 8).ask(
            asked(100), on_reply=lambda index, _: kept.append(index), before=before
        )
    assert sorted(reserved) == list(range(40))
    assert sorted(kept) == list(range(40))


def test_an_error_of_the_store_ends_the_work() -> None:
    def full(index: int, reply: Reply) -> None:
        raise DiskFull("no space")

    with FakeEndpoint() as server, pytest.raises(DiskFull):
        answerer(server).ask(asked(50), on_reply=full)
    assert len(server.requests) <= 16


def test_one_request_that_never_succeeds_ends_at_its_deadline() -> None:
    def answer(messages: list[dict[str, str]]) -> str:
        if messages[-1]["content"] == "number 7":
            raise RuntimeError  # the connection hangs
        return "fine"

    with (
        FakeEndpoint(answer=answer) as server,
        pytest.raises(NetworkError, match=r"within 0\.6 s, in \d tries: no whole answer"),
    ):
        ask(answerer(server, timeout_s=0.2, deadline_s=0.6), 50)


def test_nobody_there_is_said_soon() -> None:
    with FakeEndpoint() as server:
        remote = answerer(server, 64, deadline_s=900)
    with pytest.raises(NetworkError, match="no service answers") as caught:
        ask(remote, 500)
    assert caught.value.hint is not None


def test_a_service_that_restarts_is_waited_for() -> None:
    with FakeEndpoint(faults=["ok"] * 20 + ["drop"] * 60) as server:
        assert len(ask(answerer(server), 100)) == 100


@pytest.fixture
def signalled() -> Iterator[None]:
    previous = {number: signal.getsignal(number) for number in signals._STOPPING}
    signals.install()
    yield
    signals.clear()
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signalled")
def test_a_signal_ends_the_work_soon_while_every_request_hangs() -> None:
    with FakeEndpoint(delay_s=30) as server:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        with pytest.raises(Interrupted):
            ask(answerer(server), 50)
    assert time.monotonic() - began < 2


def test_answers_come_as_completions() -> None:
    found: dict[int, Completion] = {}
    with FakeEndpoint() as server:
        answerer(server).answer(
            [[Message("user", f"number {n}")] for n in range(5)],
            sampling=Sampling(temperature=0.7, top_p=0.9, seed=4, max_new_tokens=3),
            on_done=found.__setitem__,
        )
    _, body = server.requests[0]
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.7, 0.9, 4)
    assert {(found[n].text, found[n].stopped) for n in range(5)} == {("you said: number", False)}


def test_an_answer_gets_what_the_context_leaves_and_a_longer_prompt_none() -> None:
    prompts = [[Message("user", " ".join(["word"] * length))] for length in (3, 30, 90)]
    done: dict[int, Completion] = {}
    with FakeEndpoint() as server:
        server.context = 40
        answerer(server).answer(
            prompts, sampling=Sampling(max_new_tokens=20), on_done=done.__setitem__
        )
    assert [done[index].stopped for index in range(3)] == [True, False, False]
    assert len(done[1].text.split()) == 10
    assert [body["max_tokens"] for _, body in server.requests].count(10) == 1
    assert done[2].text == ""
    assert "maximum context length is 40 tokens" in (done[2].problem or "")
    assert [done[index].problem for index in range(2)] == [None, None]


def test_a_judge_is_told_that_its_request_is_too_long() -> None:
    with FakeEndpoint() as server:
        server.context = 40
        with pytest.raises(DataError, match="does not fit into the model's context"):
            ask(answerer(server), 1)
