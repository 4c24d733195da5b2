"""How is a reply shown while it comes?

Markdown is drawn block by block: what is finished is printed once and scrolls away like any output,
and only the open tail is drawn again, so that a frame costs the same at the end of a long reply as
at its beginning. A thread of its own draws, because Ctrl-C arrives in the main thread and must not
break off a frame halfway.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

from zephyrctl import terminal

if TYPE_CHECKING:
    from rich.console import Console

Render = Literal["auto", "markdown", "plain"]
_FRAME_S = 1 / 12
_IDLE_S = 0.5


class View(Protocol):
    """One reply on the screen."""

    def feed(self, text: str) -> None:
        """Show more of the reply; `text` is foreign and may be cut anywhere."""
        ...

    def close(self) -> None:
        """Show what is left and leave the cursor below it. A second call does nothing."""
        ...


def open_view(render: Render, *, label: str | None = None) -> View:
    """Begin a reply on stdout, under `label` where several are compared.

    `auto` draws Markdown where stdout is a terminal that can move its cursor, else plain text; on
    a terminal that cannot it breaks at words, while `plain` is the very text.
    `markdown` without such a terminal prints each block once it is finished.
    """
    can_redraw = terminal.can_redraw(sys.stdout)
    if render == "plain" or (render == "auto" and not can_redraw):
        wraps = render == "auto" and terminal.is_tty(sys.stdout)
        return PlainView(label, wraps=wraps)
    return LiveView(label) if can_redraw else BlockView(label)


def prepare_view(render: Render) -> None:
    """Load what drawing needs in the background, so that a first reply does not wait for it."""
    if render != "plain" and terminal.is_tty(sys.stdout):
        threading.Thread(target=_load, daemon=True).start()


def _load() -> None:
    from zephyrctl.chat.drawing import Pen, draw
    from zephyrctl.chat.markup import Block

    for block in (Block("paragraph", "", "a"), Block("code", "", "0", info="python")):
        draw(block, Pen(), console=terminal.stdout_console(), width=80)


class PlainView:
    """The text as it comes, without control characters; `wraps` breaks its lines at words."""

    def __init__(self, label: str | None = None, *, wraps: bool = False) -> None:
        self._safe = terminal.SafeStream()
        self._closed = False
        self._wrap = None
        if wraps:
            from zephyrctl.chat.plain import WordWrap

            self._wrap = WordWrap(lambda: _size_of_stdout(80).columns)
        if label is not None:
            terminal.out(label)

    def feed(self, text: str) -> None:
        """See View."""
        shown = self._safe.feed(text)
        terminal.out(self._wrap.feed(shown) if self._wrap else shown, end="")

    def close(self) -> None:
        """See View."""
        if not self._closed:
            self._closed = True
            rest = self._safe.close()
            terminal.out(self._wrap.feed(rest) + self._wrap.close() if self._wrap else rest)


class Drawing:
    """A reply drawn as Markdown on `console`; `frame` brings the screen up to date."""

    def __init__(
        self,
        console: Console,
        *,
        size: Callable[[], os.terminal_size],
        write: Callable[[str], None],
        live: bool = True,
    ) -> None:
        from zephyrctl.chat.blocks import Splitter
        from zephyrctl.chat.drawing import Pen
        from zephyrctl.chat.screen import Screen, reflows

        self._safe = terminal.SafeStream()
        self._splitter = Splitter()
        self._console, self._size, self._is_live = console, size, live
        self._screen = Screen(console, size, write, reflows=reflows(os.environ))
        self._pen = Pen()
        self._waiting: list[str] = []
        self._drawn_at: os.terminal_size | None = None

    def feed(self, text: str) -> None:
        """Take more of the reply, to be seen at the next frame."""
        self._waiting.append(text)

    def frame(self) -> None:
        """Print the blocks that are finished, and draw the open tail below them."""
        if self._waiting or self._size() != self._drawn_at:
            self._show(self._safe.feed("".join(self._waiting)), ends=False)

    def begin_anew(self) -> None:
        """Draw the tail below what others have written since, at the next frame."""
        self._screen.forget()
        self._drawn_at = None

    def close(self) -> None:
        """Print all that is left."""
        self._show(self._safe.feed("".join(self._waiting)) + self._safe.close(), ends=True)

    def _show(self, text: str, *, ends: bool) -> None:
        from zephyrctl.chat.drawing import draw

        self._waiting.clear()
        self._drawn_at = self._size()
        width = self._drawn_at.columns
        blocks = self._splitter.feed(text)
        if ends:
            blocks += self._splitter.close()
        done, live = [], []
        for block in blocks:
            rows, self._pen = draw(block, self._pen, console=self._console, width=width)
            done += rows
        pen = self._pen
        for block in self._splitter.preview() if self._is_live and not ends else ():
            rows, pen = draw(block, pen, console=self._console, width=width)
            live += rows
        self._screen.show(done, live)


class BlockView:
    """Markdown where nothing can be drawn twice: each block once it is finished."""

    def __init__(self, label: str | None = None) -> None:
        self._drawing = _on_stdout(label, live=False)
        self._closed = False

    def feed(self, text: str) -> None:
        """See View."""
        self._drawing.feed(text)
        self._drawing.frame()

    def close(self) -> None:
        """See View."""
        if not self._closed:
            self._closed = True
            self._drawing.close()


class LiveView:
    """Markdown on a terminal, about twelve frames a second."""

    def __init__(self, label: str | None = None) -> None:
        self._texts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._resumed = threading.Event()
        self._failure: Exception | None = None
        self._signal_before = self._watch_resuming()
        self._thread = threading.Thread(target=self._run, args=(label,), daemon=True)
        self._thread.start()

    def feed(self, text: str) -> None:
        """See View."""
        self._texts.put(text)
        self._raise_failure()

    def close(self) -> None:
        """See View."""
        self._ending.set()
        self._texts.put("")
        self._thread.join()
        if self._signal_before is not None:
            signal.signal(signal.SIGCONT, self._signal_before)
            self._signal_before = None
        self._raise_failure()

    def _watch_resuming(self) -> Any:
        """After Ctrl-Z and `fg` the shell's lines stand below the tail. Main thread only."""
        if threading.current_thread() is not threading.main_thread():
            return None
        return signal.signal(signal.SIGCONT, lambda number, frame: self._resumed.set())

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self, label: str | None) -> None:
        try:
            drawing = _on_stdout(label, live=True)
            while not self._ending.is_set():
                self._take(drawing)
                if self._resumed.is_set():
                    self._resumed.clear()
                    drawing.begin_anew()
                drawing.frame()
                self._ending.wait(_FRAME_S)
            while not self._texts.empty():
                drawing.feed(self._texts.get())
            drawing.close()
        except Exception as failure:  # raised again where the reply is fed
            self._failure = failure

    def _take(self, drawing: Drawing) -> None:
        """Wait for text, but not longer than a changed size may stay unseen."""
        try:
            drawing.feed(self._texts.get(timeout=_IDLE_S))
        except queue.Empty:
            return
        while not self._texts.empty():
            drawing.feed(self._texts.get())


def _on_stdout(label: str | None, *, live: bool) -> Drawing:
    console = terminal.stdout_console()
    if live and console.color_system is None:
        # NO_COLOR is about colours: a heading may still be bold.
        console = terminal.stdout_console(bold_only=True)
    if label is not None:
        from rich.text import Text

        with console.capture() as line:  # printed by rich, a closed pipe would end the program
            console.print(Text(terminal.safe(label), style="bold"))
        terminal.out_styled(line.get(), end="")

    size = partial(_size_of_stdout, console.width)
    return Drawing(console, size=size, write=partial(terminal.out_styled, end=""), live=live)


def _size_of_stdout(columns: int) -> os.terminal_size:
    """Of the terminal, or `columns` where there is none.

    Not shutil's: it believes COLUMNS, which a resize does not change.
    """
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return os.terminal_size((columns, 24))
    # A terminal that was told no size says 0.
    return os.terminal_size((found.columns or 80, found.lines or 24))
