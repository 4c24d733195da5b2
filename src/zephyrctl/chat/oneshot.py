"""How is one prompt answered, without a conversation?"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from zephyrctl import terminal
from zephyrctl.chat import meter
from zephyrctl.chat.replying import Render, shown
from zephyrctl.chat.session import Session
from zephyrctl.chat.talker import Talker
from zephyrctl.data.messages import to_json
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Completion, Sampling


def as_record(
    talker: Talker, prompt: str, *, system: str | None, sampling: Sampling
) -> dict[str, Any]:
    """The answer as `zephyrctl chat --prompt … --json` prints it.

    `finish_reason` is as in OpenAI's API: `stop` where the model ended the reply, `length` where a
    limit did; of an endpoint also what else it says, and `unknown` where it says nothing.
    `template_sha256` is null for an endpoint, as is `top_k`, which its protocol has not; its token
    counts are those it reports.
    """
    session = _asked(prompt, system)
    completion = talker.answer(session.messages, sampling=sampling)
    return {
        "model": talker.name,
        "messages": to_json(session.messages),
        "reply": completion.text,
        "finish_reason": completion.finish_reason,
        "tokens": completion.tokens,
        "prompt_tokens": completion.prompt_tokens,
        "seconds": round(completion.seconds, 3),
        "seed": sampling.seed,
        "sampling": _sent(talker, sampling),
        "template_sha256": talker.template_sha256,
    }


def to_stdout(
    talker: Talker,
    prompt: str,
    *,
    system: str | None,
    sampling: Sampling,
    render: Render = "auto",
    label: str | None = None,
) -> Completion:
    """Write the answer to stdout as it comes, under `label` where several are compared; ends early
    where the reader of a pipe has left."""
    session = _asked(prompt, system)
    with reader_left() as has_left:
        reply = talker.reply(session.messages, sampling=sampling, stop=has_left)
        with shown(render, label=label) as show:
            for piece in reply:
                show(piece)
        completion = reply.completion
        if not completion.stopped and not has_left():
            most, context = sampling.max_new_tokens, talker.context
            terminal.say(
                meter.cut(completion, most=most, context=context, option="--max-new-tokens")
            )
        return completion


def _sent(talker: Talker, sampling: Sampling) -> dict[str, float | int | None]:
    """The settings that decided an answer of `talker`; null for one that a service is not sent."""
    settings: dict[str, float | int | None] = {**sampling.to_json()}
    if talker.weight_bytes is None and "top_k" in settings:
        settings["top_k"] = None
    return settings


def _asked(prompt: str, system: str | None) -> Session:
    if not prompt.strip():
        raise UsageError("the prompt is empty", hint='--prompt "…", or text on stdin')
    session = Session(system)
    session.ask(prompt)
    return session


@contextmanager
def reader_left() -> Iterator[Callable[[], bool]]:
    """Tells whether the other end of stdout's pipe is closed: `… | head`.

    It is asked of a copy of stdout, which itself is turned to nothing when a write fails.
    """
    try:
        descriptor = os.dup(sys.stdout.fileno())
    except (OSError, ValueError):
        yield lambda: False
        return
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are reported unasked
    try:
        yield lambda: any(event & select.POLLERR for _, event in poll.poll(0))
    finally:
        os.close(descriptor)
