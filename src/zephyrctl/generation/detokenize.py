"""Which text can be shown after each new token, so that the pieces join to the whole answer?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_REPLACEMENT = "\ufffd"


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
        return kept


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
