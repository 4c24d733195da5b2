"""The service over HTTP: a real server, the tiny model, and clients of several kinds."""

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import torch
from tests.serving.conftest import CHAT, running

from zephyrctl.data.messages import Message
from zephyrctl.errors import CredentialsError, EnvironmentProblem
from zephyrctl.generation.endpoint import Asked, Endpoint, models_at
from zephyrctl.generation.engine import Engine
from zephyrctl.generation.sampling import Sampling

SENTENCE = "Offer tea to Mia politely , then tell Ravi about the weather"


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "@dpo", "messages": [{"role": "user", "content": text}],
            "temperature": 0, **fields}  # fmt: skip


def events(response: httpx.Response) -> list[Any]:
    """The parsed data lines of a stream, `[DONE]` included."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(chunks: list[Any], choice: int = 0) -> str:
    return "".join(
        one["delta"].get("content", "")
        for chunk in chunks
        if chunk != "[DONE]"
        for one in chunk["choices"]
        if one["index"] == choice
    )


def answer_of(engine: Engine, text: str, **settings: Any) -> Any:
    sampling = Sampling(**{"max_new_tokens": 12, **settings})
    return engine.answer([[Message("user", text)]], sampling=sampling, batch_size=1)[0]


def test_an_answer_is_that_of_the_engine(client: httpx.Client, engine: Engine) -> None:
    record = client.post(CHAT, json=ask("Offer tea to Mia .")).json()
    want = answer_of(engine, "Offer tea to Mia .")
    ids = engine.encode([Message("user", "Offer tea to Mia .")])
    assert (record["object"], record["model"]) == ("chat.completion", "@dpo")
    (choice,) = record["choices"]
    assert choice["message"] == {
        "role": "assistant", "content": want.text, "refusal": None,
    }  # fmt: skip
    assert choice["finish_reason"] == ("stop" if want.stopped else "length")
    assert record["usage"] == {
        "prompt_tokens": len(ids), "completion_tokens": want.tokens,
        "total_tokens": len(ids) + want.tokens,
    }  # fmt: skip


def test_a_stream_is_the_same_answer_in_pieces(client: httpx.Client, engine: Engine) -> None:
    options = {"include_usage": True}
    response = client.post(CHAT, json=ask("Offer tea", stream=True, stream_options=options))
    *chunks, usage, done = events(response)
    want = answer_of(engine, "Offer tea")
    assert done == "[DONE]"
    assert text_of(chunks) == want.text
    assert len(chunks) > 3
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (
        len(chunks) - 1
    )
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == want.tokens
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_choices_follow_the_seed_and_the_first_is_the_only_one_of_n_1(
    client: httpx.Client,
) -> None:
    hot = {"temperature": 1.0, "seed": 5, "top_p": 0.9}
    one = client.post(CHAT, json=ask("Offer tea", **hot)).json()["choices"]
    three = client.post(CHAT, json=ask("Offer tea", n=3, **hot)).json()["choices"]
    again = events(client.post(CHAT, json=ask("Offer tea", n=3, stream=True, **hot)))
    texts = [choice["message"]["content"] for choice in three]
    assert [choice["index"] for choice in three] == [0, 1, 2]
    assert texts[0] == one[0]["message"]["content"]
    assert len(set(texts)) == 3
    assert [text_of(again, choice) for choice in range(3)] == texts
    other = client.post(CHAT, json=ask("Offer tea", **{**hot, "seed": 6})).json()["choices"]
    assert other[0]["message"]["content"] != texts[0]


def test_without_a_seed_samples_differ(client: httpx.Client) -> None:
    found = {
        client.post(CHAT, json=ask("Offer tea", temperature=1.5)).json()["choices"][0]["message"][
            "content"
        ]
        for _ in range(4)
    }
    assert len(found) > 1


def test_a_stop_text_and_a_token_limit_end_an_answer(client: httpx.Client, engine: Engine) -> None:
    whole = answer_of(engine, "Offer tea").text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 2]
    stopped = client.post(CHAT, json=ask("Offer tea", stop=stop)).json()["choices"][0]
    assert stopped["message"]["content"] == whole[: whole.index(stop)]
    assert stopped["finish_reason"] == "stop"
    record = client.post(CHAT, json=ask("Offer tea", max_tokens=3)).json()
    assert record["choices"][0]["finish_reason"] == "length"
    assert record["usage"]["completion_tokens"] == 3


def test_many_streams_at_once_are_all_answered_and_never_mixed_up(url: str, engine: Engine) -> None:
    words = SENTENCE.split()
    prompts = [" ".join(words[start : start + size]) for start in range(6) for size in (1, 3, 5, 6)]
    want = [answer_of(engine, prompt).text for prompt in prompts]

    async def all_of_them() -> list[str]:
        async with httpx.AsyncClient(base_url=url, timeout=60.0, trust_env=False) as client:
            requests = [client.post(CHAT, json=ask(text, stream=True)) for text in prompts]
            return [text_of(events(response)) for response in await asyncio.gather(*requests)]

    assert len(set(want)) > 5
    assert asyncio.run(all_of_them()) == want


@contextmanager
def slow(engine: Engine, *, seconds: float) -> Iterator[list[int]]:
    """Let every forward pass take so long; yields how many rows each one had."""
    widths: list[int] = []

    def wait(model: Any, arguments: Any, kwargs: Any) -> None:
        del model, arguments
        widths.append(len(kwargs["input_ids"]))
        time.sleep(seconds)

    hook = engine.model.register_forward_pre_hook(wait, with_kwargs=True)
    try:
        yield widths
    finally:
        hook.remove()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_model(
    stream: bool, url: str, engine: Engine, client: httpx.Client
) -> None:
    with slow(engine, seconds=0.02) as widths:
        with suppress(httpx.ReadTimeout):
            begin(url, ask("x", stream=stream, max_tokens=900))
        client.post(CHAT, json=ask("y", max_tokens=40))
        assert widths[-20:] == [1] * 20
        count = len(widths)
        time.sleep(0.2)
        assert len(widths) == count, "nothing is decoded for nobody"


def begin(url: str, sent: dict[str, Any]) -> None:
    """Read the first bytes of an answer and leave, or leave where none come."""
    with httpx.stream("POST", url + CHAT, json=sent, timeout=0.3, trust_env=False) as response:
        next(response.iter_bytes())


def test_a_prompt_over_the_context_is_a_400(client: httpx.Client, engine: Engine) -> None:
    assert engine.context is not None
    for stream in (False, True):
        response = client.post(CHAT, json=ask("tea " * engine.context, stream=stream))
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["code"] == "context_length_exceeded"
        assert str(engine.context) in error["message"]


def test_models_and_health(client: httpx.Client, engine: Engine) -> None:
    assert client.get("/health").json() == {"status": "ok", "model": "@dpo"}
    listed = client.get("/v1/models").json()["data"]
    assert [row["id"] for row in listed] == ["@dpo"]
    assert listed[0]["max_model_len"] == engine.context
    assert client.get("/v1/models/@dpo").json() == listed[0]


def test_our_own_client_is_answered(url: str, engine: Engine) -> None:
    (name,) = models_at(f"{url}/v1")
    endpoint = Endpoint.parse(f"openai+{url}/v1:{name}", env={})
    assert endpoint.context() == engine.context == 1024
    messages = [Message("system", "be kind"), Message("user", "Offer tea")]

    async def once() -> Any:
        try:
            return await endpoint.chat(Asked(messages, 9))
        finally:
            await endpoint.aclose()

    sampling = Sampling(max_new_tokens=9)
    want = engine.answer([messages], sampling=sampling, batch_size=1)[0]
    reply = asyncio.run(once())
    assert (reply.text, reply.prompt_tokens) == (want.text, want.prompt_tokens)
    assert "".join(endpoint.stream(Asked(messages, 9))) == want.text


def test_a_judge_is_given_the_log_probabilities_of_its_first_token(url: str) -> None:
    endpoint = Endpoint.parse(f"openai+{url}/v1:@dpo", env={})

    async def once() -> Any:
        try:
            return await endpoint.chat(Asked([Message("user", "m or M?")], 1, top_logprobs=5))
        finally:
            await endpoint.aclose()

    reply = asyncio.run(once())
    assert reply.logprobs is not None
    assert len(reply.logprobs) == 5
    assert max(reply.logprobs, key=reply.logprobs.__getitem__).strip() == reply.text


def test_a_key_is_asked_for_everywhere_but_at_health(engine: Engine, tmp_path: Any) -> None:
    with running(engine, api_key="s3cret") as url:
        assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "s3cret"}):
            for path in ("/v1/models", "/v1/models/@dpo"):
                found = httpx.get(url + path, headers=headers, trust_env=False)
                assert found.status_code == 401
                assert found.json()["error"]["code"] == "invalid_api_key"
        key = tmp_path / "key"
        key.write_text("s3cret\n")
        right = Endpoint.parse(f"openai+{url}/v1:@dpo", api_key_file=str(key), env={})
        assert "".join(right.stream(Asked([Message("user", "hi")], 4)))
        bare = Endpoint.parse(f"openai+{url}/v1:@dpo", env={})
        with pytest.raises(CredentialsError):
            list(bare.stream(Asked([Message("user", "hi")], 4)))


@contextmanager
def breaking(engine: Engine, error: Exception, *, at: int) -> Iterator[None]:
    """Let one forward pass fail, counted from 1."""
    passes = itertools.count(1)

    def fail(model: Any, arguments: Any) -> None:
        del model, arguments
        if next(passes) == at:
            raise error

    hook = engine.model.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (EnvironmentProblem("the card has fallen off the bus"), "fallen off the bus"),
        (RuntimeError("/home/me/secret.py broke"), "the server failed on this request"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory is too small for a single answer"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_said_and_the_next_request_is_served(
    error: Exception, shown: str, url: str, engine: Engine, client: httpx.Client,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with breaking(engine, error, at=1):
        whole = client.post(CHAT, json=ask("x"))
    assert whole.status_code == 500
    assert shown in whole.json()["error"]["message"]
    want = answer_of(engine, "Offer tea").text
    with breaking(engine, error, at=4):
        *chunks, last = events(client.post(CHAT, json=ask("Offer tea", stream=True)))
    assert want.startswith(text_of(chunks[:-1]))
    assert shown in last["error"]["message"]
    assert "a request failed" in capsys.readouterr().err
    assert (
        client.post(CHAT, json=ask("Offer tea")).json()["choices"][0]["message"]["content"] == want
    )


def test_an_open_stream_is_finished_when_the_server_is_told_to_end(engine: Engine) -> None:
    begun = threading.Event()
    chunks: list[str] = []

    def read(url: str) -> None:
        sent = ask("Offer tea", max_tokens=200, stream=True)
        with httpx.stream("POST", url + CHAT, json=sent, timeout=60, trust_env=False) as response:
            for chunk in response.iter_text():
                chunks.append(chunk)
                begun.set()

    with ThreadPoolExecutor(1) as pool:
        with running(engine) as url:
            reading = pool.submit(read, url)
            assert begun.wait(timeout=30)
        reading.result(timeout=60)
    assert "".join(chunks).endswith("data: [DONE]\n\n")
