"""The same front over vLLM's asynchronous engine: a stand-in for it, which does not run here."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from tests.serving.conftest import CHAT, answering
from tests.serving.test_app import answer_of, ask, events, text_of
from transformers import AutoModelForCausalLM

from zephyrctl.generation import vllm
from zephyrctl.generation.engine import Engine
from zephyrctl.serving.vllm_turns import VllmTurns


class StandIn:
    """`AsyncLLM`, as far as it is used: greedy decoding by transformers, two tokens at a time."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.weights: Any = AutoModelForCausalLM.from_pretrained(
            arguments["model"], dtype=torch.float32
        )
        self.model_config = SimpleNamespace(
            max_model_len=self.weights.config.max_position_embeddings
        )
        self.params: list[Any] = []
        self.aborted: list[str] = []
        self.is_down = False

    async def generate(self, prompt: Any, params: Any, name: str) -> AsyncGenerator[Any]:
        self.params.append(params)
        ids = list(prompt["prompt_token_ids"])
        fresh: list[tuple[int, dict[int, Any]]] = []
        for count in range(1, params.max_tokens + 1):
            with torch.inference_mode():
                scores = self.weights(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            token = int(scores.argmax())
            ids.append(token)
            values, top = scores.topk(max(1, params.logprobs or 0))
            found = {
                number: SimpleNamespace(logprob=value, rank=rank)
                for rank, (number, value) in enumerate(
                    zip(top.tolist(), values.tolist(), strict=True), 1
                )
            }
            fresh.append((token, found))
            is_over = token in params.stop_token_ids or count == params.max_tokens
            if len(fresh) == 2 or is_over:
                reason = "stop" if token in params.stop_token_ids else "length"
                logprobs = None if params.logprobs is None else [one for _, one in fresh]
                done = SimpleNamespace(
                    token_ids=[one for one, _ in fresh], logprobs=logprobs,
                    finish_reason=reason if is_over else None,
                )  # fmt: skip
                yield SimpleNamespace(finished=is_over, outputs=[done])
                fresh = []
            await asyncio.sleep(0)
            if is_over:
                return

    async def abort(self, name: str) -> None:
        self.aborted.append(name)

    def shutdown(self) -> None:
        self.is_down = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tiny_base: Path) -> tuple[StandIn, VllmTurns]:
    """A model in the stand-in, and the front's way to it."""
    names = (
        "vllm",
        "vllm.sampling_params",
        "vllm.v1",
        "vllm.v1.engine",
        "vllm.v1.engine.async_llm",
    )
    modules: dict[str, Any] = {name: ModuleType(name) for name in names}
    modules["vllm"].AsyncEngineArgs = lambda **arguments: arguments
    modules["vllm"].SamplingParams = SimpleNamespace
    modules["vllm.sampling_params"].RequestOutputKind = SimpleNamespace(DELTA="delta")
    modules["vllm.v1.engine.async_llm"].AsyncLLM = SimpleNamespace(from_engine_args=StandIn)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in (*vllm._ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING"):
        monkeypatch.setenv(name, "1")  # what it sets is taken back after the test
    loaded = vllm.load_async(
        str(tiny_base), digest="d", tokenizer=str(tiny_base), chat_template="zephyr",
        dtype="float32", say=lambda text: None, at_once=7,
    )  # fmt: skip
    return loaded._engine, VllmTurns(loaded, max_new_tokens=12)


def test_answers_streams_scores_and_choices_are_those_of_transformers(
    made: tuple[StandIn, VllmTurns], engine: Engine, url: str
) -> None:
    llm, turns = made
    whole = answer_of(engine, "Offer tea to Mia").text
    stop = whole[len(whole) // 2 :][:2]
    with answering(turns) as other:
        for fields in (
            {}, {"n": 2, "max_tokens": 5}, {"logprobs": True, "top_logprobs": 2}, {"stop": stop},
        ):  # fmt: skip
            sent = ask("Offer tea to Mia", **fields)
            ours, theirs = (
                httpx.post(base + CHAT, json=sent, timeout=60, trust_env=False).json()
                for base in (url, other)
            )
            assert json.dumps(rounded(theirs["choices"])) == json.dumps(rounded(ours["choices"]))
            if "stop" not in fields:  # vLLM may be a token ahead of a stop text
                assert theirs["usage"] == ours["usage"]
        stream = httpx.post(
            other + CHAT, json=ask("Offer tea", stream=True), timeout=60, trust_env=False
        )
    assert text_of(events(stream)) == answer_of(engine, "Offer tea").text
    assert llm.aborted == ["4"], "only what a stop text ended"
    assert llm.is_down
    assert llm.arguments["max_num_seqs"] == 7


def rounded(value: Any) -> Any:
    """Numbers to three places: one reads a prompt in another way than the other."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return value


def test_arguments_are_our_own(made: tuple[StandIn, VllmTurns]) -> None:
    llm, turns = made
    hot = ask("x", n=2, seed=5, logprobs=True, top_logprobs=4, top_p=0.5, max_tokens=3)
    with answering(turns) as url:
        sent = {**hot, "temperature": 0.5}
        assert httpx.post(url + CHAT, json=sent, timeout=60, trust_env=False).status_code == 200
    first, second = llm.params
    assert (first.n, first.temperature, first.top_p, first.max_tokens) == (1, 0.5, 0.5, 3)
    assert (first.logprobs, first.output_kind, first.detokenize) == (4, "delta", False)
    assert first.seed != second.seed


def test_a_prompt_over_the_context_and_an_engine_that_breaks(
    made: tuple[StandIn, VllmTurns], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, turns = made

    async def fail(prompt: Any, params: Any, name: str) -> AsyncGenerator[Any]:
        raise RuntimeError("EngineDeadError")
        yield

    monkeypatch.setattr(llm, "generate", fail)
    with answering(turns) as url:
        long = httpx.post(url + CHAT, json=ask("tea " * 2000), timeout=60, trust_env=False)
        assert long.json()["error"]["code"] == "context_length_exceeded"
        broken = httpx.post(url + CHAT, json=ask("x"), timeout=60, trust_env=False)
    assert broken.status_code == 500
    assert broken.json()["error"]["message"] == "the server failed on this request"


def test_it_runs_beside_this_process() -> None:
    env = {"MASTER_PORT": "1"}
    vllm.prepare_environment(env, {**vllm._ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"})
    assert env["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert "MASTER_PORT" not in env
