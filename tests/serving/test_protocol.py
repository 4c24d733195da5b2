"""Which bodies are answered, and what is said of the others."""

import json
from typing import Any

import pytest

from zephyrctl.data.messages import Message
from zephyrctl.serving.protocol import ChatRequest, Refusal, parse

HI = [{"role": "user", "content": "hi"}]
GOOD = {"model": "m", "messages": HI}


def body(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def test_the_smallest_body_takes_the_protocols_defaults() -> None:
    assert parse(body()) == ChatRequest("m", (Message("user", "hi"),), 1.0, 1.0, None, None, 1)


def test_every_supported_field_is_read() -> None:
    found = parse(
        body(
            temperature=0, top_p=0.5, max_completion_tokens=7, seed=3, n=2, stop=["a", "b"],
            stream=True, stream_options={"include_usage": True}, logprobs=True, top_logprobs=4,
        )
    )  # fmt: skip
    assert found == ChatRequest(
        "m",
        (Message("user", "hi"),),
        0.0,
        0.5,
        7,
        3,
        2,
        ("a", "b"),
        logprobs=True,
        top_logprobs=4,
        stream=True,
        include_usage=True,
    )
    assert parse(body(max_tokens=9)).max_tokens == 9
    assert parse(body(stop="x")).stop == ("x",)


def test_values_that_ask_for_nothing_may_stand() -> None:
    neutral = {
        "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "logprobs": False,
        "top_logprobs": None, "tools": [], "user": None, "response_format": {"type": "text"},
        "seed": None, "stop": None, "max_tokens": None, "stream": None,
    }  # fmt: skip
    assert parse(body(**neutral)) == parse(body())


def test_text_parts_are_joined_by_line_breaks() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    found = parse(body(messages=[{"role": "user", "content": parts, "name": None}]))
    assert found.messages == (Message("user", "one\ntwo"),)


USER = {"role": "user", "content": "a"}
WRONG: list[tuple[bytes, str | None]] = [
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b'"hi"', None),
    (b"\xff\xfe", None),
    (b"[" * 100_000, None),
    (b'{"model": "m", "messages": [], "temperature": NaN}', None),
    (b"{}", "model"),
    (b'{"model": "m"}', "messages"),
    (body(model=""), "model"),
    (body(model=3), "model"),
    (body(model=None), "model"),
    (body(messages=[]), "messages"),
    (body(messages="hi"), "messages"),
    (body(messages=["hi"]), "messages[0]"),
    (body(messages=[{"role": "user"}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": 3}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": []}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": "\ud800"}]), "messages[0].content"),
    (body(messages=[{"role": "tool", "content": "x"}]), "messages[0].role"),
    (body(messages=[{"role": ["user"], "content": "x"}]), "messages[0].role"),
    (body(messages=[{**USER, "tool_calls": [{}]}]), "messages[0]"),
    (
        body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
        "messages[0].content",
    ),
    (body(messages=[USER, USER]), "messages"),
    (body(messages=[USER, {"role": "assistant", "content": "b"}]), "messages"),
    (body(messages=[USER, {"role": "system", "content": "b"}]), "messages"),
    (body(temperature=-0.1), "temperature"),
    (body(temperature=2.5), "temperature"),
    (body(temperature="1"), "temperature"),
    (body(temperature=True), "temperature"),
    (body(top_p=0), "top_p"),
    (body(top_p=1.1), "top_p"),
    (body(max_tokens=0), "max_tokens"),
    (body(max_tokens=1.5), "max_tokens"),
    (body(max_tokens=True), "max_tokens"),
    (body(max_tokens=10**30), "max_tokens"),
    (body(max_tokens=1, max_completion_tokens=1), "max_tokens"),
    (body(seed="x"), "seed"),
    (body(seed=2**64), "seed"),
    (body(n=0), "n"),
    (body(n=1000), "n"),
    (body(stop=[]), "stop"),
    (body(stop=""), "stop"),
    (body(stop=["a"] * 5), "stop"),
    (body(stop=[1]), "stop"),
    (body(stop={"a": 1}), "stop"),
    (body(stream="yes"), "stream"),
    (body(stream_options={"include_usage": True}), "stream_options"),
    (body(stream=True, stream_options={"x": 1}), "stream_options"),
    (body(stream=True, stream_options=[]), "stream_options"),
    (body(logprobs=1), "logprobs"),
    (body(top_logprobs=2), "top_logprobs"),
    (body(logprobs=True, top_logprobs=21), "top_logprobs"),
    (body(logprobs=True, top_logprobs=True), "top_logprobs"),
    (body(tools=[{"type": "function"}]), "tools"),
    (body(response_format={"type": "json_object"}), "response_format"),
    (body(presence_penalty=0.5), "presence_penalty"),
    (body(frequency_penalty=False), "frequency_penalty"),
    (body(logit_bias={"1": 2}), "logit_bias"),
    (body(user="me"), "user"),
    (body(top_k=5), "top_k"),
    (body(temprature=1), "temprature"),
    (body(unheard=None), "unheard"),
]


@pytest.mark.parametrize(("sent", "param"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_body_is_refused_by_the_name_of_its_field(sent: bytes, param: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        parse(sent)
    assert caught.value.status == 400
    assert caught.value.param == param
    error = caught.value.to_json()["error"]
    assert error["type"] == "invalid_request_error"
    assert param is None or param.rpartition(".")[2] in error["message"]
