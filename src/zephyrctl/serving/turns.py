"""How do requests become rows of the running batch, and its tokens answers?

With the same seed and prompt a choice draws the same numbers whatever else is in the batch. Its
probabilities are the same up to the last bits of the arithmetic, which depend on how many rows are
read together (measured in float32 on a CPU: 200 of 200 sampled answers alike, alone and among 32).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from zephyrctl.generation.detokenize import TokenBytes
from zephyrctl.generation.rows import Row
from zephyrctl.serving.budget import MOST_ROWS, Budget, budget_of
from zephyrctl.serving.choices import Choice
from zephyrctl.serving.events import Begun, Ended, Event
from zephyrctl.serving.mailbox import Mailbox, Post
from zephyrctl.serving.prompts import Prompts
from zephyrctl.serving.protocol import ChatRequest
from zephyrctl.serving.scheduler import Scheduler, Task

if TYPE_CHECKING:
    from zephyrctl.generation.engine import Engine


class Turns:
    """The weights of this process, asked by many; see `Answering`."""

    def __init__(
        self,
        engine: Engine,
        *,
        max_new_tokens: int,
        budget: Budget | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.budget = budget or budget_of(engine, rows=MOST_ROWS)
        self.context = engine.context
        self._tokenizer = engine.tokenizer
        self._prompts = Prompts(
            engine.tokenizer, context=engine.context, max_new_tokens=max_new_tokens
        )
        self._names = TokenBytes(engine.tokenizer)
        self._numbers = itertools.count()
        self._post = Post()
        self._scheduler = Scheduler(
            engine.decoder.reader, budget=self.budget, say=say, after_pass=self._post.carry
        )

    async def ask(self, request: ChatRequest) -> AsyncGenerator[Event]:
        """See `Answering`."""
        self._post.loop = asyncio.get_running_loop()
        ids = await self._prompts.encode(request)
        wanted = request.top_logprobs if request.logprobs else None
        rows = [
            Row(next(self._numbers), ids, one.max_new_tokens, one, top_logprobs=wanted)
            for one in self._prompts.samplings(request, len(ids))
        ]
        mailbox = Mailbox()
        tasks = [self._task(row, choice, request, mailbox) for choice, row in enumerate(rows)]
        try:
            self._scheduler.submit(tasks)
            still_open = request.n
            event = await mailbox.get()
            yield Begun(len(ids))
            while True:
                yield event
                still_open -= isinstance(event, Ended)
                if not still_open:
                    return
                event = await mailbox.get()
        finally:
            self._scheduler.leave(rows)

    def break_off(self) -> None:
        """See `Answering`."""
        self._scheduler.break_off()

    def close(self) -> None:
        """See `Answering`."""
        self._scheduler.close()
        self._prompts.close()

    def _task(self, row: Row, number: int, request: ChatRequest, mailbox: Mailbox) -> Task:
        choice = Choice(number, self._tokenizer, stops=request.stop, names=self._names)

        def grown(row: Row) -> None:
            """In the model's thread."""
            if row.problem is not None:
                self._post.drop(mailbox, row.problem)
                return
            score = row.scores.pop() if row.scores else None
            piece = choice.feed(row.tokens[-1], score, ends=row.stopped)
            if piece is not None:
                self._post.drop(mailbox, piece)
            ended_itself = row.stopped
            row.stopped = row.stopped or choice.is_stopped
            if row.is_done:
                for last in choice.close(stopped=ended_itself, tokens=len(row.tokens)):
                    self._post.drop(mailbox, last)

        return Task(row, grown)
