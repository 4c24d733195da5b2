"""Is a chat template nothing but words round each turn, and how does Ollama write that?

Ollama does not run Jinja: its templates are Go's. Which words stand round a turn is found by
rendering the Jinja template, and the result is held against it on many dialogues; a template that
does more than that (it counts turns, puts the system prompt into the user's turn) has no such form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from zephyrctl.data.messages import Message
from zephyrctl.data.tokens.rendering import Conversation, render
from zephyrctl.errors import UsageError

_MARKER = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")
_ROLES = ("system", "user", "assistant", "user")
_PROBES = ("S0M3SYST3M", "S0M3QU3STI0N", "S0M3ANSW3R", "S0M3M0R3")
_TEXTS = ("Hello.", " spaces round it ", "\ntwo\n\nlines\n", "", "{{ x }} <|user|> ünïcode 🦙")


@dataclass(frozen=True)
class TurnForm:
    """Words before and after the text of each role, before all turns, and before the reply.

    `unless_system` stands where a chat has no system turn of its own. `strips`: the template takes
    white space off the ends of texts, which Go's language as Ollama has it cannot.
    """

    opening: str
    unless_system: str
    around: dict[str, tuple[str, str]]
    reply: str
    strips: bool = False

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt of a chat, with the header of the reply that is to come."""
        turns = [
            f"{before}{message.content.strip() if self.strips else message.content}{after}"
            for message in messages
            for before, after in (self.around[message.role],)
        ]
        default = "" if messages[0].role == "system" else self.unless_system
        return "".join((self.opening, default, *turns, self.reply))

    def as_go(self) -> str | None:
        """The form in Go's template language, or None where a word of it cannot be written so."""
        words = [self.opening, self.unless_system, self.reply, *sum(self.around.values(), ())]
        if any(sign in word for word in words for sign in ("{{", "}}", '"""')):
            return None
        default = (
            f'{{{{ if ne (index .Messages 0).Role "system" }}}}{self.unless_system}{{{{ end }}}}'
            if self.unless_system
            else ""
        )
        turns = " else ".join(
            f'if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}{{{{'
            for role, (before, after) in self.around.items()
        )
        return (
            f"{self.opening}{default}{{{{ range .Messages }}}}{{{{ {turns} end }}}}"
            f"{{{{ end }}}}{self.reply}"
        )


def turn_form(tokenizer: Any) -> TurnForm | None:
    """The form of the tokenizer's chat template, or None where it has none."""
    found = _found(tokenizer)
    if found is None:
        return None
    prompts = [(dialogue, _prompt(tokenizer, dialogue)) for dialogue in _dialogues()]
    for form in (found, replace(found, strips=True)):
        if all(prompt == form.render(dialogue) for dialogue, prompt in prompts):
            return form
    return None


def portable(tokenizer: Any) -> str:
    """The chat template without the markers that only training reads, which not every Jinja knows.

    A marker becomes a condition that always holds, so that the white space round it stays as it
    is. UsageError where the text of a chat would change.
    """

    def condition(match: re.Match[str]) -> str:
        left, end, right = match.groups(default="")
        return f"{{%{left} {'endif' if end else 'if true'} {right}%}}"

    text = tokenizer.get_chat_template()
    rewritten = _MARKER.sub(condition, text)
    if rewritten != text:
        before = [_prompt(tokenizer, dialogue) for dialogue in _dialogues()]
        tokenizer.chat_template = rewritten
        try:
            after = [_prompt(tokenizer, dialogue) for dialogue in _dialogues()]
        finally:
            tokenizer.chat_template = text
        if before != after:
            raise UsageError(
                "the chat template cannot do without its {% generation %} markers, "
                "which llama.cpp does not know"
            )
    return rewritten


def sample_texts(tokenizer: Any) -> list[str]:
    """The texts of many chats under the template; none where it refuses all of them."""
    texts = (_prompt(tokenizer, dialogue) for dialogue in _dialogues())
    return [text for text in texts if text is not None]


def _prompt(tokenizer: Any, messages: Sequence[Message], *, is_open: bool = True) -> str | None:
    """The text of a chat, up to the reply where that is open; None where the template refuses."""
    from jinja2 import TemplateError

    try:
        return render(tokenizer, [Conversation(messages)], open_turn=is_open)[0].text
    except (TemplateError, TypeError):
        return None


def _dialogues() -> list[list[Message]]:
    """Chats of one to five turns, with and without a system turn, whose texts try out edges."""
    found = []
    for number, text in enumerate(_TEXTS):
        other = _TEXTS[(number + 1) % len(_TEXTS)]
        longer = [Message("user", text), Message("assistant", other), Message("user", "And then?")]
        system = [Message("system", other)]
        found += [longer[:1], longer, system + longer[:1], system + longer]
        found.append([*longer, Message("assistant", text), Message("user", other)])
    return found


def _found(tokenizer: Any) -> TurnForm | None:
    """The form that a few dialogues suggest: where one ends, the words after its last turn show."""
    system, question, answer, more = map(Message, _ROLES, _PROBES)
    whole = _between(tokenizer, [system, question, answer, more])
    answered = _between(tokenizer, [question, answer])
    asked = _between(tokenizer, [question])
    opened = _prompt(tokenizer, [question])
    if whole is None or answered is None or asked is None or opened is None:
        return None
    closed = _prompt(tokenizer, [question], is_open=False) or ""
    after_user, after_answer = asked[-1], answered[-1]
    before_user = whole[3].removeprefix(after_answer)
    before_answer = whole[2].removeprefix(after_user)
    bos = tokenizer.bos_token or ""
    opening = bos if asked[0].startswith(bos) and whole[0].startswith(bos) else ""
    return TurnForm(
        opening,
        asked[0].removeprefix(opening).removesuffix(before_user),
        {
            "system": (whole[0].removeprefix(opening), whole[1].removesuffix(before_user)),
            "user": (before_user, after_user),
            "assistant": (before_answer, after_answer),
        },
        opened.removeprefix(closed),
    )


def _between(tokenizer: Any, messages: Sequence[Message]) -> list[str] | None:
    """The words before, between and after the turns of a chat, or None where a turn is changed."""
    text = _prompt(tokenizer, messages, is_open=False)
    pattern = "(.*)".join(("", *(re.escape(message.content) for message in messages), ""))
    cut = re.fullmatch(pattern, text or "", re.DOTALL)
    return None if cut is None else list(cut.groups())
