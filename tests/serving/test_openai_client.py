"""OpenAI's own client package against the service: sync, async, streams, log-probs, errors."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.serving.conftest import running
from tests.serving.test_app import answer_of, ask, slow

from zephyrctl.generation.engine import Engine
from zephyrctl.serving.line import Line


@pytest.fixture
def sync(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_an_answer_with_choices_scores_and_usage(sync: openai.OpenAI, engine: Engine) -> None:
    found = sync.chat.completions.create(**ask("Offer tea", n=2, logprobs=True, top_logprobs=3))
    want = answer_of(engine, "Offer tea")
    assert [choice.message.content for choice in found.choices] == [want.text, want.text]
    assert [choice.index for choice in found.choices] == [0, 1]
    assert found.usage is not None
    assert found.usage.completion_tokens == 2 * want.tokens
    for choice in found.choices:
        assert choice.logprobs is not None
        scores = choice.logprobs.content or []
        assert len(scores) == want.tokens
        text = b"".join(bytes(score.bytes or []) for score in scores).decode(errors="replace")
        assert text.strip().startswith(want.text[:10])
        for score in scores:
            assert [top.logprob for top in score.top_logprobs] == sorted(
                (top.logprob for top in score.top_logprobs), reverse=True
            )
            assert score.logprob == score.top_logprobs[0].logprob, "greedy takes the likeliest"
            assert 0 < math.exp(score.logprob) <= 1


def test_without_top_logprobs_only_the_tokens_own_is_given(sync: openai.OpenAI) -> None:
    (choice,) = sync.chat.completions.create(**ask("Offer tea", logprobs=True)).choices
    assert choice.logprobs is not None
    assert [score.top_logprobs for score in choice.logprobs.content or []] == [[]] * 12
    (plain,) = sync.chat.completions.create(**ask("Offer tea")).choices
    assert plain.logprobs is None


def test_a_stream_adds_up_to_the_answer_and_its_scores(sync: openai.OpenAI) -> None:
    asked = ask("Offer tea", n=3, seed=4, logprobs=True, top_logprobs=2)
    asked["temperature"] = 1.0
    whole = sync.chat.completions.create(**asked)
    options: Any = {"stream_options": {"include_usage": True}}
    with sync.chat.completions.stream(
        **{key: value for key, value in asked.items() if key != "stream"}, **options
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.current_completion_snapshot
    assert kinds.count("content.done") == 3
    assert len({choice.message.content for choice in whole.choices}) == 3
    for one, other in zip(final.choices, whole.choices, strict=True):
        assert one.message.content == other.message.content
        assert one.finish_reason == other.finish_reason
        assert one.logprobs is not None and other.logprobs is not None  # noqa: PT018
        ours = [(s.token, s.bytes) for s in one.logprobs.content or []]
        assert ours == [(s.token, s.bytes) for s in other.logprobs.content or []]
        assert [s.logprob for s in one.logprobs.content or []] == pytest.approx(
            [s.logprob for s in other.logprobs.content or []], abs=1e-4
        )
    assert final.usage == whole.usage


def test_many_at_once_by_the_async_client(url: str, engine: Engine) -> None:
    prompts = ["Offer tea", "Offer pasta to Ravi", "then tell Mia", "about the weather"] * 3

    async def everything() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:

            async def one(text: str) -> str:
                parts = await client.chat.completions.create(**ask(text), stream=True)
                return "".join([part.choices[0].delta.content or "" async for part in parts])

            return await asyncio.gather(*map(one, prompts))

    assert asyncio.run(everything()) == [answer_of(engine, text).text for text in prompts]


def test_models_are_listed(sync: openai.OpenAI) -> None:
    assert [model.id for model in sync.models.list()] == ["@dpo"]
    assert sync.models.retrieve("@dpo").owned_by == "zephyrctl"


def test_errors_are_the_clients_own_classes(sync: openai.OpenAI, engine: Engine) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sync.chat.completions.create(**ask("x", presence_penalty=1.5))
    assert (caught.value.param, caught.value.code) == ("presence_penalty", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as caught:
        sync.chat.completions.create(**ask("tea " * (engine.context or 0)))
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as missing:
        sync.chat.completions.create(**{**ask("x"), "model": "gpt-4o"})
    assert missing.value.code == "model_not_found"


def test_a_key_that_is_wrong_and_a_server_without_room(engine: Engine) -> None:
    line = Line(most=0)
    with running(engine, api_key="s3cret", line=line) as url:
        wrong = openai.OpenAI(base_url=f"{url}/v1", api_key="guess", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            wrong.chat.completions.create(**ask("x"))
        right = openai.OpenAI(base_url=f"{url}/v1", api_key="s3cret", max_retries=0)
        with pytest.raises(openai.InternalServerError) as caught:
            right.chat.completions.create(**ask("x"))
        assert caught.value.status_code == 503
        assert caught.value.response.headers["retry-after"] == "5"
        line._most = 1
        assert right.chat.completions.create(**ask("Offer tea")).choices


def test_a_client_whose_patience_ends_frees_its_place(url: str, engine: Engine) -> None:
    impatient = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=0.3)
    with slow(engine, seconds=0.05) as widths:
        with pytest.raises(openai.APITimeoutError):
            impatient.chat.completions.create(**ask("x", max_tokens=900))
        later = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        later.chat.completions.create(**ask("y", max_tokens=20))
    assert widths[-10:] == [1] * 10
