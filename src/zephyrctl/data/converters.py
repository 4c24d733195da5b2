"""Which dialogue, pair or set of rated completions does a row of raw data hold?

A converter reads one row (a mapping of columns) and returns a record, or raises DataError whose
message is the kind of damage: such rows are counted as `broken: …`, never lost in silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from zephyrctl import catalogue
from zephyrctl.data import messages as m
from zephyrctl.data.messages import Dialogue, Message, PreferencePair
from zephyrctl.data.preferences import RatedCompletion, RatedPrompt
from zephyrctl.data.text import row_digest
from zephyrctl.errors import ConfigError, DataError

Row = Mapping[str, Any]
Converted = Dialogue | PreferencePair | RatedPrompt


@dataclass(frozen=True)
class Converter:
    """How rows of one format are read.

    `columns` must all be there for the format to be recognized; `unless` names columns that mark
    a richer format of which this one is only a part.
    """

    gives: Literal["dialogues", "preferences"]
    columns: frozenset[str]
    convert: Callable[[Row, str], Converted]
    unless: frozenset[str] = field(default_factory=frozenset)

    def fits(self, columns: set[str]) -> bool:
        """Whether rows with these columns can be in this format."""
        return self.columns <= columns and not self.unless & columns


def choose(columns: set[str], *, wanted: Literal["dialogues", "preferences"], where: str) -> str:
    """The one converter that fits `columns`; an error that lists what there is otherwise."""
    converters = {name: catalogue.CONVERTERS.load(name) for name in catalogue.CONVERTERS.names()}
    fitting = {name: c for name, c in converters.items() if c.fits(columns)}
    candidates = [name for name, c in fitting.items() if c.gives == wanted]
    if len(candidates) == 1:
        return candidates[0]
    found = ", ".join(sorted(columns)) or "none"
    if candidates:
        raise ConfigError(
            f"the columns ({found}) fit several formats: {', '.join(candidates)}",
            where=where,
            hint=f"set the source's format, for example `format: {candidates[0]}`",
        )
    if fitting:
        other = "data.sft" if wanted == "preferences" else "data.dpo"
        raise ConfigError(
            f"the columns ({found}) hold no {wanted}; they are in the format "
            f"'{next(iter(fitting))}'",
            where=where,
            hint=f"list this source under {other}.train",
        )
    known = "; ".join(
        f"{name} ({', '.join(sorted(c.columns))})"
        for name, c in converters.items()
        if c.gives == wanted
    )
    raise DataError(
        f"no format for {wanted} fits the columns: {found}",
        where=where,
        hint=f"known formats and their columns: {known}",
    )


def row_id(row: Row) -> str:
    """The row's own identifier, or one that follows from its content."""
    for column in ("id", "prompt_id", "question_id", "uuid"):
        value = row.get(column)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    return row_digest(dict(row)).hex()


def column(row: Row, name: str) -> Any:
    """A column that must be there and not null."""
    if name not in row:
        raise DataError(f"column '{name}' is missing")
    if row[name] is None:
        raise DataError(f"column '{name}' is null")
    return row[name]


def text(value: Any, what: str) -> str:
    """A string that can be written as UTF-8."""
    if value is None:
        raise DataError(f"{what} is null")
    if not isinstance(value, str):
        raise DataError(f"{what} is not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{what} holds half a character (a lone surrogate)") from None
    return value


def answer(value: Any, what: str = "content") -> Message:
    """An assistant turn, without the white space around it.

    Leading white space would merge with the newline of the assistant's header, so that the
    prompt's token ids would no longer be a prefix of the conversation's.
    """
    return Message("assistant", text(value, what).strip())


_OPENAI_ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
_SHAREGPT_ROLES = _OPENAI_ROLES | {"human": "user", "gpt": "assistant", "chatgpt": "assistant",
                                   "bing": "assistant", "bard": "assistant"}  # fmt: skip


def message_list(value: Any, *, what: str = "messages") -> tuple[Message, ...]:
    """Messages with `role` and `content`, or ShareGPT's `from` and `value`."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _parsed(value, what)
    if not isinstance(value, list | tuple):
        raise DataError(f"{what} is not a list")
    if not value:
        raise DataError(f"{what} is an empty list")
    return tuple(_message(item, what) for item in value)


def _parsed(value: str, what: str) -> Any:
    """A list of messages that a CSV or a text column holds as JSON."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise DataError(f"{what} is not a list") from None


def _message(item: Any, what: str) -> Message:
    if not isinstance(item, Mapping):
        raise DataError(f"an item of {what} is not a message")
    if item.get("tool_calls") or item.get("function_call"):
        raise DataError("tool calls, which the data recipe does not carry")
    if "role" in item:
        role, content, roles = item["role"], item.get("content"), _OPENAI_ROLES
    elif "from" in item:
        role, content, roles = item["from"], item.get("value"), _SHAREGPT_ROLES
    else:
        raise DataError(f"an item of {what} has no role")
    if not isinstance(role, str) or role.lower() not in roles:
        raise DataError("unknown role")
    name = roles[role.lower()]
    return answer(content) if name == "assistant" else Message(name, text(content, "content"))


def _dialogue(messages: tuple[Message, ...], row: Row, source: str) -> Dialogue:
    m.check_dialogue(messages)
    return Dialogue(messages, row_id(row), source)


def _without_open_end(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation up to the assistant's last turn: a question left open trains nothing."""
    if len(messages) > 1 and messages[-1].role == "user":
        return messages[:-1]
    return messages


def _from_messages(row: Row, source: str) -> Dialogue:
    return _dialogue(_without_open_end(message_list(column(row, "messages"))), row, source)


def _from_sharegpt(row: Row, source: str) -> Dialogue:
    found = message_list(column(row, "conversations"), what="conversations")
    system = row.get("system")
    if isinstance(system, str) and system and found[0].role != "system":
        found = (Message("system", text(system, "system")), *found)
    return _dialogue(_without_open_end(found), row, source)


def _from_alpaca(row: Row, source: str) -> Dialogue:
    question = text(column(row, "instruction"), "instruction")
    given = row.get("input")
    if given is not None and text(given, "input").strip():
        question = f"{question}\n\n{given}"
    turns = (Message("user", question), answer(column(row, "output"), "output"))
    system = row.get("system")
    if isinstance(system, str) and system:
        turns = (Message("system", text(system, "system")), *turns)
    return _dialogue(turns, row, source)


def _from_ultrachat(row: Row, source: str) -> Dialogue:
    data = column(row, "data")
    if not isinstance(data, list | tuple):
        raise DataError("data is not a list")
    if not data:
        raise DataError("data is an empty list")
    turns = tuple(
        answer(item) if i % 2 else Message("user", text(item, "content"))
        for i, item in enumerate(data)
    )
    return _dialogue(_without_open_end(turns), row, source)


def _from_prompt_completion(row: Row, source: str) -> Dialogue:
    prompt = _prompt(column(row, "prompt"))
    return _dialogue((*prompt, *_completion(column(row, "completion"), "completion")), row, source)


def _prompt(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str) and not value.lstrip().startswith('[{"'):
        return (Message("user", text(value, "prompt")),)
    return message_list(value, what="prompt")


def _completion(value: Any, what: str) -> tuple[Message, ...]:
    if isinstance(value, str) and not value.lstrip().startswith('[{"'):
        return (answer(value, what),)
    return message_list(value, what=what)


def _from_pairs(row: Row, source: str) -> PreferencePair:
    """Text, message lists, or H4's full conversations on both sides (with or without `prompt`)."""
    chosen = _completion(column(row, "chosen"), "chosen")
    rejected = _completion(column(row, "rejected"), "rejected")
    if chosen[0].role == "assistant" and rejected[0].role == "assistant":
        prompt = _prompt(column(row, "prompt"))
    else:
        prompt = _shared_prompt(chosen, rejected)
        given = row.get("prompt")
        if isinstance(given, list | tuple) and given and message_list(given) != prompt:
            raise DataError("the prompt differs from the start of chosen and rejected")
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    pair = PreferencePair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        id=row_id(row),
        source=source,
        chosen_score=number(row.get("score_chosen", row.get("chosen_score"))),
        rejected_score=number(row.get("score_rejected", row.get("rejected_score"))),
    )
    high, low = pair.chosen_score, pair.rejected_score
    if high is not None and low is not None and high < low:
        raise DataError("chosen has a lower score than rejected")
    m.check_pair(pair)
    return pair


def _shared_prompt(
    chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[Message, ...]:
    """The turns both conversations open with, up to the last shared user turn."""
    shared = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        shared += 1
    if shared == len(chosen) == len(rejected):
        raise DataError("chosen and rejected are the same")
    while shared and chosen[shared - 1].role != "user":
        shared -= 1
    if not shared:
        raise DataError("chosen and rejected do not share a prompt")
    return chosen[:shared]


def number(value: Any) -> float | None:
    """A finite number, also one written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except ValueError:
        return None
    return result if math.isfinite(result) else None


def _from_ultrafeedback(row: Row, source: str) -> RatedPrompt:
    completions = column(row, "completions")
    if not isinstance(completions, list | tuple):
        raise DataError("completions is not a list")
    prompt = (Message("user", text(column(row, "instruction"), "instruction")),)
    m.check_prompt(prompt)
    origin = row.get("source")
    return RatedPrompt(
        prompt=prompt,
        completions=tuple(_rated(item) for item in completions),
        id=row_id(row),
        source=source,
        origin=origin if isinstance(origin, str) else "",
    )


def _rated(item: Any) -> RatedCompletion:
    if not isinstance(item, Mapping):
        raise DataError("an item of completions is not a mapping")
    response, model = item.get("response"), item.get("model")
    if response is not None:
        response = answer(response, "response").content
    aspects = {}
    annotations = item.get("annotations")
    for name, rating in annotations.items() if isinstance(annotations, Mapping) else ():
        value = (
            rating.get("Rating", rating.get("rating")) if isinstance(rating, Mapping) else rating
        )
        score = number(value)
        if score is not None:
            aspects[str(name)] = score
    return RatedCompletion(
        text=response,
        model=model if isinstance(model, str) else "",
        overall_score=number(item.get("overall_score")),
        fine_grained_score=number(item.get("fine-grained_score")),
        aspects=aspects,
    )


MESSAGES = Converter("dialogues", frozenset({"messages"}), _from_messages,
                     unless=frozenset({"chosen", "rejected"}))  # fmt: skip
SHAREGPT = Converter("dialogues", frozenset({"conversations"}), _from_sharegpt,
                     unless=frozenset({"chosen", "rejected"}))  # fmt: skip
ALPACA = Converter("dialogues", frozenset({"instruction", "output"}), _from_alpaca)
ULTRACHAT = Converter("dialogues", frozenset({"data"}), _from_ultrachat)
PROMPT_COMPLETION = Converter(
    "dialogues", frozenset({"prompt", "completion"}), _from_prompt_completion
)
PAIRS = Converter("preferences", frozenset({"chosen", "rejected"}), _from_pairs)
ULTRAFEEDBACK = Converter(
    "preferences", frozenset({"instruction", "completions"}), _from_ultrafeedback
)
