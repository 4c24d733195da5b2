"""How does plain text that comes in pieces break at words, on a terminal that cannot redraw?"""

from __future__ import annotations

import re
from collections.abc import Callable

from rich.cells import cell_len

_TOKEN = re.compile(r"\n|[^\S\n]+|\S+")
_ITEM = re.compile(r"[-*+]|\d{1,9}[.)]")
_QUOTE = re.compile(r">+")
_FENCE = re.compile(r"```|~~~")
_LONGEST_WORD = 200
"""Characters after which a word is no longer waited for."""


class WordWrap:
    """Breaks lines between words; further lines of an item or a quote stand below its text.

    `width` is asked for each word. Code between fences is left to the terminal, and so are words
    with wide characters, which may break anywhere.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._held = ""
        self._space = ""
        self._column = 0
        self._hang: str | None = ""
        """What further lines begin with; None inside a fence."""
        self._begins = True
        """Whether only markers and blanks came in this line."""

    def feed(self, text: str) -> str:
        """What can be written now; a word that may go on is held back."""
        tokens = _TOKEN.findall(self._held + text)
        self._held = ""
        if tokens and not tokens[-1][-1].isspace() and len(tokens[-1]) < _LONGEST_WORD:
            self._held = tokens.pop()
        return "".join(map(self._take, tokens))

    def close(self) -> str:
        """What is left once no more text comes."""
        rest, self._held = self._held, ""
        return self._take(rest) if rest else ""

    def _take(self, token: str) -> str:
        if token == "\n":
            self._column, self._space, self._begins = 0, "", True
            if self._hang is not None:
                self._hang = ""
            return token
        if token.isspace():
            self._space += token
            return ""
        if self._begins and _FENCE.match(token):
            self._hang = "" if self._hang is None else None
        if self._hang is None:
            self._begins = False
            return self._written(token)
        lead = self._space + token
        is_wide = cell_len(token) > len(token)
        if self._begins:
            self._begin(token)
        elif not is_wide and self._column + cell_len(lead) > self._width():
            self._space, self._column = "", 0
            return f"\n{self._written(self._hang + token)}"
        return self._written(token)

    def _begin(self, token: str) -> None:
        """Learn from a line's first words how far its further lines are indented."""
        assert self._hang is not None
        # The blank behind a marker is in its hang already.
        blank = self._space[1:] if self._hang else self._space
        if _QUOTE.fullmatch(token):
            self._hang += f"{blank}{token} "
        elif _ITEM.fullmatch(token):
            self._hang += blank + " " * (len(token) + 1)
        else:
            self._hang += blank
            self._begins = False

    def _written(self, word: str) -> str:
        text, self._space = self._space + word, ""
        self._column += cell_len(text)
        if self._column > self._width():  # the terminal has broken it
            self._column %= self._width()
        return text
