"""In which way is a model talked with: one answer, several, or a conversation?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from zephyrctl import terminal
from zephyrctl.chat import oneshot, side_by_side
from zephyrctl.chat.loading import starting
from zephyrctl.chat.talker import Talker
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.cli.chat_models import Models
from zephyrctl.cli.chat_signals import ended_by_signals
from zephyrctl.cli.chat_wish import Wish
from zephyrctl.config.schema.chat import Chat
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling


def talk(wish: Wish, given: Mapping[str, Any]) -> None:
    """Answer one prompt, or begin a conversation where a person sits at the terminal.

    `given` holds the settings of `chat:` that were given as flags.
    """
    prompt = _prompt(wish)
    with ended_by_signals(quietly=prompt is None):
        with starting():
            models = Models(wish, given)
            models.check()
            talker, settings = models.first()
        sampling = Sampling(
            settings.temperature,
            settings.top_p,
            settings.top_k,
            settings.max_new_tokens,
            wish.seed,
        )
        if prompt is None:
            _converse(models, talker, sampling, settings)
            return
        said = _say(talker.notices)
        bench = models.bench(talker)
        how: dict[str, Any] = {"system": settings.system, "sampling": sampling}
        if wish.json and bench is not None:
            terminal.emit_json(side_by_side.as_record(bench, prompt, **how))
        elif wish.json:
            terminal.emit_json(oneshot.as_record(talker, prompt, **how))
        elif bench is not None:
            side_by_side.to_stdout(bench, prompt, render=settings.render, **how)
        else:
            oneshot.to_stdout(talker, prompt, render=settings.render, **how)
        if bench is None:
            _say(talker.notices[said:])  # what the answer has shown


def _prompt(wish: Wish) -> str | None:
    """The one prompt to be answered; None where a conversation is wanted."""
    prompt = wish.prompt
    if prompt is None and wish.is_for_one_answer:
        try:
            prompt = "" if sys.stdin is None else _without_newline(sys.stdin.read())
        except UnicodeDecodeError as error:
            raise UsageError(f"the prompt on stdin is not UTF-8 text ({error.reason})") from None
    if prompt is None and wish.json:
        raise UsageError("--json is for one answer", hint='--prompt "…", or text on stdin')
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty", hint='--prompt "…", or text on stdin')
    return prompt


def _without_newline(text: str) -> str:
    """`text` without the one newline with which a shell ends what it sends."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _say(notices: Sequence[str]) -> int:
    """Say what should be known of a model; returns how much that is."""
    for text in notices:
        say_wrapped(text, head="! ")
    return len(notices)


def _converse(models: Models, talker: Talker, sampling: Sampling, settings: Chat) -> None:
    from zephyrctl.chat.comparison import Comparison
    from zephyrctl.chat.history import history_path, open_history
    from zephyrctl.chat.reading import open_reader
    from zephyrctl.chat.repl import Repl
    from zephyrctl.chat.session import Session

    history = open_history(history_path(os.environ)) if settings.history else None
    read = open_reader(history=history, references=models.references)
    bench = models.bench(talker)
    Repl(
        talker,
        sampling,
        Session(settings.system),
        read=read,
        opener=models.open,
        check=models.find,
        comparison=bench and Comparison(bench, models.wish.blind, sampling.seed),
        seating=models.seating,
        render=settings.render,
    ).run()
