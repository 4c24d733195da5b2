"""How does one reply come onto the screen, and how is it stopped?"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from zephyrctl.chat.keyboard import quiet_keyboard
from zephyrctl.chat.talker import Reply, Talker
from zephyrctl.chat.view import Render, open_view
from zephyrctl.data.messages import Message
from zephyrctl.errors import ZephyrctlError
from zephyrctl.generation.sampling import Completion, Sampling


@dataclass(frozen=True)
class Drawn:
    """What came of a reply; `error` is what broke it off, None where nothing did."""

    completion: Completion
    was_stopped: bool
    """By Ctrl-C."""
    error: ZephyrctlError | None = None


def draw(
    talker: Talker,
    messages: list[Message],
    *,
    sampling: Sampling,
    render: Render = "auto",
    label: str | None = None,
) -> Drawn:
    """Let `talker` reply to `messages`, and show the reply as it comes.

    The first Ctrl-C stops the reply after the piece that comes next; the second one, and one
    before the first piece, breaks it off where it is. What came is in the result either way, and
    after a fault too.
    """
    reply: Reply | None = None
    error: ZephyrctlError | None = None
    broken_off = begun = False
    with quiet_keyboard(), _stopping(lambda: begun) as stop:
        try:
            with shown(render, label=label) as show:
                reply = talker.reply(messages, sampling=sampling, stop=stop)
                for piece in reply:
                    begun = True
                    show(piece)
        except KeyboardInterrupt:
            broken_off = True
        except Exception as caught:
            error = as_error(caught)
        completion = reply.completion if reply is not None else Completion("", 0, 0, False, 0.0)
        return Drawn(completion, broken_off or stop(), error)


@contextmanager
def shown(render: Render, *, label: str | None = None) -> Iterator[Callable[[str], None]]:
    """Shows the pieces of one reply; its view begins with the first of them, or with the label.

    Where the reply is broken off, a view that cannot be closed (its terminal is gone) does not
    hide by what.
    """
    view = open_view(render, label=label) if label is not None else None

    def show(piece: str) -> None:
        nonlocal view
        view = view or open_view(render)
        view.feed(piece)

    try:
        yield show
        if view is not None:
            view.close()
    except BaseException:
        if view is not None:
            with suppress(Exception):
                view.close()
        raise


def as_error(error: Exception) -> ZephyrctlError:
    """`error`, or a fault of ours or of a library as one, which must not take a conversation with
    it; ZEPHYRCTL_DEBUG=1 lets it go on, for its traceback."""
    if isinstance(error, ZephyrctlError):
        return error
    if os.environ.get("ZEPHYRCTL_DEBUG") == "1":
        raise error
    return ZephyrctlError(
        f"this is a fault in zephyrctl ({type(error).__name__}: {error})",
        hint="/save FILE keeps the conversation; ZEPHYRCTL_DEBUG=1 in front of the command shows "
        "the traceback",
    )


@contextmanager
def _stopping(has_begun: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """While a reply comes, Ctrl-C asks it to stop; a second one raises KeyboardInterrupt."""
    presses = 0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        del number, frame
        presses += 1
        # A third press must not break off the drawing of what the second one left.
        if presses == 2 or (presses == 1 and not has_begun()):
            presses = 2
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield lambda: presses > 0
    finally:
        signal.signal(signal.SIGINT, before)
