"""How do a benchmark's files come here ahead of time, and to a machine without a network?
(`zephyrctl eval fetch`)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zephyrctl import environment
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.files import fetch, folders, pinned, votes
from zephyrctl.evaluation.files.folders import Say
from zephyrctl.evaluation.files.pinned import BenchmarkName, PinnedFile

State = Literal["here", "fetched", "copied", "absent"]


@dataclass(frozen=True)
class Brought:
    """One file, and what was done about it."""

    benchmark: BenchmarkName
    file: PinnedFile
    folder: Path
    state: State

    def to_json(self) -> dict[str, Any]:
        """The entry of `eval fetch --json`."""
        return {
            "benchmark": self.benchmark,
            "path": str(self.folder / self.file.path),
            "state": self.state,
            "from": self.file.place,
            "licence": self.file.licence,
            "sha256": self.file.sha256,
        }


def into_cache(benchmarks: Sequence[BenchmarkName], *, say: Say) -> list[Brought]:
    """Fetch what the cache lacks."""
    environment.made_in_cache("benchmarks")
    found: list[Brought] = []
    for name in benchmarks:
        folder = environment.benchmark_cache(name)
        files = pinned.FILES[name]
        before = {file.path for file in files if folders.is_here(file, folder)}
        folders.fetch_into(folder, files, benchmark=name, say=say)
        found += [
            Brought(name, file, folder, "here" if file.path in before else "fetched")
            for file in files
        ]
    return found


def to_folder(benchmarks: Sequence[BenchmarkName], target: Path, *, say: Say) -> list[Brought]:
    """Fetch what the cache lacks, and lay a copy into `target`, one folder a benchmark.

    The copy can be carried to another machine, or edited and named as `eval.data_dir`; DataError
    where an edited copy is there already.
    """
    _make(target)
    into_cache(benchmarks, say=say)
    found = []
    for name in benchmarks:
        folder = target / name.replace("-", "_")
        _refuse_edits(folder, pinned.FILES[name])
        for file in pinned.FILES[name]:
            state: State = "here" if folders.is_here(file, folder) else "copied"
            if state == "copied":
                content = (environment.benchmark_cache(name) / file.path).read_bytes()
                folders.keep(file, content, folder=folder)
            found.append(Brought(name, file, folder, state))
        if folders.is_here(pinned.HUMAN_VOTES[0], folder):
            votes.unpack(folder / "human_judgments")
    return found


def from_folder(benchmarks: Sequence[BenchmarkName], source: Path, *, say: Say) -> list[Brought]:
    """Take the files that `to_folder` laid into `source` into the cache, each by its SHA-256.

    What the benchmark can be run without may be absent. UsageError where there is no such folder,
    DataError with both digests for a file that is another one.
    """
    if not source.is_dir():
        raise UsageError(f"there is no folder {source}", hint="zephyrctl eval fetch --to FOLDER")
    environment.made_in_cache("benchmarks")
    found = []
    for name in benchmarks:
        places = (source / name.replace("-", "_"), source)
        taken = [_take(name, file, places) for file in pinned.FILES[name]]
        absent = {brought.file for brought in taken if brought.state == "absent"}
        if len(benchmarks) > 1 and len(absent) == len(taken):
            say(f"{source} holds nothing of {pinned.TITLES[name]}")
            continue
        needed = [file for file in NEEDED[name] if file in absent]
        if needed:
            raise DataError(
                f"{pinned.TITLES[name]}'s {', '.join(file.path for file in needed)} not found",
                where=str(source),
                hint=f"on a connected machine: zephyrctl eval fetch {name} --to FOLDER",
            )
        found += taken
    if not found:
        raise DataError("the folder holds no file of any benchmark", where=str(source))
    return found


NEEDED: dict[BenchmarkName, tuple[PinnedFile, ...]] = {
    "mt-bench": pinned.MT_BENCH,
    "alpaca-eval": pinned.ALPACA_EVAL_2,
}


def _take(name: BenchmarkName, file: PinnedFile, places: Sequence[Path]) -> Brought:
    folder = environment.benchmark_cache(name)
    if folders.is_here(file, folder):
        return Brought(name, file, folder, "here")
    path = next((place / file.path for place in places if (place / file.path).is_file()), None)
    if path is None:
        return Brought(name, file, folder, "absent")
    content = path.read_bytes()
    if fetch.digest_bytes(content) != file.sha256:
        raise fetch.wrong_digest(file, content, where=str(path))
    folders.keep(file, content, folder=folder)
    return Brought(name, file, folder, "copied")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder cannot be made: {error.strerror}",
            where=str(folder),
            hint="zephyrctl eval fetch --to ANOTHER_FOLDER",
        ) from None


def _refuse_edits(folder: Path, files: Sequence[PinnedFile]) -> None:
    for file in files:
        path = folder / file.path
        if path.exists() and not folders.is_here(file, folder):
            raise DataError(
                f"{file.path} is there already and differs from the public file",
                where=str(path),
                hint="name another folder, or move that file away",
            )
