"""Does a checkpoint hold what its manifest says?

The manifest is written last, so a checkpoint without one was never finished. It lists every file
with its size and its xxh3_128 (which finds damage; it is no protection against an attacker, as
sha256 of published models is), and it carries a digest of itself. Nothing that it names outside its
own folder is ever looked at, and links are not followed.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zephyrctl.runs import atomic

MANIFEST = "manifest.json"
FORMAT = 1
WEIGHTS = "trained.safetensors"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
TRAINER_STATE = "trainer_state.json"
PROGRESS = "progress.json"
SMALL = (SCHEDULER, TRAINER_STATE, PROGRESS)
"""Files of every checkpoint, also of one in shards."""
_MOST_BYTES = 64 * 2**20
"""Of a manifest; a larger file is not read."""
_BLOCK = 2**20
_READERS = 4

Count = Annotated[int, Field(ge=0, le=2**53)]
Value = str | int | float | bool | None


class Damaged(Exception):
    """Why a checkpoint cannot be used, in words that follow its name."""


class FileEntry(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    size: Count
    """Bytes."""
    xxh3_128: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Record(BaseModel):
    """What was true when a checkpoint was committed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Count
    step: Count
    """Optimizer steps done."""
    total: Count
    """Steps of the whole training."""
    epoch: Count
    """Passes over the training split that are done, and …"""
    taken: Count
    """… examples taken of the one under way."""
    world_size: Annotated[int, Field(ge=1, le=65536)]
    strategy: str
    sharded: bool
    """Whether weights and optimizer are shards of each rank (torch.distributed.checkpoint)."""
    inputs: dict[str, Value]
    """What decides the stage's result, as in the stage's manifest."""
    inputs_digest: str
    """SHA-256 of `inputs`."""
    data: str | None
    """Digest of the prepared data."""
    adjustments: dict[str, Any]
    """What was changed for lack of memory."""
    held_out_loss: float | None
    """Of this very step; null where it was not evaluated."""
    versions: dict[str, str]
    """Of Python and the packages that decide numbers."""
    files: dict[str, FileEntry]
    """By path relative to the checkpoint."""


def write(folder: Path, record: Record) -> None:
    """Write the manifest of a checkpoint, which makes it one; DiskFull where there is no room."""
    atomic.write_text(folder / MANIFEST, text_of(record.model_dump(mode="json")))


def read(folder: Path) -> Record:
    """The manifest of a checkpoint, intact; Damaged otherwise. No other file is looked at."""
    if folder.is_symlink():
        raise Damaged("it is a link")
    content = _content(folder)
    try:
        found = json.loads(content)
        body = {key: value for key, value in found.items() if key != "digest"}
        if text_of(body) != content.decode():
            raise Damaged(f"{MANIFEST} is not what was written")
        if body.get("format") != FORMAT:
            raise Damaged(f"its format {body.get('format')} is not known to this version")
        record = Record.model_validate(body)
    except (ValueError, AttributeError, RecursionError, ValidationError):
        # Torn JSON, no object, numbers of thousands of digits, thousands of brackets.
        raise Damaged(f"{MANIFEST} cannot be read") from None
    for name in record.files:
        if not _is_inside(name):
            raise Damaged(f"{MANIFEST} names a file that is not in it")
    if folder.name != f"checkpoint-{record.step}":
        raise Damaged(f"it is the checkpoint of step {record.step}")
    return record


def verified(folder: Path, *, digests: bool = True, fresh: bool = False) -> Record:
    """The manifest of a checkpoint whose files are all as it says; Damaged otherwise.

    Without `digests` only names and sizes are compared; `fresh` says that it was just written.
    """
    record = read(folder)
    for name in required(record):
        if name not in record.files:
            raise Damaged(f"{name} is missing")
    there = dict(_files(folder))
    for name, entry in record.files.items():
        if name not in there:
            raise Damaged(f"{name} is missing" + _in_its_place(folder / name))
        if there[name] != entry.size:
            raise Damaged(f"{name} has {there[name]} bytes instead of {entry.size}")
    for name in there:
        if name not in record.files:
            raise Damaged(f"{name} does not belong to it")
    if digests:
        found = digests_of(folder, record.files, fresh=fresh)
        for name, entry in record.files.items():
            if found[name] != entry.xxh3_128:
                raise Damaged(f"the content of {name} has changed")
    return record


def required(record: Record) -> list[str]:
    """Files without which training would go on from another state than was saved."""
    whole = [] if record.sharded else [WEIGHTS, OPTIMIZER]
    return [*whole, *SMALL, *(rng_file(rank) for rank in range(record.world_size))]


def rng_file(rank: int) -> str:
    """Where the random states of a rank are."""
    return f"rng_state_{rank}.pth"


def entries(folder: Path) -> dict[str, FileEntry]:
    """Size and digest of every file in a folder that is about to be a checkpoint."""
    sizes = dict(_files(folder))
    found = digests_of(folder, sizes, fresh=True)
    return {name: FileEntry(size=sizes[name], xxh3_128=found[name]) for name in sorted(sizes)}


def digests_of(folder: Path, names: Iterable[str], *, fresh: bool = False) -> dict[str, str]:
    """xxh3_128 of files, in hex; several are read at once, for xxhash releases the GIL.

    Files that were just written (`fresh`) are in the page cache and hashed there, without a copy.
    Others are read: a bad sector is then an error of one file, where in a map it ends the process.
    """
    chosen = sorted(names, key=lambda name: -(folder / name).lstat().st_size)
    digest = _digest_of_map if fresh else _digest
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as readers:
        return dict(zip(chosen, readers.map(lambda n: digest(folder / n), chosen), strict=True))


def _digest(path: Path) -> str:
    import xxhash

    total = xxhash.xxh3_128()
    block = bytearray(_BLOCK)
    view = memoryview(block)
    with _opened(path) as stream:
        while count := stream.readinto(block):
            total.update(view[:count])
    return total.hexdigest()


def _digest_of_map(path: Path) -> str:
    import xxhash

    with _opened(path) as stream:
        if os.fstat(stream.fileno()).st_size == 0:  # nothing cannot be mapped
            return xxhash.xxh3_128_hexdigest(b"")
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        with mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ, flags=flags) as content:
            return xxhash.xxh3_128_hexdigest(content)


@contextmanager
def _opened(path: Path) -> Iterator[io.FileIO]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with io.FileIO(descriptor) as stream:
            yield stream
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read: {error.strerror}") from error


def _files(folder: Path) -> Iterable[tuple[str, int]]:
    """Relative path and size of the regular files; the manifest and hidden files (`.nfs…`) are left
    out, and what is no regular file is not there."""
    for root, _, names in os.walk(folder, followlinks=False):
        for name in names:
            path = Path(root) / name
            status = path.lstat()
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISREG(status.st_mode) and relative != MANIFEST and name[0] != ".":
                yield relative, status.st_size


def _in_its_place(path: Path) -> str:
    if path.is_symlink():
        return ": a link is in its place"
    return ": a folder is in its place" if path.is_dir() else ""


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    allowed = len(name) <= 255 and not set(name) & {"\\", "\0"}
    return allowed and all(part not in ("", ".", "..") for part in parts)


def _content(folder: Path) -> bytes:
    path = folder / MANIFEST
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise Damaged(f"{MANIFEST} cannot be read")
        return path.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"{MANIFEST} is missing") from None
    except OSError as error:
        raise Damaged(f"{MANIFEST} cannot be read: {error.strerror}") from error


def text_of(body: Mapping[str, Any]) -> str:
    """The one text that stands for a manifest: any other byte in the file is damage."""
    import xxhash

    digest = xxhash.xxh3_128_hexdigest(atomic.dumps(body).encode(errors="surrogatepass"))
    return atomic.dumps({**body, "digest": digest}, indent=2) + "\n"
