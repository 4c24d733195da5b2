"""How much was said, how fast, and how full is the context?"""

from __future__ import annotations

from dataclasses import dataclass

from zephyrctl import terminal
from zephyrctl.generation.sampling import Completion

_ENDED = {
    "content_filter": "(cut by the content filter of the service)",
    "tool_calls": "(the model calls a tool, and none can be called from here)",
    "unknown": "(the service does not say whether that is all)",
}
"""What is said of a reply that neither its model nor a limit ended."""


@dataclass
class Totals:
    """What /stats adds up over the replies of a chat."""

    replies: int = 0
    tokens: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    cached: int = 0
    last: str = "no reply yet"
    used: int | None = None
    """Tokens of the last prompt and its reply, None where they were not told."""

    def add(self, completion: Completion, *, context: int | None) -> None:
        """Count one reply of a model that reads `context` tokens."""
        self.replies += 1
        self.tokens += completion.tokens
        self.seconds += completion.seconds
        self.prompt_tokens += completion.prompt_tokens
        self.cached += completion.cached
        told = completion.prompt_tokens > 0
        self.used = completion.prompt_tokens + completion.tokens if told else None
        self.last = line(completion, context=context)


def line(completion: Completion, *, context: int | None) -> str:
    """What is said after a reply, in one line; what is not known is left out."""
    parts = [f"{completion.tokens} token{'' if completion.tokens == 1 else 's'}"]
    if speed := tokens_per_second(completion):
        parts.append(f"{speed:.1f} tokens/s")
    if completion.first_s is not None:
        parts.append(f"first {completion.first_s:.2f} s")
    used = completion.prompt_tokens + completion.tokens
    if context and completion.prompt_tokens:
        parts.append(f"context {used}/{context} ({used / context:.0%})")
    if completion.cached:
        parts.append(f"{completion.cached} cached")
    return " · ".join(parts)


def cut(completion: Completion, *, most: int, context: int | None, option: str) -> str:
    """Why a reply that the model did not end has no more, in one line; `option` sets `most`."""
    if completion.ended_by is not None:
        said = f"(ended by the service: {terminal.safe(completion.ended_by)})"
        return _ENDED.get(completion.ended_by, said)
    used = completion.prompt_tokens + completion.tokens
    if context and used >= context:
        return "(cut: the context is full)"
    return f"(cut at {most} tokens: {option})"


def left_out(count: int, *, context: int | None, model: str) -> str:
    """That `model` begins to read less than all: without the `count` oldest messages."""
    return (
        f"(the context of {context} tokens is full: {model} no longer reads the first {count} "
        "messages, and with each question more of them; /status says how many)"
    )


def tokens_per_second(completion: Completion) -> float | None:
    """Tokens per second after the first one, which waits for the prompt to be read; None where
    too few came to tell."""
    first = completion.first_s or 0.0
    counted = completion.tokens - (completion.first_s is not None)
    seconds = completion.seconds - first
    return counted / seconds if counted > 0 and seconds > 0 else None
