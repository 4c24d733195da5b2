"""How an answer of a service ended, and what else is told beside its text: the same either way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.fakes import FakeEndpoint
from tests.local_server import listening

from zephyrctl.chat import meter
from zephyrctl.chat.talker import open_endpoint
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError, NetworkError
from zephyrctl.generation.endpoint import Asked, Endpoint, Patience, Reply, Streamed
from zephyrctl.generation.endpoint.wire import BrokenAnswer, events, reason_of
from zephyrctl.generation.sampling import Completion, Sampling

HELLO = [Message("user", "hello there")]
GREEDY = Sampling(max_new_tokens=64)


def both(server: FakeEndpoint) -> list[Completion]:
    """The answer as a chat gets it whole, and streamed."""
    talker = open_endpoint(server.spec)
    reply = talker.reply(HELLO, sampling=GREEDY, stop=lambda: False)
    for _ in reply:
        pass
    return [talker.answer(HELLO, sampling=GREEDY), reply.completion]


@pytest.mark.parametrize(
    ("says", "reason", "stopped"),
    [
        ("stop", "stop", True), ("eos", "stop", True), ("END_TURN", "stop", True),
        ("length", "length", False), ("max_tokens", "length", False),
        ("content_filter", "content_filter", False), ("tool_calls", "tool_calls", False),
        ("abort", "abort", False), (None, "unknown", False),
    ],
)  # fmt: skip
def test_an_end_is_told_the_same_streamed_or_whole(
    says: str | None, reason: str, stopped: bool
) -> None:
    with FakeEndpoint(ends=says) as server:
        for completion in both(server):
            assert (completion.finish_reason, completion.stopped) == (reason, stopped)
            assert completion.text == "you said: hello there"


@pytest.mark.parametrize(
    ("fault", "text", "reason"),
    [
        ("filtered", "", "content_filter"), ("blocked", "", "content_filter"),
        ("refusal", "I can't help with that.", "stop"), ("parts", "you said: hello there", "stop"),
    ],
)  # fmt: skip
def test_filters_and_refusals_are_the_same_streamed_or_whole(
    fault: str, text: str, reason: str
) -> None:
    with FakeEndpoint(always=fault) as server:
        for completion in both(server):
            assert (completion.text, completion.finish_reason) == (text, reason)


def test_a_reply_that_its_reader_stopped_was_ended_by_nobody_else() -> None:
    with FakeEndpoint(ends="content_filter") as server:
        reply = open_endpoint(server.spec).reply(HELLO, sampling=GREEDY, stop=lambda: True)
        assert len(list(reply)) == 1
    assert (reply.completion.stopped, reply.completion.ended_by) == (False, None)


@pytest.mark.parametrize("said", [7, {"a": 1}, "", ["stop"]])
def test_a_reason_that_is_no_word_is_unknown(said: object) -> None:
    assert reason_of({"finish_reason": said}) == "unknown"


def test_an_answer_that_failed_midway_is_broken_in_a_stream_too() -> None:
    event = {"choices": [{"delta": {}, "finish_reason": "error", "error": "gone"}]}
    with pytest.raises(BrokenAnswer, match="broke off: gone"):
        list(events(iter([f"data: {json.dumps(event)}"]), Streamed()))


@pytest.mark.parametrize(
    ("ended_by", "said"),
    [("content_filter", "content filter"), ("tool_calls", "calls a tool"), ("unknown", "not say"),
     ("a[b]\x1b[2J", "ended by the service"), (None, "cut at 64 tokens")],
)  # fmt: skip
def test_what_a_service_says_of_an_end_is_told(ended_by: str | None, said: str) -> None:
    completion = Completion("a", 1, 5, False, 1.0, ended_by=ended_by)
    told = meter.cut(completion, most=64, context=None, option="--max-new-tokens")
    assert said in told
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("card", "context"),
    [
        ({"max_model_len": 4096}, 4096), ({"context_length": 512}, 512),
        ({"max_model_len": None, "max_context_length": 128}, 128),
        ({}, None), ({"max_model_len": "much"}, None), ({"max_model_len": -1}, None),
    ],
)  # fmt: skip
def test_the_context_is_the_one_that_the_service_lists(
    card: dict[str, object], context: int | None
) -> None:
    with FakeEndpoint(card=card) as server:
        talker = open_endpoint(server.spec)
        assert server.requests == []
        assert talker.context == context
        assert talker.context == context
        assert len(server.requests) == 1


def test_a_service_without_a_list_leaves_the_context_open() -> None:
    with FakeEndpoint() as server:
        gone = server.spec
    assert open_endpoint(gone).context is None
    with pytest.raises(NetworkError, match="no service answers"):
        Endpoint.parse(gone, env={}).context()


@contextmanager
def strict(error: dict[str, Any], *, always: bool) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A service that answers a request for usage, or every one, with a 400 and `error`."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            bodies.append(body)
            refused = always or "stream_options" in body
            event = {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}
            content = json.dumps(error) if refused else f"data: {json.dumps(event)}\n\n"
            self.send_response(400 if refused else 200)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any, **__: Any) -> None:
            """Nothing on the terminal of the tests."""

    with listening(Handler) as address:
        yield f"openai+{address}/v1:m", bodies


def test_a_400_to_usage_that_names_nothing_is_tried_without_it_once_and_remembered() -> None:
    with strict({"error": {"message": "Bad request"}}, always=False) as (spec, bodies):
        endpoint = Endpoint.parse(spec, env={})
        asked = Asked(HELLO, 8)
        assert ["".join(endpoint.stream(asked)) for _ in range(2)] == ["hi", "hi"]
    assert ["stream_options" in body for body in bodies] == [True, False, False]
    assert endpoint.notices == [
        "m does not count the tokens of a streamed reply, so its pieces are counted"
    ]


@pytest.mark.parametrize(
    ("message", "tries"),
    [("Bad request", 2), ("This model's maximum context length is 64 tokens", 1)],
)
def test_a_400_to_everything_is_the_error_and_not_laid_to_usage(message: str, tries: int) -> None:
    with strict({"error": {"message": message}}, always=True) as (spec, bodies):
        endpoint = Endpoint.parse(spec, env={})
        with pytest.raises(DataError, match=message):
            list(endpoint.stream(Asked(HELLO, 8)))
    assert len(bodies) == tries
    assert endpoint.adjustments == []


def test_the_whole_answer_keeps_a_reason_of_its_own() -> None:
    async def once(endpoint: Endpoint) -> Reply:
        try:
            return await endpoint.chat(Asked(HELLO, 64))
        finally:
            await endpoint.aclose()

    with FakeEndpoint(ends="tool_calls") as server:
        endpoint = Endpoint.parse(server.spec, env={}, patience=Patience(deadline_s=20))
        assert asyncio.run(once(endpoint)).finish_reason == "tool_calls"
