"""Does a foreign chat template come to an end, in little time and memory?

A template is a program. The sandbox that it is rendered in keeps it from files and from Python's
own objects, and lets it loop and multiply without bound. So a template that is not one of ours is
first rendered in a child process, `python -m zephyrctl.data.template_trial`, within limits of time
and memory; only then does this process compile it. Templates that passed are remembered by hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
from functools import cache
from typing import Any

from zephyrctl import environment, templates
from zephyrctl.data.without_torch import do_without_torch
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.runs.atomic import write_text
from zephyrctl.sizes import GIB, size_words

CPU_S = 2
MEMORY_BYTES = 2 * GIB
LONGEST = 4_000_000
"""Characters that the conversations of the trial may become."""
_PATIENCE_S = 60.0
"""Wall time of a child on a busy machine; it reads no clock of its own."""
_TRIAL = 1
"""Raised by one when the trial changes, so that every template is tried again."""
_FINE, _TOO_LARGE, _FORBIDDEN = 0, 81, 82
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR")


def require_harmless(template: str | dict[str, str], *, where: str) -> None:
    """UsageError for a template, or one of several by name, that does not end within the limits or
    reaches for what the sandbox keeps from it. One that only refuses the trial's conversations
    passes: whoever renders it says why."""
    for text in [template] if isinstance(template, str) else template.values():
        said = _flaw(text)
        if said is not None:
            raise UsageError(
                f"the chat template {said}",
                where=where,
                hint="--set model.chat_template=zephyr, or a .jinja file that you know",
            )


@cache
def _flaw(text: str) -> str | None:
    """What is wrong with a template, in words that follow its name; None for a harmless one."""
    if any(templates.read(name) == text for name in templates.names()):
        return None
    name = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    memo = environment.cache_root() / "templates" / f"{_TRIAL}-{name}"
    if memo.is_file():
        return None
    said = _try_in_child(text)
    if said is None:
        # Without a cache it is only tried again by the next process.
        with contextlib.suppress(OSError, EnvironmentProblem):
            environment.made_in_cache("templates")
            write_text(memo, "it ended within the limits\n")
    return said


def _try_in_child(text: str) -> str | None:
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "zephyrctl.data.template_trial"],
            input=json.dumps(text),
            env=env | {"PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"was not rendered within {_PATIENCE_S:.0f} s"
    match child.returncode:
        case code if code == _FINE:
            return None
        case code if code == _TOO_LARGE:
            return f"needs more than {size_words(MEMORY_BYTES)}, or has no end"
        case code if code == _FORBIDDEN:
            return "reaches for what no template may touch"
        case code if -code in (signal.SIGXCPU, signal.SIGKILL):
            return f"does not come to an end: it was stopped after {CPU_S} s of CPU time"
        case code if code < 0:
            return f"broke the process that tried it (signal {-code})"
    lines = child.stderr.strip().splitlines() or [f"exit {child.returncode}"]
    raise EnvironmentProblem(f"the chat template could not be tried: {lines[-1]}")


def _main() -> int:
    """Render the template of stdin; the exit code says how it went."""
    do_without_torch()
    from jinja2.exceptions import SecurityError

    template = json.loads(sys.stdin.read())
    _length("", *_conversations()[0], is_open=False)  # imports all before the limits hold
    _limit()
    length = 0
    try:
        for messages, tools in _conversations():
            for is_open in (False, True):
                length += _length(template, messages, tools, is_open=is_open)
    except SecurityError:
        return _FORBIDDEN
    except (MemoryError, RecursionError, OverflowError):
        return _TOO_LARGE
    return _FINE if length <= LONGEST else _TOO_LARGE


def _length(template: str, messages: Any, tools: Any, *, is_open: bool) -> int:
    """Characters of one conversation under the template; 0 where the template refuses it."""
    from jinja2.exceptions import SecurityError
    from transformers.utils.chat_template_utils import render_jinja_template

    render: Any = render_jinja_template
    try:
        texts, _ = render(
            conversations=[messages],
            tools=tools,
            chat_template=template,
            add_generation_prompt=is_open,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            pad_token="</s>",
        )
    except (SecurityError, MemoryError, RecursionError, OverflowError):
        raise
    except Exception:  # whatever a template's own checks and mistakes can raise
        return 0
    return len(texts[0])


def _limit() -> None:
    """From here on: two more seconds of CPU time, two GiB, no core file."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime) + CPU_S
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    with contextlib.suppress(ValueError, OSError):  # macOS limits no address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _conversations() -> list[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]]:
    """Short and long, with and without a system prompt and tools."""
    asked = {"role": "user", "content": "What is the capital of France?"}
    said = {"role": "assistant", "content": "Paris."}
    system = {"role": "system", "content": "Be brief."}
    tool = {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look a word up.",
            "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
        },
    }
    long = [asked | {"content": "word " * 400}, said | {"content": "word " * 400}] * 20
    return [
        ([asked], None),
        ([system, asked], None),
        ([asked, said, asked], None),
        ([system, asked, said], None),
        (long, None),
        ([asked], [tool]),
    ]


if __name__ == "__main__":
    sys.exit(_main())
