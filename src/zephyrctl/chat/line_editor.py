"""How is a line edited at a terminal: keys, history, suggestions, completion?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.data_structures import Size
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style

from zephyrctl import terminal
from zephyrctl.chat import ending
from zephyrctl.chat.completing import Commands, is_command
from zephyrctl.chat.history import TypedBefore
from zephyrctl.chat.lines import Read, is_open, spelt


def edited(history: TypedBefore | None, references: Callable[[], list[str]]) -> Read:
    """Read with prompt_toolkit; without a `history` what is typed is kept in memory alone."""
    # Without questions about the cursor's position: an answer that comes late, over a slow line,
    # would be read as typed text.
    output = Vt100_Output(
        sys.stdout,
        _size,
        term=os.environ.get("TERM"),
        default_color_depth=None if terminal.use_color(sys.stdout) else ColorDepth.MONOCHROME,
        enable_cpr=False,
    )
    kept = None if history is None else _Kept(history)
    session: PromptSession[str] = PromptSession(
        output=output,
        multiline=True,
        history=kept,
        auto_suggest=AutoSuggestFromHistory(),
        completer=Commands(references),
        complete_while_typing=Condition(lambda: is_command(session.default_buffer.text)),
        key_bindings=_keys(),
        prompt_continuation=spelt("… ", sys.stdout),
        style=Style.from_dict({"auto-suggestion": "dim"}),  # told from typed text without colours
        enable_suspend=True,
    )

    def read(sign: str) -> str:
        with ending.put_off(lambda: _leave_soon(session)):
            text = session.prompt(
                spelt(sign, sys.stdout),
                pre_run=lambda: _leave_soon(session) if ending.is_asked() else None,
            )
        if kept is not None and kept.problem is not None:
            terminal.say(f"! {kept.problem}")
            kept.problem = None
        return text

    return read


def _leave_soon(session: PromptSession[str]) -> None:
    """Leave the editor by the next round of its event loop, which restores the terminal; nothing
    where it has not begun or is leaving."""

    def leave() -> None:
        if session.app.is_running and not session.app.is_done:
            session.app.exit(exception=EOFError())

    loop = session.app.loop
    if loop is not None:
        loop.call_soon_threadsafe(leave)


def _size() -> Size:
    """Rows and columns now; a terminal that does not know them has the usual ones."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return Size(rows or 24, columns or 80)


def _keys() -> KeyBindings:
    """What differs from prompt_toolkit's own keys for a text of several lines."""
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        """Ask, unless quotation marks are open."""
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    # What is typed ahead, during a reply, comes with Enter as a line feed.
    @keys.add("escape", "c-j", filter=typing)
    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        """Begin a new line."""
        event.current_buffer.insert_text("\n")

    @keys.add("c-c", filter=typing)
    def _(event: KeyPressEvent) -> None:
        """Drop what is typed; where nothing is, tell the caller."""
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt(), style="class:aborting")

    return keys


class _Kept(History):
    """The history on disk, as prompt_toolkit asks for it. A text that begins with a blank is not
    kept, as in shells."""

    def __init__(self, before: TypedBefore) -> None:
        super().__init__()
        self._before = before
        self._told: set[str] = set()
        self.problem: str | None = None

    def load_history_strings(self) -> Iterable[str]:
        """See prompt_toolkit's `History`: the newest first."""
        return reversed(self._before.entries)

    def store_string(self, string: str) -> None:
        """See prompt_toolkit's `History`."""
        if string.startswith(" "):
            return
        problem = self._before.add(string)
        if problem is not None and problem not in self._told:
            self._told.add(problem)
            self.problem = problem
