"""How does a model behind an OpenAI-compatible service judge?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply
from zephyrctl.evaluation.spending import Meter, current_meter
from zephyrctl.generation.endpoint import Asked, Endpoint, Patience, Reply
from zephyrctl.generation.endpoint.address import parse_spec
from zephyrctl.generation.remote import RemoteAnswerer


class RemoteJudge:
    """A model behind an OpenAI-compatible service, asked `eval.judge.concurrency` at a time.

    `meter`, the command's own where it has one, is asked before each request is first sent and
    told of each reply; what it raises ends the work when the replies under way are in. The key is
    looked for when the first request is sent: a bill, or a score whose judgments all stand, needs
    none (`require_access` looks for it earlier).
    """

    is_deterministic = False

    def __init__(self, recipe: Recipe) -> None:
        settings = recipe.eval.judge
        spec = settings.spec or ""
        service, self.name = parse_spec(spec, os.environ)
        self._settings = settings
        self._max_tokens = settings.max_tokens
        self.meter: Meter | None = current_meter()
        # Not the spec: OPENAI_BASE_URL moves `openai:MODEL` to another service.
        self.identity = {
            "service": service,
            "model": self.name,
            "max_tokens": settings.max_tokens,
        }

    def require_access(self) -> None:
        """CredentialsError where there is no key, NetworkError where the network is forbidden."""
        _ = self._endpoint

    @property
    def notices(self) -> list[str]:
        """What the service does not take or give, as found while judging."""
        return self._endpoint.notices if "_endpoint" in vars(self) else []

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """See `Judge`; the first error that no further try mends ends the work."""

        def before(index: int) -> None:
            if self.meter is not None:
                self.meter.reserve(requests[index])

        def lost(index: int) -> None:
            if self.meter is not None:
                self.meter.lose(requests[index])

        def done(index: int, reply: Reply) -> None:
            judged = _judged(reply)
            if self.meter is not None:
                self.meter.settle(requests[index], judged)
            on_reply(index, judged)

        self._answerer.ask(
            [self._asked(request) for request in requests],
            on_reply=done,
            before=before,
            lost=lost,
            name_of=lambda index: _name_of(requests[index]),
        )

    def close(self) -> None:
        """Nothing is held between two calls."""

    @cached_property
    def _endpoint(self) -> Endpoint:
        settings = self._settings
        return Endpoint.parse(
            settings.spec or "",
            api_key_file=settings.api_key_file,
            key_option="eval.judge.api_key_file",
            patience=Patience(timeout_s=settings.timeout_s, deadline_s=settings.deadline_s),
        )

    @cached_property
    def _answerer(self) -> RemoteAnswerer:
        return RemoteAnswerer(self._endpoint, self._settings.concurrency)

    def _asked(self, request: JudgeRequest) -> Asked:
        return Asked(
            request.messages,
            request.max_tokens or self._max_tokens,
            temperature=request.temperature,
            top_logprobs=request.top_logprobs,
        )


def _judged(reply: Reply) -> JudgeReply:
    return JudgeReply(
        reply.text,
        logprobs=reply.logprobs,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        finish_reason=reply.finish_reason,
    )


def _name_of(request: JudgeRequest) -> str:
    of = f" of {' and '.join(request.models)}" if request.models else ""
    return f"question {request.question_id}, turn {request.turn}{of}"
