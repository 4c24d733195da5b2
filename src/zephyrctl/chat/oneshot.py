"""How is one prompt answered, without a conversation?"""

from __future__ import annotations

from typing import Any

from zephyrctl import terminal
from zephyrctl.chat.session import Session
from zephyrctl.chat.talker import Talker
from zephyrctl.data.messages import to_json
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Completion, Sampling


def as_record(
    talker: Talker, prompt: str, *, system: str | None, sampling: Sampling
) -> dict[str, Any]:
    """The answer as `zephyrctl chat --prompt … --json` prints it."""
    session = _asked(prompt, system)
    completion = talker.answer(session.messages, sampling=sampling)
    return {
        "model": talker.name,
        "messages": to_json(session.messages),
        "reply": completion.text,
        "tokens": completion.tokens,
        "seconds": round(completion.seconds, 3),
    }


def to_stdout(talker: Talker, prompt: str, *, system: str | None, sampling: Sampling) -> Completion:
    """Write the answer to stdout as it comes."""
    session = _asked(prompt, system)
    reply = talker.reply(session.messages, sampling=sampling, stop=lambda: False)
    shown = terminal.SafeStream()
    for piece in reply:
        terminal.out(shown.feed(piece), end="")
    terminal.out(shown.close())
    return reply.completion


def _asked(prompt: str, system: str | None) -> Session:
    if not prompt.strip():
        raise UsageError("the prompt is empty", hint='--prompt "…", or text on stdin')
    session = Session(system)
    session.ask(prompt)
    return session
