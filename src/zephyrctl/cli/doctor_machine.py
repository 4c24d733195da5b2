"""What on this machine is in order for training, and what to do about the rest?"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zephyrctl import environment, terminal
from zephyrctl.sizes import GIB, MIB, size_words

State = Literal["ok", "warning", "problem"]
_MIN_DRIVER = {"12": 525, "13": 580}  # NVIDIA's minor-version compatibility, by CUDA's major
_PINNED = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "typer", "pydantic")


@dataclass(frozen=True)
class Finding:
    """One line of the checklist; `remedy` can be pasted or says what to do."""

    name: str
    state: State
    text: str
    remedy: str | None = None


def check() -> list[Finding]:
    """The checklist of the machine, from the interpreter outwards."""
    return [
        _python(),
        *_packages(),
        *_gpus(),
        _memory(),
        *_limits(),
        _cache_disk(),
        _hub(),
        _hub_token(),
        _pip(),
        _gguf(),
        _judge_key(),
        _terminal(),
    ]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", "ok", version)
    return Finding(
        "python", "problem", f"{version}; 3.11 to 3.13 are supported", "python3.12 -m venv .venv"
    )


def _packages() -> list[Finding]:
    """Versions against the ranges that our own package declares."""
    from packaging.specifiers import SpecifierSet

    ranges = environment.requirements()
    found: list[Finding] = []
    good: list[str] = []
    for name in _PINNED:
        version, wanted = environment.package_version(name), ranges.get(name, "")
        remedy = f"pip install '{name}{wanted}'"
        if version is None:
            found.append(Finding(name, "problem", "not installed", remedy))
        elif not SpecifierSet(wanted).contains(version, prereleases=True):
            text = f"{version} is outside the tested range {wanted}"
            found.append(Finding(name, "problem", text, remedy))
        else:
            good.append(f"{name} {version}")
    summary = Finding("packages", "ok", ", ".join(good))
    return [summary, *found] if good else found


def _gpus() -> list[Finding]:
    installed, build = environment.installed_gpus(), environment.torch_cuda()
    if not installed:
        cores = environment.cpu_cores()
        text = f"no NVIDIA GPU: training runs on {cores} CPU cores in float32"
        return [Finding("gpu", "warning", text, "small recipes only: first-run, tiny")]
    if build is None:
        text = f"{len(installed)} GPU here, but the installed torch is a CPU build"
        return [
            Finding("gpu", "problem", text, "pip install --force-reinstall torch   (CUDA build)")
        ]
    visible = environment.visible_gpus()
    found = [_driver(build)]
    if len(visible) < len(installed):
        text = f"{len(visible)} of {len(installed)} visible"
        found.append(Finding("gpu", "warning", text, "unset CUDA_VISIBLE_DEVICES"))
    return found + [_gpu(gpu) for gpu in visible]


def _driver(build: str) -> Finding:
    driver = environment.driver_version()
    wanted = _MIN_DRIVER.get(build.partition(".")[0])
    text = f"driver {driver or 'unknown'}, torch built for CUDA {build}"
    if driver and wanted and int(driver.partition(".")[0]) < wanted:
        return Finding("driver", "problem", text, f"update the NVIDIA driver to {wanted} or later")
    return Finding("driver", "ok", text)


def _gpu(gpu: environment.Gpu) -> Finding:
    total, free = gpu.memory_mib * MIB, gpu.free_mib * MIB
    room = f"{size_words(free)} of {size_words(total)} free"
    text = f"{gpu.name}, {room}, capability {gpu.capability or '?'}"
    name = f"gpu {gpu.index}"
    if not gpu.bf16:
        return Finding(name, "warning", f"{text}, no bfloat16", "float32 is used: plan for less")
    if free < 0.9 * total:
        remedy = f"nvidia-smi -i {gpu.index}   shows who uses it"
        return Finding(name, "warning", f"{text}: others use it", remedy)
    return Finding(name, "ok", f"{text}, bfloat16")


def _memory() -> Finding:
    found = environment.memory()
    text = f"{size_words(found.available)} of {size_words(found.total)} free"
    if found.available < 4 * GIB:
        return Finding("memory", "warning", text, "the first-run recipe needs about 6 GiB")
    return Finding("memory", "ok", text)


def _limits() -> list[Finding]:
    """Limits that stop a job in its middle: open files, and shared memory for several GPUs."""
    import resource

    found = []
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= files < 1024:
        found.append(Finding("open files", "warning", f"limit {files}", "ulimit -n 4096"))
    shm = Path("/dev/shm")
    if len(environment.visible_gpus()) > 1 and shm.exists() and _free(shm) < GIB:
        text = f"/dev/shm has {size_words(_free(shm))} free; NCCL wants 1 GiB"
        found.append(Finding("shared memory", "warning", text, "docker run --shm-size=8g …"))
    return found


def _cache_disk() -> Finding:
    folder, hub = environment.cache_root(), environment.hub_cache()
    text = f"{size_words(_free(folder))} free for {folder}, {size_words(_free(hub))} for {hub}"
    if min(_free(folder), _free(hub)) < 2 * GIB:
        return Finding("cache disk", "warning", text, "export ZEPHYRCTL_CACHE=… HF_HOME=…")
    return Finding("cache disk", "ok", text)


def _free(path: Path) -> int:
    return environment.free_disk(path)


def _hub() -> Finding:
    from zephyrctl.models import hub

    mirror = os.environ.get("HF_ENDPOINT")
    place = f"the mirror {mirror}" if mirror else "the Hub"
    if not environment.network_allowed():
        return Finding("hub", "warning", "ZEPHYRCTL_OFFLINE=1: only what is on this disk is used")
    if not environment.hub_allowed():
        return Finding("hub", "warning", "HF_HUB_OFFLINE=1: only the Hub's cache is used")
    if hub.answers():
        return Finding("hub", "ok", f"{place} answers")
    text = f"{place} does not answer: only its cache and the package index are used"
    return Finding("hub", "warning", text, "HF_HUB_OFFLINE=1 saves the question")


def _hub_token() -> Finding:
    if os.environ.get("HF_TOKEN"):
        return Finding("hub token", "ok", "HF_TOKEN is set")
    if (environment.hub_cache().parent / "token").is_file():
        return Finding("hub token", "ok", "stored by hf auth login")
    return Finding("hub token", "ok", "none: enough for public models", "hf auth login")


def _pip() -> Finding:
    version = environment.package_version("pip")
    if version:
        return Finding("pip", "ok", version)
    remedy = f"{sys.executable} -m ensurepip"
    return Finding("pip", "warning", "missing: models cannot come from the package index", remedy)


def _gguf() -> Finding:
    version = environment.package_version("gguf")
    if version:
        return Finding("gguf", "ok", version)
    text = "missing: the first-run model cannot be converted where the Hub is out of reach"
    return Finding("gguf", "warning", text, "pip install 'zephyrctl[demo]'")


def _judge_key() -> Finding:
    """Whether a key is there; its value is neither read into the text nor checked."""
    if os.environ.get("OPENAI_API_KEY"):
        return Finding("judge key", "ok", "OPENAI_API_KEY is set")
    try:
        lines = Path(".env").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    if any(line.removeprefix("export ").startswith("OPENAI_API_KEY=") for line in lines):
        return Finding("judge key", "ok", "OPENAI_API_KEY is in .env")
    text = "none: judged benchmarks need one, eval rules does not"
    return Finding("judge key", "ok", text, "export OPENAI_API_KEY=…, or eval.judge.api_key_file")


def _terminal() -> Finding:
    import shutil

    width = shutil.get_terminal_size().columns
    tty = terminal.is_tty(sys.stderr)
    color = "colour" if terminal.use_color(sys.stderr) else "no colour"
    signs = "Unicode" if terminal.speaks_unicode(sys.stderr) else "ASCII only"
    kind = "live progress" if tty else "not a terminal: plain progress"
    text = f"{kind}, {width} columns, {color}, {signs}"
    if tty and width < 80:
        return Finding("terminal", "warning", text, "widen it to 80 columns for the live view")
    return Finding("terminal", "ok", text)
