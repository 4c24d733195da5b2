"""What do emphasis, code, links and images inside a paragraph look like?

Raw HTML and Rich markup are text; a link shows its target as text and is never a hyperlink of the
terminal's, whose target could differ from what is read; an image is its description and its
address. `safe` runs over what Markdown made of the source, because `&#x202e;` is harmless only
until it is decoded.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text

from zephyrctl.terminal import safe

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_STYLES = {
    "strong_open": Style(bold=True),
    "em_open": Style(italic=True),
    "s_open": Style(strike=True),
    "code_inline": Style(color="cyan"),
    "target": Style(dim=True),
}


def inline(source: str) -> Text:
    """Emphasis, code, links and breaks of `source`."""
    text = Text()
    for token in _parser().parseInline(source):
        _append(text, token.children or [])
    return text


def _append(text: Text, tokens: list[Token]) -> None:
    styles = [Style.null()]
    targets: list[str] = []
    for token in tokens:
        kind = token.type
        style = Style.combine(styles)
        if kind == "softbreak":
            text.append(" ", style)
        elif kind == "hardbreak":
            text.append("\n")
        elif kind == "code_inline":
            text.append(safe(token.content), style + _STYLES["code_inline"])
        elif kind == "link_open":
            targets.append("" if token.markup == "autolink" else _target(token, "href"))
        elif kind == "link_close":
            text.append(targets.pop(), style + _STYLES["target"])
        elif kind == "image":
            text.append(safe(token.content) or "image", style)
            text.append(_target(token, "src"), style + _STYLES["target"])
        elif kind in _STYLES:
            styles.append(_STYLES[kind])
        elif token.nesting < 0:
            styles.pop()
        else:
            text.append(safe(token.content), style)


def _target(token: Token, name: str) -> str:
    address, title = token.attrs.get(name, ""), token.attrs.get("title")
    return safe(f' ({address} "{title}")' if title else f" ({address})")


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
