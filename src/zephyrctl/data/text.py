"""When are two texts the same to a reader? (case, punctuation and spacing left aside)"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from functools import lru_cache
from typing import Any

_WORD = re.compile(r"\w+")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_APOSTROPHES = "\u2019\u2018\u02bc"
# Marks without a compatibility form that word processors write: they part words as a space does.
_MARKS = "\u2019\u2018\u02bc\u201c\u201d\u2013\u2014\u2022"
_ASCII_WORDS = {
    code: chr(code).lower() if chr(code).isalnum() or chr(code) == "_" else " "
    for code in range(128)
}


@lru_cache(maxsize=256)  # filters, duplicates and decontamination ask for the same few texts
def words(text: str) -> tuple[str, ...]:
    """The words of a text in compatibility form and folded case, punctuation left out."""
    return split_words(text)


def split_words(text: str) -> tuple[str, ...]:
    """`words`, not remembered: for pieces that nobody else asks for."""
    if not text.isascii():
        text = _with(text, _MARKS, " ")
    if text.isascii():  # three times as fast as the general way, with the same result
        return tuple(text.translate(_ASCII_WORDS).split())
    # The apostrophes once more: the compatibility form of U+0149 holds one.
    plain = _with(unicodedata.normalize("NFKC", text), _APOSTROPHES, " ")
    return tuple(_WORD.findall(plain.casefold()))


def _with(text: str, marks: str, instead: str) -> str:
    """The text with one character in place of each mark; faster than `translate` outside ASCII."""
    for mark in marks:
        text = text.replace(mark, instead)
    return text


def normalized(text: str) -> str:
    """The words of a text with one space between them."""
    return " ".join(words(text))


def straight_quotes(text: str) -> str:
    """The text with typographic apostrophes as plain ones."""
    return text if text.isascii() else _with(text, _APOSTROPHES, "'")


def without_code(text: str) -> str:
    """The text without fenced and inline code, whose case and repetition follow other rules."""
    return _CODE.sub(" ", text) if "`" in text else text


def digest(*parts: str) -> bytes:
    """16 bytes that stand for these texts; the same on every machine and in every process."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", errors="surrogatepass")
        state.update(len(encoded).to_bytes(8, "little"))
        state.update(encoded)
    return state.digest()


def draw(seed: int, purpose: str, content: bytes) -> int:
    """A number in [0, 2**64) that follows from the content alone, for seeded choices.

    `purpose` keeps two choices about the same row independent.
    """
    state = hashlib.blake2b(f"{seed}:{purpose}:".encode() + content, digest_size=8)
    return int.from_bytes(state.digest(), "little")


def row_digest(row: Any) -> bytes:
    """16 bytes that stand for a row of raw data, whatever the order of its columns."""
    return digest(json.dumps(row, sort_keys=True, ensure_ascii=True, default=str))
