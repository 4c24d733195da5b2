"""How do requests become vLLM's, and its tokens answers?

vLLM batches by itself. It gets our token ids and gives ids back, so that prompts, text, stop texts
and log-probabilities are made here as for transformers.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from zephyrctl.errors import JobFailed
from zephyrctl.generation.detokenize import TokenBytes
from zephyrctl.generation.rows import Score
from zephyrctl.generation.sampling import Sampling
from zephyrctl.generation.vllm import AsyncVllm, sampling_arguments
from zephyrctl.serving.choices import Choice
from zephyrctl.serving.events import Begun, BrokenOff, Ended, Event
from zephyrctl.serving.prompts import Prompts
from zephyrctl.serving.protocol import ChatRequest


class VllmTurns:
    """A model in vLLM, asked by many; see `Answering`."""

    def __init__(self, vllm: AsyncVllm, *, max_new_tokens: int) -> None:
        self.context: int | None = vllm.context
        self._vllm = vllm
        self._prompts = Prompts(vllm.tokenizer, context=vllm.context, max_new_tokens=max_new_tokens)
        self._names = TokenBytes(vllm.tokenizer)
        self._numbers = itertools.count()
        self._under_way: set[asyncio.Queue[Event | Exception]] = set()

    async def ask(self, request: ChatRequest) -> AsyncGenerator[Event]:
        """See `Answering`."""
        ids = await self._prompts.encode(request)
        come: asyncio.Queue[Event | Exception] = asyncio.Queue()
        self._under_way.add(come)
        growing = [
            asyncio.ensure_future(self._grow(choice, ids, sampling, request, come))
            for choice, sampling in enumerate(self._prompts.samplings(request, len(ids)))
        ]
        try:
            begun, still_open = False, request.n
            while still_open:
                event = await come.get()
                if isinstance(event, Exception):
                    raise event
                if not begun:
                    begun = True
                    yield Begun(len(ids))
                yield event
                still_open -= isinstance(event, Ended)
        finally:
            self._under_way.discard(come)
            for task in growing:
                task.cancel()
            await asyncio.wait(growing)

    def break_off(self) -> None:
        """See `Answering`."""
        for come in self._under_way:
            come.put_nowait(BrokenOff())

    def close(self) -> None:
        """See `Answering`."""
        self._prompts.close()
        self._vllm.close()

    async def _grow(
        self,
        number: int,
        ids: list[int],
        sampling: Sampling,
        request: ChatRequest,
        come: asyncio.Queue[Event | Exception],
    ) -> None:
        """One choice from its first token to its last."""
        choice = Choice(number, self._vllm.tokenizer, stops=request.stop, names=self._names)
        count = request.top_logprobs if request.logprobs else None
        arguments = sampling_arguments(
            sampling,
            ids,
            limit=sampling.max_new_tokens,
            stop_ids=self._vllm.stop_ids,
            repetition_penalty=self._vllm.repetition_penalty,
        )
        tokens, stopped = 0, False
        try:
            # Closed early, vLLM's generator ends its request.
            steps = self._vllm.stream(ids, {**arguments, "logprobs": count}, next(self._numbers))
            async with aclosing(steps):
                async for output in steps:
                    for place, token in enumerate(output.token_ids):
                        tokens += 1
                        stopped = token in self._vllm.stop_ids
                        score = (
                            _score(output.logprobs[place], token, count)
                            if request.logprobs
                            else None
                        )
                        piece = choice.feed(token, score, ends=stopped)
                        if piece is not None:
                            come.put_nowait(piece)
                        if choice.is_stopped:
                            break
                    if choice.is_stopped:
                        break
            for last in choice.close(stopped=stopped, tokens=tokens):
                come.put_nowait(last)
        except Exception as error:  # a task has nobody else to tell
            come.put_nowait(JobFailed(f"vLLM: {type(error).__name__}: {error}"))


def _score(found: dict[int, Any], token: int, count: int | None) -> Score:
    """vLLM's log-probabilities by id; beside the likeliest it names the chosen one."""
    ranked = sorted(found.items(), key=lambda item: item[1].rank)[: count or 0]
    return Score(found[token].logprob, tuple((other, one.logprob) for other, one in ranked))
