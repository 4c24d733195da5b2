"""In which colours is code shown?"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from rich.text import Text

if TYPE_CHECKING:
    from rich.syntax import ANSISyntaxTheme

# How much of a string or comment of many lines the highlighter reads again before its next lines.
_CONTEXT_CHARS = 1024
# PHP is read as such without its opening tag, which may stand in a part before.
_LEXING = {"stripnl": False, "ensurenl": False, "startinline": True}
_LANGUAGE = re.compile(r"[\w+#.-]{1,30}")


def coloured(code: str, *, before: str, info: str) -> tuple[Text, str]:
    """A part of the code behind a fence with `info`, read after `before`; and what must be read
    before the part after it."""
    text, is_open = _highlighted(before, code, _lexer(info))
    if not is_open:
        return text, ""
    whole = before + code
    kept = whole[-_CONTEXT_CHARS:]
    if len(whole) > _CONTEXT_CHARS and "\n" in kept:
        kept = kept[kept.index("\n") + 1 :]
    return text, kept


@cache
def _lexer(info: str) -> Any:
    """The Pygments lexer for the first word behind a fence; None where it is no known language."""
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    name = _LANGUAGE.match(info.strip("{. "))
    if name is None:
        return None
    try:
        return get_lexer_by_name(name[0].lower(), **_LEXING)
    except ClassNotFound:
        return None


@cache
def _theme() -> ANSISyntaxTheme:
    from rich.syntax import ANSI_DARK, ANSISyntaxTheme

    return ANSISyntaxTheme(ANSI_DARK)


def _highlighted(before: str, code: str, lexer: Any) -> tuple[Text, bool]:
    """`code`, read after `before`, and whether it ends inside a string or comment of many lines.

    The colours are the terminal's own, readable on any background.
    """
    if lexer is None:
        return Text(code), False
    from pygments.token import Comment, String, Token

    text, skip, kind = Text(), len(before), Token
    style_of = _theme().get_style_for_token
    try:
        for kind, token in lexer.get_tokens(before + code):
            if len(token) > skip:
                text.append(token[skip:], style_of(kind))
            skip = max(skip - len(token), 0)
    except RecursionError:
        return Text(code), False
    # A lexer may normalize what it reads; positions are then no longer those of the code.
    return text if text.plain == code else Text(code), kind in String or kind in Comment
