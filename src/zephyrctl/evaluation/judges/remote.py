"""How does a model behind an OpenAI-compatible service judge?"""

from __future__ import annotations

from collections.abc import Sequence

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply
from zephyrctl.generation.answerer import RemoteAnswerer
from zephyrctl.generation.endpoint import Endpoint
from zephyrctl.generation.sampling import Sampling


class RemoteJudge:
    """A model behind an OpenAI-compatible service, asked `eval.judge.concurrency` at a time."""

    is_deterministic = False

    def __init__(self, recipe: Recipe) -> None:
        settings = recipe.eval.judge
        spec = settings.spec or ""
        self._settings = settings
        self._endpoint = Endpoint.parse(
            spec, api_key_file=settings.api_key_file, timeout_s=settings.timeout_s
        )
        self.name = self._endpoint.model
        self.identity = {"spec": spec, "max_tokens": settings.max_tokens}

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """See `Judge`; the first error that no retry mends ends the work."""
        answerer = RemoteAnswerer(self._endpoint, self._settings.concurrency)
        answerer.answer(
            [request.messages for request in requests],
            sampling=Sampling(max_new_tokens=self._settings.max_tokens),
            on_done=lambda index, completion: on_reply(
                index,
                JudgeReply(
                    completion.text,
                    prompt_tokens=completion.prompt_tokens,
                    completion_tokens=completion.tokens,
                ),
            ),
        )

    def close(self) -> None:
        """Nothing is held between two calls."""
