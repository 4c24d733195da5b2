"""Is this body a request that can be answered to the letter, and as what?

What is not supported is refused by name, never left out: a client that asked for log-probabilities
and got none would not know. A field may stand in a body where its value asks for nothing (null, a
penalty of 0), because client libraries send such defaults.

Source: OpenAI's API reference, "Create chat completion".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zephyrctl.data.messages import Message, check_prompt
from zephyrctl.errors import DataError

MOST_CHOICES = 16
MOST_STOPS = 4
MOST_TOP_LOGPROBS = 20
LONGEST_STOP = 256
"""Characters of a stop text, which bounds what a stream holds back."""
DEFAULT_TEMPERATURE = 1.0
_LARGEST_SEED = 2**63

# Fields of the protocol that are not supported, and the values (besides null) that ask for nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "audio": (), "best_of": (1,), "echo": (False,), "frequency_penalty": (0,), "function_call": (),
    "functions": ([],), "logit_bias": ({},), "metadata": ({},), "min_p": (0,), "modalities":
    (["text"],), "parallel_tool_calls": (), "prediction": (), "presence_penalty": (0,),
    "prompt_cache_key": (), "reasoning_effort": (), "repetition_penalty": (1,), "response_format":
    ({"type": "text"},), "safety_identifier": (), "service_tier": ("auto", "default"), "store":
    (False,), "tool_choice": ("none",), "tools": ([],), "top_k": (0, -1), "user": (), "verbosity":
    (), "web_search_options": (),
}  # fmt: skip


class Refusal(Exception):
    """A request that is not answered, as HTTP status and OpenAI's error object."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code

    def to_json(self) -> dict[str, Any]:
        """The body: `{"error": {"message", "type", "param", "code"}}`."""
        kind = {401: "authentication_error", 500: "server_error", 503: "server_error"}.get(
            self.status, "invalid_request_error"
        )
        return {
            "error": {
                "message": self.message, "type": kind, "param": self.param, "code": self.code,
            }
        }  # fmt: skip


@dataclass(frozen=True)
class ChatRequest:
    """A request that can be answered. `max_tokens` None leaves the length to the server."""

    model: str
    messages: tuple[Message, ...]
    temperature: float = DEFAULT_TEMPERATURE
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int = 0
    stream: bool = False
    include_usage: bool = False


def parse(body: bytes) -> ChatRequest:
    """The request that a body holds; Refusal names the first thing that is wrong with it."""
    fields = {
        name: value for name, value in _object(body).items() if not _asks_nothing(name, value)
    }
    for required in ("model", "messages"):
        if required not in fields:
            raise Refusal(
                f"'{required}' is missing", param=required, code="missing_required_parameter"
            )
    if "max_tokens" in fields and "max_completion_tokens" in fields:
        raise Refusal("max_tokens and max_completion_tokens are the same; give one of them",
                      param="max_tokens")  # fmt: skip
    values = {name: _READERS[name](name, value) for name, value in fields.items()}
    if (limit := values.pop("max_completion_tokens", None)) is not None:
        values["max_tokens"] = limit
    if "top_logprobs" in values and not values.get("logprobs"):
        raise Refusal("top_logprobs needs logprobs: true", param="top_logprobs")
    if "stream_options" in values:
        if not values.get("stream"):
            raise Refusal("stream_options needs stream: true", param="stream_options")
        values["include_usage"] = values.pop("stream_options")
    return ChatRequest(**values)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        is_ours = isinstance(error, json.JSONDecodeError | _NotJson)
        reason = str(error) if is_ours else "not UTF-8 JSON"
        raise Refusal(f"the body is not valid JSON: {reason}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise Refusal("the body is not a JSON object", code="invalid_json")
    return value


class _NotJson(ValueError):
    """What Python's parser takes and JSON's standard does not."""


def _no_constant(name: str) -> None:
    raise _NotJson(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields; of two with one name, one would be left out unsaid."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _NotJson(f"the field '{name[:100]}' stands twice in one object")
        found[name] = value
    return found


def _asks_nothing(name: str, value: Any) -> bool:
    """Whether a field can be left out; Refusal where it is unknown or not supported."""
    if name in _READERS:
        return value is None
    if name not in _UNSUPPORTED:
        raise Refusal(f"unknown field '{name[:100]}'", param=name[:100], code="unknown_parameter")
    if value is None or any(_same(value, neutral) for neutral in _UNSUPPORTED[name]):
        return True
    raise Refusal(
        f"'{name}' is not supported by this server", param=name, code="unsupported_parameter"
    )


def _same(value: Any, neutral: Any) -> bool:
    """Equality without Python's True == 1."""
    return isinstance(value, bool) == isinstance(neutral, bool) and value == neutral


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(name, "a text that is not empty")
    return _encodable(name, value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def _integer(least: int, most: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _wrong(name, f"a whole number from {least} to {most}")
        return value

    return read


def _number(name: str, value: Any, *, most: float, above_zero: bool) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= most or (above_zero and value == 0):
        raise _wrong(
            name, f"a number {'above' if above_zero else 'from'} 0 {'up ' * above_zero}to {most:g}"
        )
    return float(value)


def _stops(name: str, value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not 0 < len(found) <= MOST_STOPS:
        raise _wrong(name, f"a text, or a list of 1 to {MOST_STOPS} texts")
    for text in found:
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_STOP:
            raise _wrong(name, f"made of texts with 1 to {LONGEST_STOP} characters")
        _encodable(name, text)
    return tuple(found)


def _stream_options(name: str, value: Any) -> bool:
    if not isinstance(value, dict):
        raise _wrong(name, "an object")
    for key in value:
        if key != "include_usage":
            raise Refusal(
                f"unknown field '{name}.{key[:100]}'", param=name, code="unknown_parameter"
            )
    return _flag(f"{name}.include_usage", value.get("include_usage", False))


def _messages(name: str, value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise _wrong(name, "a list with at least one message")
    messages = tuple(_message(f"{name}[{place}]", entry) for place, entry in enumerate(value))
    try:
        check_prompt(messages)
    except DataError as error:
        raise Refusal(f"{name}: {error.message}", param=name) from error
    return messages


def _message(where: str, value: Any) -> Message:
    if not isinstance(value, dict):
        raise _wrong(where, "an object with role and content")
    for key, entry in value.items():
        if key not in ("role", "content") and entry is not None:
            raise Refusal(f"'{where}.{key[:100]}' is not supported by this server", param=where,
                          code="unsupported_parameter")  # fmt: skip
    role, content = value.get("role"), value.get("content")
    if role not in ("system", "user", "assistant"):
        raise _wrong(f"{where}.role", "system, user or assistant")
    return Message(role, _content(f"{where}.content", content))


def _content(where: str, value: Any) -> str:
    """A text, or a list of text parts, which are joined by line breaks as vLLM does."""
    if isinstance(value, list) and value:
        parts = []
        for part in value:
            is_text = isinstance(part, dict) and part.keys() == {"type", "text"}
            if not is_text or part["type"] != "text" or not isinstance(part["text"], str):
                raise _wrong(where, 'a text, or a list of {"type": "text", "text": …}')
            parts.append(part["text"])
        value = "\n".join(parts)
    if not isinstance(value, str):
        raise _wrong(where, "a text")
    return _encodable(where, value)


def _encodable(where: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refusal(f"'{where}' holds half of a surrogate pair", param=where) from error
    return text


def _wrong(name: str, expected: str) -> Refusal:
    return Refusal(f"'{name}' must be {expected}", param=name, code="invalid_value")


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "model": _text,
    "messages": _messages,
    "temperature": lambda name, value: _number(name, value, most=2.0, above_zero=False),
    "top_p": lambda name, value: _number(name, value, most=1.0, above_zero=True),
    "max_tokens": _integer(1, 2**31),
    "max_completion_tokens": _integer(1, 2**31),
    "seed": _integer(-_LARGEST_SEED, _LARGEST_SEED - 1),
    "n": _integer(1, MOST_CHOICES),
    "logprobs": _flag,
    "top_logprobs": _integer(0, MOST_TOP_LOGPROBS),
    "stop": _stops,
    "stream": _flag,
    "stream_options": _stream_options,
}
