"""How does text that looks like a control token of the model stay text?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from zephyrctl.data.messages import Message

_WORD_JOINER = "\u2060"
_HEADER = r"<\|\w{1,32}\|>"


def as_text(messages: Sequence[Message], tokenizer: Any) -> list[Message]:
    """The messages with every control token in them broken up by an invisible character.

    Text that holds the model's own end-of-turn token would otherwise end its turn and speak in the
    place of another. As transformers' `sanitize_control_tokens`, special tokens count, and added
    tokens that the template writes; beside them headers such as `<|user|>`, which some templates
    write as plain text.
    """
    template = tokenizer.get_chat_template()
    control = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if len(token.content) > 1
        and not token.content.isspace()
        and (token.special or token.content in template)
    ]
    words = [*map(re.escape, sorted(control, key=len, reverse=True)), _HEADER]
    pattern = re.compile("|".join(words))
    return [
        replace(message, content=pattern.sub(_broken_up, message.content)) for message in messages
    ]


def _broken_up(found: re.Match[str]) -> str:
    return f"{found[0][0]}{_WORD_JOINER}{found[0][1:]}"
