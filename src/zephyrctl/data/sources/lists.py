"""Which objects stand in a JSON file that is one list? (read piece by piece, never whole)"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from zephyrctl.data.sources.files import BOM, iconv, open_file, refuse_utf16
from zephyrctl.data.sources.rows import (
    MAX_LINE_BYTES,
    TOO_DEEP,
    DuplicateKey,
    Parsed,
    explain,
    problem_of,
    unique,
)
from zephyrctl.errors import DataError, quoted

_BLOCK = 1 << 20
_SPACE = " \t\n\r"
_STRICT = json.JSONDecoder(object_pairs_hook=unique)
_LENIENT = json.JSONDecoder(parse_int=str)  # only to find where a value ends
_SPREAD = re.compile(rb'\s*\{\s*\n\s+"')
_LONGEST_TOKEN = 16
"""An error so near the end of what was read may be a token cut in two (`-Infinity`, `\\ud83d`)."""


def is_list(path: Path) -> bool:
    """Whether a `.json` file holds one list rather than an object per line."""
    with open_file(path) as stream:
        start = stream.read(4096)
    refuse_utf16(start, path)
    if _SPREAD.match(start.removeprefix(BOM)):
        target = quoted(path.with_suffix(".jsonl"))
        raise DataError(
            "the file is one object over many lines, not a list of rows", where=f"{path}:1",
            hint=f"take the list out of it: jq -c '.[][]' {quoted(path)} > {target}",
        )  # fmt: skip
    return start.removeprefix(BOM).lstrip().startswith(b"[")


def list_rows(path: Path) -> Iterator[Parsed]:
    """The number of each element from 1, its object, and why there is none."""
    with open_file(path) as stream:
        window = _Window(stream, path)
        window.take("[")
        number = 0
        while number or window.next() != "]":
            number += 1
            value, problem = window.element(number)
            yield number, value, problem
            if window.next() != ",":
                break
            window.take(",")
        window.take("]")
        if window.next():
            raise window.error("not JSON: Extra data", window.at)


class _Window:
    """The part of the text that is looked at, and its place in the file."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._ended = False
        self._text = ""
        self._line, self._column = 1, 1  # where the window begins
        self.at = 0

    def next(self) -> str:
        """The next character that is no space, empty at the end of the file."""
        while True:
            while self.at < len(self._text) and self._text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self._text) or not self._fill():
                return self._text[self.at : self.at + 1]

    def take(self, char: str) -> None:
        """Go past this character, which must be the next one."""
        if self.next() != char:
            raise self.error("not JSON: Expecting ',' or ']'", self.at)
        self.at += 1

    def element(self, number: int) -> tuple[dict[str, Any] | None, str]:
        """The next element of the list, or what is wrong with it; goes past it."""
        self.next()
        while True:
            try:
                value, end, problem = _decode(self._text, self.at)
            except json.JSONDecodeError as error:
                if self._is_cut(error):
                    continue
                raise self.error(f"not JSON: {error.msg}", error.pos) from error
            except RecursionError as error:
                where = f"{self._path}#{number}"
                raise DataError(TOO_DEEP, where=where, hint="leave this element out") from error
            if end == len(self._text) and not isinstance(value, dict) and self._fill():
                continue  # a number may go on
            raw = self._text[self.at : end].encode("utf-8")
            self.at = end
            problem = problem or problem_of(value, raw)
            return (None, problem) if problem else (value, "")

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the error may come from the window's end; then the window is longer now."""
        near = error.pos >= len(self._text) - _LONGEST_TOKEN
        if self._ended or not (near or error.msg.startswith("Unterminated string")):
            return False
        if len(self._text) - self.at > MAX_LINE_BYTES:
            limit = MAX_LINE_BYTES >> 20
            raise self.error(f"an element of the list is longer than {limit} MiB", self.at)
        return self._fill()

    def _fill(self) -> bool:
        """Leave out what was gone past and read on; False at the end of the file."""
        if self._ended:
            return False
        self._line, self._column = self._place(self.at)
        self._text, self.at = self._text[self.at :], 0
        block = self._stream.read(_BLOCK)
        self._ended = not block
        try:
            self._text += self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            line = self._line + error.object[: error.start].count(b"\n") + self._text.count("\n")
            raise DataError(
                f"not UTF-8: {error.reason}", where=f"{self._path}:{line}", hint=iconv(self._path)
            ) from error
        return True

    def _place(self, at: int) -> tuple[int, int]:
        newlines = self._text.count("\n", 0, at)
        if not newlines:
            return self._line, self._column + at
        return self._line + newlines, at - self._text.rindex("\n", 0, at)

    def error(self, message: str, at: int) -> DataError:
        line, column = self._place(at)
        return DataError(
            message,
            where=f"{self._path}:{line}:{column}",
            hint=f"python -m json.tool {quoted(self._path)}",
        )


def _decode(text: str, at: int) -> tuple[Any, int, str]:
    """The value that begins here, where it ends, and what is wrong with it as a whole."""
    try:
        return (*_STRICT.raw_decode(text, at), "")
    except json.JSONDecodeError:
        raise
    except (DuplicateKey, ValueError) as error:
        return (*_LENIENT.raw_decode(text, at), explain(error))
