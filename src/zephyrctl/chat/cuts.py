"""Where can the text of a paragraph be cut so that both parts mean what the whole meant?

Emphasis, code, and links may span any distance inside a paragraph, so a cut is clean only where
none of them is open. A mark that is never closed (`5 *3`) leaves no clean place after it; the
caller cuts anyway once the text has become too long, and the mark stays on screen as it was typed.
"""

from __future__ import annotations

import re

_MARK = re.compile(r"\\.|`+|\*+|_+|~~+|!?\[|\](\()?|[()]", re.DOTALL)
# Punctuation after which scripts without spaces can be broken.
_BREAKS = frozenset("。、，．！？；：")


def last_clean_cut(text: str) -> int:
    """Length of the longest proper prefix that ends between words with no mark open; 0 for none."""
    clean = 0
    for start, end in closed_stretches(text):
        for position in range(min(end, len(text) - 1), max(start, clean), -1):
            if _breaks_behind(text[position - 1]):
                clean = position
                break
    return clean


def last_break(text: str) -> int:
    """Length of the longest prefix that ends between words, or of `text` where words are long."""
    for position in range(len(text), len(text) // 2, -1):
        if _breaks_behind(text[position - 1]):
            return position
    return len(text)


def closed_stretches(text: str) -> list[tuple[int, int]]:
    """Stretches (start, end) of `text` in which no inline mark is open, in order."""
    return _scan(text)[0]


def provisionally_closed(text: str) -> str:
    """`text` with bold and code closed at its end, so that it looks as it will once they are.

    Not so a single `*` or `_`, which too often is no emphasis.
    """
    marks = [
        mark for mark in _scan(text, may_grow=False)[1] if mark in ("**", "__") or mark[0] == "`"
    ]
    return text.rstrip() + "".join(reversed(marks)) if marks else text


def _scan(text: str, *, may_grow: bool = True) -> tuple[list[tuple[int, int]], list[str]]:
    """The closed stretches of `text`, and the marks that are open at its end."""
    stretches: list[tuple[int, int]] = []
    open_marks: list[str] = []
    since = position = 0
    while match := _MARK.search(text, position):
        position = match.end()
        was_closed = not open_marks
        if match[0][0] == "`":
            position = _end_of_code(text, position, match[0], may_grow=may_grow)
            if position < 0:
                open_marks.append(match[0])
        else:
            _step(open_marks, match, text)
        if was_closed and (open_marks or match[0][0] == "`"):
            stretches.append((since, match.start()))
        if position < 0:
            return stretches, open_marks
        if not open_marks and (not was_closed or match[0][0] == "`"):
            since = position
    if not open_marks:
        stretches.append((since, len(text)))
    return stretches, open_marks


def _breaks_behind(character: str) -> bool:
    return character.isspace() or character in _BREAKS


def _step(open_marks: list[str], match: re.Match[str], text: str) -> None:
    """Open or close what one mark opens or closes."""
    mark = match[0]
    if mark in ("[", "!["):
        open_marks.append("]")
    elif mark[0] == "]":
        _close(open_marks, "]")
        if match[1]:
            open_marks.append(")")
    elif mark in "()":
        # Only inside a link's target: prose may have any brackets.
        if open_marks[-1:] == [")"]:
            open_marks.append(")") if mark == "(" else open_marks.pop()
    elif mark[0] != "\\":
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        _emphasis(open_marks, mark, before=before, after=after)


def _end_of_code(text: str, position: int, ticks: str, *, may_grow: bool) -> int:
    """Behind the run of backticks that closes one of the same length; -1 without one."""
    match = re.compile(rf"(?<!`){ticks}(?!`)").search(text, position)
    # A run at the end may still grow, and then it closes nothing.
    return -1 if match is None or (may_grow and match.end() == len(text)) else match.end()


def _emphasis(open_marks: list[str], mark: str, *, before: str, after: str) -> None:
    """Open or close `mark`, by CommonMark's left- and right-flanking, simplified to spaces."""
    can_open = bool(after) and not after.isspace()
    can_close = bool(before) and not before.isspace()
    if mark[0] == "_" and can_open and can_close and before.isalnum() and after.isalnum():
        return
    left = len(mark)
    while can_close and left:
        # `***` closes `*` and `**`, in whichever order they were opened.
        opened = [known for known in open_marks if known[0] == mark[0] and len(known) <= left]
        if not opened:
            break
        _close(open_marks, opened[-1])
        left -= len(opened[-1])
    if can_open and left == len(mark):
        open_marks.append(mark)


def _close(open_marks: list[str], mark: str) -> None:
    """Close `mark` and what was opened after it and never closed."""
    if mark in open_marks:
        del open_marks[len(open_marks) - 1 - open_marks[::-1].index(mark) :]
