"""Which text can be shown after each new token, so that the pieces join to the whole answer?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_REPLACEMENT = "\ufffd"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BLOCK = "\u2581"
"""SentencePiece's sign for a space."""


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of an answer: no special tokens, no white space round it."""
    return _decode(tokenizer, ids).strip()


class Detokenizer:
    """Turns ids into text as they come.

    A character that is spread over several tokens is held back until it is whole, and white space
    until something follows it, so that the joined pieces are `decode(tokenizer, ids)`. Each new
    token is decoded together with the piece before it, because SentencePiece drops the space of a
    first word; a piece begins and ends between characters, as byte-fallback decoders need.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = 0  # first id of the piece before
        self._shown = 0  # ids whose text has left
        self._blank = ""  # white space that waits for what follows
        self._begun = False
        self._sent = 0  # characters that have left

    @property
    def extent(self) -> int:
        """Characters of the text so far: those that left, and white space that waits."""
        return self._sent + len(self._blank)

    def feed(self, token: int) -> str:
        """The text that `token` completes; empty while a character is unfinished."""
        self._ids.append(token)
        before = _decode(self._tokenizer, self._ids[self._start : self._shown])
        after = _decode(self._tokenizer, self._ids[self._start :])
        if after.endswith(_REPLACEMENT) or len(after) <= len(before):
            return ""
        return self._leave(after[len(before) :])

    def close(self) -> str:
        """What is left once no more tokens come: an unfinished character as U+FFFD."""
        before = _decode(self._tokenizer, self._ids[self._start : self._shown])
        after = _decode(self._tokenizer, self._ids[self._start :])
        return self._leave(after[len(before) :])

    def _leave(self, piece: str) -> str:
        self._start, self._shown = self._shown, len(self._ids)
        text = self._blank + piece
        if not self._begun:
            text = text.lstrip()
        kept = text.rstrip()
        self._blank = text[len(kept) :] if kept or self._begun else ""
        self._begun = self._begun or bool(kept)
        self._sent += len(kept)
        return kept


class TokenBytes:
    """The bytes that a token stands for, which need not be whole characters."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = {
            number: token.content for number, token in tokenizer.added_tokens_decoder.items()
        }
        decoder = getattr(tokenizer.backend_tokenizer, "decoder", None)
        is_byte_level = decoder is not None and b"ByteLevel" in decoder.__getstate__()
        self._byte_of = _byte_level() if is_byte_level else None
        self._known: dict[int, bytes] = {}

    def of(self, token: int) -> bytes:
        """The bytes of one token; a special token's are its name."""
        if token not in self._known:
            self._known[token] = self._read(token)
        return self._known[token]

    def _read(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:  # the model has more words than its tokenizer
            return b""
        if self._byte_of is not None:
            if all(sign in self._byte_of for sign in piece):
                return bytes(self._byte_of[sign] for sign in piece)
            return piece.encode()
        byte = _BYTE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace(_BLOCK, " ").encode()


def _byte_level() -> dict[str, int]:
    """The byte behind each sign of a byte-level vocabulary: printable ones are themselves, the
    others stand from U+0100 on (GPT-2's encoder)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    signs = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
    return dict(zip(signs, [*printable, *others], strict=True))


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
