"""Which token ids is a prompt, and how is each of its choices drawn?"""

from __future__ import annotations

import asyncio
import copy
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zephyrctl.data.tokens import encode_prompt
from zephyrctl.errors import ZephyrctlError
from zephyrctl.generation.plain_text import as_text
from zephyrctl.generation.sampling import Sampling
from zephyrctl.serving.protocol import ChatRequest, Refusal

_NO_CONTEXT = 10**9
"""Where nothing says how much the model reads."""


class Prompts:
    """Tokenizes prompts in a thread of its own, so that a long one holds up no stream.

    It has a tokenizer of its own, too: a fast one fails where one thread reads it while another one
    encodes.
    """

    def __init__(self, tokenizer: Any, *, context: int | None, max_new_tokens: int) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._context = context or _NO_CONTEXT
        self._max_new_tokens = max_new_tokens
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizer")

    async def encode(self, request: ChatRequest) -> list[int]:
        """The ids of a prompt; Refusal where it leaves no room for an answer."""
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._thread, self._encoded, request)
        if len(ids) < self._context:
            return ids
        raise Refusal(
            f"the prompt has {len(ids)} tokens, and the model's context of {self._context} must "
            "hold it and at least one token of the answer",
            param="messages",
            code="context_length_exceeded",
        )

    def samplings(self, request: ChatRequest, tokens: int) -> list[Sampling]:
        """How each choice is drawn after a prompt of so many tokens.

        The first is drawn from the request's seed itself, each other from the next number.
        """
        seed = secrets.randbelow(2**31) if request.seed is None else request.seed
        limit = min(request.max_tokens or self._max_new_tokens, self._context - tokens)
        return [
            Sampling(request.temperature, request.top_p, 0, limit, seed + choice)
            for choice in range(request.n)
        ]

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _encoded(self, request: ChatRequest) -> list[int]:
        try:
            # What a client quotes cannot end a turn and speak for another.
            return encode_prompt(self._tokenizer, as_text(request.messages, self._tokenizer))
        except ZephyrctlError as error:
            raise Refusal(error.message, param="messages") from error
