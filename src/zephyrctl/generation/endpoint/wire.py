"""What is sent to a chat service, and what is read out of its answer?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zephyrctl.data.messages import Message, to_json

UNKNOWN = "unknown"
"""The finish reason of an answer whose service gives none."""


@dataclass(frozen=True)
class Asked:
    """One request. None leaves a field to the service.

    `top_logprobs` is how many log-probabilities of the first token are wanted.
    """

    messages: Sequence[Message]
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    top_p: float | None = None
    top_logprobs: int = 0

    @property
    def rate_tokens(self) -> int:
        """Tokens that the request counts as against a rate limit before it is answered.

        OpenAI's guide to rate limits: the larger of `max_tokens` and an estimate from the number
        of characters, of which four make a token.
        """
        return max(self.max_tokens, sum(len(message.content) for message in self.messages) // 4)


@dataclass(frozen=True)
class Reply:
    """One answer. Tokens are those the service counted, 0 where it counted none.

    `finish_reason` is as in `reason_of`; `logprobs` holds natural log-probabilities of the first
    token by its text, None where the service gave none.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    logprobs: Mapping[str, float] | None = None


_ENDS = {
    "stop": ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete"),
    "length": ("length", "max_tokens", "model_length"),
}
"""OpenAI's words for an end, and what other services say for them."""


class BrokenAnswer(Exception):
    """A body that is no chat completion."""


def body_of(model: str, asked: Asked) -> dict[str, Any]:
    """The request as JSON, in OpenAI's names."""
    body: dict[str, Any] = {
        "model": model,
        "messages": to_json(asked.messages),
        "max_tokens": asked.max_tokens,
        "temperature": asked.temperature,
    }
    if asked.seed is not None:
        body["seed"] = asked.seed
    if asked.top_p is not None:
        body["top_p"] = asked.top_p
    if asked.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": asked.top_logprobs}
    return body


def reply_of(content: bytes) -> Reply:
    """Parse the body of a 200; BrokenAnswer for half a document, an error, or no choice.

    A refusal and an answer cut by a content filter are replies like any other.
    """
    try:
        record = json.loads(content)
        choice = record["choices"][0]
        message = choice["message"]
        text = _words(message)
        usage = record.get("usage") or {}
        reason = reason_of(choice)
        counts = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        shown = content[:80].decode("utf-8", errors="replace")
        raise BrokenAnswer(f"an answer that is no chat completion: {shown!r}") from error
    return Reply(text, *counts, reason, _first_logprobs(choice.get("logprobs")))


def reason_of(choice: Mapping[str, Any]) -> str:
    """Why an answer ended, in OpenAI's words where they have one (`stop`, `length`,
    `content_filter`, `tool_calls`); `unknown` where the service does not say. BrokenAnswer for one
    that failed midway."""
    said = choice.get("finish_reason")
    if said == "error":  # a router's way to say that the model behind it failed
        raise BrokenAnswer(f"an answer that broke off: {str(choice.get('error') or '')[:80]}")
    if not isinstance(said, str) or not said:
        return UNKNOWN
    return next((name for name, words in _ENDS.items() if said.lower() in words), said[:40])


@dataclass
class Streamed:
    """What a stream told beside its text. Tokens are None where the service counted none,
    `finish_reason` (as in `reason_of`) until the stream has ended."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None


def events(lines: Iterator[str], told: Streamed) -> Iterator[str]:
    """The text of a stream of server-sent events, piece by piece; the rest goes into `told`.

    BrokenAnswer for an event that is none, an error within the stream, and a stream that stops
    before its end: neither a `[DONE]` nor a reason to finish came.
    """
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            told.finish_reason = told.finish_reason or UNKNOWN
            return
        try:
            record = json.loads(data)
            if "error" in record:
                raise BrokenAnswer(f"an error within the stream: {str(record['error'])[:200]}")
            _count(record.get("usage"), told)
            for choice in record.get("choices") or []:
                if choice.get("finish_reason"):
                    told.finish_reason = reason_of(choice)
                if piece := _words(choice.get("delta") or {}):
                    yield piece
        except (ValueError, TypeError, AttributeError) as error:
            raise BrokenAnswer(f"a broken event: {data[:80]!r}") from error
    if told.finish_reason is None:
        raise BrokenAnswer("the stream broke off before the end of the answer")


def _count(usage: Any, told: Streamed) -> None:
    """Take over the token counts of an event that has them; most have none."""
    if usage:
        told.prompt_tokens = int(usage.get("prompt_tokens") or 0) or told.prompt_tokens
        told.completion_tokens = int(usage.get("completion_tokens") or 0) or told.completion_tokens


def _words(message: Mapping[str, Any]) -> str:
    """What a message, or a piece of one, says; a refusal stands in the place of its content."""
    return _text(message.get("content")) or message.get("refusal") or ""


def _text(content: Any) -> str:
    """The text of a message; some services send it in typed parts, thoughts among them."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content or ""


def _first_logprobs(record: Any) -> dict[str, float] | None:
    """The first token's log-probabilities, in the chat or the older completions form."""
    try:
        if record.get("content"):
            first = record["content"][0]
            pairs = [(first["token"], first["logprob"])]
            pairs += [(row["token"], row["logprob"]) for row in first.get("top_logprobs") or []]
        elif record.get("tokens"):
            pairs = [(record["tokens"][0], record["token_logprobs"][0])]
            top = record.get("top_logprobs") or [{}]
            pairs += list((top[0] or {}).items())
        else:
            return None
    except (AttributeError, KeyError, IndexError, TypeError):
        return None
    found: dict[str, float] = {}
    for token, value in pairs:
        # Two tokens may have one text (byte pieces); the likelier one is listed first.
        if isinstance(value, int | float):
            found.setdefault(str(token), float(value))
    return found or None
