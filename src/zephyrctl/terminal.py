"""What may reach the terminal, and on which stream: data on stdout, everything else on stderr.

Text of models, data sets and users is foreign: it can hold escape sequences that set the clipboard
(OSC 52), rename the window, move the cursor over earlier lines, or reverse the reading order.
`safe` takes all of that out; `say` and `out` call it on whatever they print.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Literal

from zephyrctl.errors import DiskFull, EnvironmentProblem, Problem, UsageError, ZephyrctlError
from zephyrctl.wrapping import columns_of, wrapped

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

ColorMode = Literal["auto", "always", "never"]

# Longest escape sequence that is taken for one. A terminal has such a limit too; without it one
# unclosed sequence would hold back the rest of a streamed reply.
_LONGEST = 4096

# ECMA-48: control strings (OSC, DCS, SOS, PM, APC) run to BEL or ST. A newline ends our patience,
# so that an unclosed string hides at most its own introducer.
_STRING_OPEN = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])"
# No introducer inside a string either: each start then ends at the next one, in linear time.
_STRING_BODY = rf"[^\x07\x1b\x9c\n\x90\x98\x9d-\x9f]{{0,{_LONGEST}}}"
_STRING = rf"{_STRING_OPEN}{_STRING_BODY}(?:\x07|\x1b\\|\x9c)"
_CSI_BODY = r"(?:\x1b\[|\x9b)[0-?]{0,256}[ -/]{0,8}"
_ESCAPE = r"\x1b[ -/]{0,8}[0-~]"
_LONE = (
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # C0 but tab and newline, DEL, C1
    r"|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # bidirectional controls
)
_COMPLETE = rf"{_STRING}|{_CSI_BODY}[@-~]"
_PARTIAL = rf"(?P<partial>(?:{_STRING_OPEN}{_STRING_BODY}\x1b?|{_CSI_BODY}|\x1b[ -/]{{0,8}})\Z)"
_WHOLE = re.compile(rf"{_COMPLETE}|{_ESCAPE}|{_LONE}|(?P<surrogate>[\ud800-\udfff])")
_STREAMED = re.compile(rf"{_COMPLETE}|{_PARTIAL}|{_ESCAPE}|{_LONE}|(?P<surrogate>[\ud800-\udfff])")

# For locales whose encoding lacks our own signs; foreign text gets "?".
_ASCII_SIGNS = str.maketrans(
    {"✓": "+", "✗": "x", "→": "->", "←": "<-", "…": "...", "×": "x", "−": "-", "–": "-", "—": "-",
     "·": "-", "±": "+/-", "≈": "~", "≤": "<=", "≥": ">=", "Δ": "d", "│": "|", "─": "-",
     "■": "#", "█": "#", "⟦": "[[", "⟧": "]]", "•": "*", "▌": "|"}
)  # fmt: skip

# A line that the terminal cuts off where it has no room: one that wrapped could not be erased.
_PASSING = "\r\x1b[?7l{}\x1b[K\x1b[?7h"

_color_mode: ColorMode = "auto"
_passes = False
"""Whether the last line of stderr is one of `passing`."""
_writing = threading.RLock()  # a thread may draw while another one says something


def safe(text: str) -> str:
    """`text` without control characters (but newline and tab), escape sequences and bidi controls.

    Lone surrogates, which no stream can encode, become U+FFFD.
    """
    return _WHOLE.sub(_replacement, text)


class SafeStream:
    """`safe` for text that comes in chunks: a sequence split between two chunks is found too.

    For every way of cutting a text, the joined results of `feed` and `close` are `safe(text)`.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, chunk: str) -> str:
        """What of the text so far can be shown now; the start of a sequence is held back."""
        text = self._held + chunk
        self._held = ""
        shown: list[str] = []
        position = 0
        for match in _STREAMED.finditer(text):
            shown.append(text[position : match.start()])
            position = match.end()
            if match["partial"] is not None:
                self._held = match["partial"]
            else:
                shown.append(_replacement(match))
        shown.append(text[position:])
        return "".join(shown)

    def close(self) -> str:
        """What is left once no more text comes."""
        rest, self._held = self._held, ""
        return safe(rest)


def _replacement(match: re.Match[str]) -> str:
    return "" if match["surrogate"] is None else "\ufffd"


def say(text: str = "", *, end: str = "\n") -> None:
    """Write to stderr: progress, notices, summaries. A reader who left does not stop the job."""
    try:
        _write(sys.stderr, safe(text) + end)
    except (OSError, ValueError):  # closed, broken or full: there is nowhere left to say it
        return


def passing(text: str) -> None:
    """Show `text` on the last line of stderr, a terminal that can move its cursor, until anything
    else is written there or on stdout; an empty one takes it away."""
    global _passes
    with _writing, suppress(OSError, ValueError):
        if text or _passes:
            _passes = False
            line = _PASSING.format(safe(text)) if text else "\r\x1b[K"
            _write(sys.stderr, line)
            _passes = bool(text)


def can_redraw(stream: IO[str] | None) -> bool:
    """Whether `stream` is a terminal whose cursor can be moved."""
    return is_tty(stream) and os.environ.get("TERM", "dumb") != "dumb"


def out(text: str = "", *, end: str = "\n") -> None:
    """Write data to stdout; a closed pipe silences it, a full disk raises DiskFull."""
    _write_data(safe(text) + end)


def out_styled(text: str, *, end: str = "\n") -> None:
    """Write data with our own escape sequences in it; its foreign text is `safe` already."""
    if not speaks_unicode(sys.stdout):  # a console may have set the stream to write "?"
        text = text.translate(_ASCII_SIGNS)
    _write_data(text + end)


def emit_json(value: object) -> None:
    """Write `value` as one JSON object on one stdout line, in ASCII; NaN and infinity are null."""
    _write_data(json.dumps(finite(value), default=str, allow_nan=False) + "\n")


def render_error(error: ZephyrctlError, *, width: int | None = None) -> str:
    """The error as people see it: every problem with its place and its hint. With a `width` its
    sentence is broken between words; places and hints are whole, to be pasted."""
    blocks = [_render_problem(error.kind, problem, width) for problem in error.problems]
    if len(blocks) > 1:
        blocks.append(f"{len(blocks)} problems")
    return "\n".join(blocks)


def say_error(error: ZephyrctlError) -> None:
    """`render_error` on stderr, with the word `error` in red where colour is on."""
    for line in render_error(error, width=columns_of(sys.stderr)).split("\n"):
        head = line.partition(":")[0]
        if line.startswith("error[") and use_color(sys.stderr):
            try:
                _write(sys.stderr, f"\x1b[1;31m{head}\x1b[0m{line[len(head) :]}\n")
            except (OSError, ValueError):
                return
        else:
            say(line)


def set_color(mode: ColorMode) -> None:
    """`--color`: `always` and `never` beat the environment."""
    global _color_mode
    _color_mode = mode


def use_color(stream: IO[str]) -> bool:
    """Whether ANSI codes may go to `stream`: --color, then NO_COLOR, FORCE_COLOR, TERM, a TTY."""
    if _color_mode != "auto":
        return _color_mode == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_tty(stream) and os.environ.get("TERM") != "dumb"


def is_tty(stream: IO[str] | None) -> bool:
    """Whether a person looks at `stream`; false for a closed one (`2>&-` leaves None)."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def speaks_unicode(stream: IO[str]) -> bool:
    """Whether braille, block elements and signs such as ✓ survive the stream's encoding."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        "⣿▁✓".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def stderr_console() -> Console:
    """A Rich console on stderr that takes every string literally."""
    return _console(sys.stderr)


def stdout_console(*, bold_only: bool = False) -> Console:
    """A Rich console on stdout that takes every string literally.

    `bold_only` is for a terminal without colours that may still show bold and italic.
    """
    return _console(sys.stdout, bold_only=bold_only)


def open_page(path: Path) -> None:
    """Show a local HTML file in the user's browser; EnvironmentProblem where there is none."""
    import webbrowser

    address = path.resolve().as_uri()
    if not webbrowser.open(address):
        raise EnvironmentProblem("no browser could be opened", hint=f"open {address}")


def _console(stream: IO[str], *, bold_only: bool = False) -> Console:
    from rich.console import Console

    # Rich passes our strings to the stream itself; one odd sign must not end a training view.
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None and not speaks_unicode(stream):
        reconfigure(errors="replace")
    color, tty = use_color(stream), is_tty(stream)
    piped_width = int(os.environ["COLUMNS"]) if os.environ.get("COLUMNS", "").isdigit() else 120
    return Console(
        file=stream,
        markup=False,
        highlight=False,
        emoji=False,
        no_color=not color,
        force_terminal=tty or color,
        color_system="auto" if color and tty else "standard" if color or bold_only else None,
        width=None if tty else piped_width,
    )


def _write(stream: IO[str] | None, text: str) -> None:
    if stream is None:
        raise ValueError("a closed stream")
    with _writing:
        passing("")
        try:
            stream.write(text)
        except UnicodeEncodeError as error:
            folded = text.translate(_ASCII_SIGNS)
            stream.write(folded.encode(error.encoding, "replace").decode(error.encoding))
        stream.flush()


def _write_data(text: str) -> None:
    if sys.stdout is None:
        raise UsageError("stdout is closed, and the answer goes there", hint=">FILE, not >&-")
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        # `… | head`: whatever follows, and the interpreter's own last flush, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull("no space left to write the output", where="stdout") from None
        raise


def finite(value: Any) -> Any:
    """`value` with NaN and infinities as null, because JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _render_problem(kind: str, problem: Problem, width: int | None) -> str:
    sentence = f"error[{kind}]: {safe(problem.message).strip()}"
    if width is not None:
        sentence = "\n".join(wrapped(sentence, max(width - 2, 20)))
    lines = [_indented(sentence, 2)]
    if problem.where:
        lines.append(f"  --> {_indented(problem.where, 6)}")
    if problem.hint:
        lines.append(f"  hint: {_indented(problem.hint, 8)}")
    return "\n".join(lines)


def _indented(text: str, width: int) -> str:
    return safe(text).strip().replace("\n", "\n" + " " * width)
