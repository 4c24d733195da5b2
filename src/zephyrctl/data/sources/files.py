"""Which files does a local source consist of, and how is each opened?"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from zephyrctl.config.paths import DATA_SUFFIXES, is_local
from zephyrctl.config.schema.data import Source
from zephyrctl.errors import DataError, quoted

BOM = b"\xef\xbb\xbf"
TABLES = (".parquet", ".arrow")
_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_PACKINGS = (*_OPENERS, ".zst", ".zip")
_KINDS = ".jsonl, .json, .csv, .tsv, .parquet or .arrow"
_SPLIT_NAMES = ("train", "test", "validation", "valid", "val", "dev", "eval")


def local_files(source: Source) -> list[Path]:
    """The files of a local source in a fixed order; empty for a Hub data set."""
    if not is_local(source.path):
        return []
    path = Path(source.path).expanduser()
    with reading(path):
        if path.is_dir():
            files = _folder_files(path, split=source.split)
        elif not path.exists():
            what = "the link leads nowhere" if path.is_symlink() else "there is no such file"
            raise DataError(what, where=str(path), hint=f"ls -l {quoted(path.parent)}")
        elif not path.name.lower().endswith(DATA_SUFFIXES):
            raise DataError(
                "the file's suffix says nothing about its format", where=str(path),
                hint=f"rename it to {_KINDS}, with {', '.join(_PACKINGS)} behind it if packed",
            )  # fmt: skip
        else:
            files = [path]
        for file in files:
            if not file.is_file():  # opening a pipe would wait for its writer
                raise DataError(
                    "this is not a regular file",
                    where=str(file),
                    hint=f"ls -l {quoted(file.parent)}",
                )
        return files


def _folder_files(folder: Path, *, split: str) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        folder = _saved_split(folder, split)
    if (folder / "state.json").is_file():
        return _saved_files(folder)
    found = sorted(p for p in folder.iterdir() if p.name.lower().endswith(DATA_SUFFIXES))
    if not found:
        below = next((p for p in sorted(folder.iterdir()) if p.is_dir()), None)
        raise DataError(
            "the folder holds no data file", where=str(folder),
            hint=f"a data file ends with {_KINDS}: ls {quoted(below or folder)}",
        )  # fmt: skip
    if not any(_is_of(path, (*_SPLIT_NAMES, split)) for path in found):
        return found
    chosen = [path for path in found if _is_of(path, (split,))]
    if not chosen:
        raise DataError(
            f"no file of the folder is named for the split '{split}'", where=str(folder),
            hint=f"its files are {', '.join(path.name for path in found[:4])}; set `split`",
        )  # fmt: skip
    return chosen


def _is_of(path: Path, splits: tuple[str, ...]) -> bool:
    """Whether a file is named for one of the splits: `train.jsonl`, `train-00000-of-3.parquet`."""
    return any(re.match(re.escape(split) + r"(?![^\W_])", path.name) for split in splits)


def _saved_split(folder: Path, split: str) -> Path:
    """The folder of one split of a `DatasetDict` that `save_to_disk` wrote."""
    if (folder / split / "state.json").is_file():
        return folder / split
    there = ", ".join(sorted(p.parent.name for p in folder.glob("*/state.json")))
    raise DataError(
        f"the saved data set has no split '{split}'", where=str(folder),
        hint=f"set `split` to one of: {there}",
    )  # fmt: skip


def _saved_files(folder: Path) -> list[Path]:
    """The files of a data set that `save_to_disk` wrote, in the order of its rows."""
    state = folder / "state.json"
    try:
        names = [item["filename"] for item in json.loads(state.read_bytes())["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "this does not describe a saved data set", where=str(state), hint=f"cat {quoted(state)}"
        ) from error
    files = [folder / name for name in names]
    absent = [path for path in files if path.parent != folder or not path.exists()]
    if absent:
        raise DataError("a part of the saved data set is missing", where=str(absent[0]),
                        hint=f"ls {quoted(folder)}")  # fmt: skip
    return files


def kind_of(path: Path) -> tuple[str, str]:
    """The suffixes that say what a file holds and how it is packed (`.jsonl`, `.gz`)."""
    name = path.name.lower()
    packing = next((suffix for suffix in _PACKINGS if name.endswith(suffix)), "")
    kind = Path(name.removesuffix(packing)).suffix
    if kind in TABLES and packing:
        raise DataError(
            f"a {kind} file is packed inside already", where=str(path),
            hint=f"unpack it to {path.name[: -len(packing)]}",
        )  # fmt: skip
    return kind, packing


def open_file(path: Path) -> IO[bytes]:
    """The content of a file, unpacked while it is read."""
    packing = kind_of(path)[1]
    if packing == ".zip":
        return _open_zip(path)
    if packing == ".zst":
        import pyarrow as pa

        stream = cast("io.RawIOBase", pa.input_stream(str(path), compression="zstd"))
        return io.BufferedReader(stream)  # Arrow's own stream has no readline
    return cast("IO[bytes]", _OPENERS[packing](path, "rb")) if packing else path.open("rb")


def _open_zip(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    inside = [item for item in archive.infolist() if not item.is_dir()]
    if len(inside) != 1 or inside[0].flag_bits & 1:
        archive.close()
        what = "one that a password locks" if len(inside) == 1 else f"{len(inside)} files"
        raise DataError(
            f"a zip archive must hold exactly one open file; this holds {what}", where=str(path),
            hint=f"name the folder that this makes: unzip {quoted(path)} -d {quoted(path.stem)}",
        )  # fmt: skip
    return archive.open(inside[0])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what can go wrong with a file as a whole into a DataError that names it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error.reason}", where=str(path), hint=iconv(path)) from error
    except (
        gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, zipfile.BadZipFile,
        NotImplementedError,  # zip: a method of compression that Python does not have
    ) as error:  # fmt: skip
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # bz2 and Arrow say so of content they cannot unpack
            raise _damaged(path, error) from error
        raise DataError(
            f"the file cannot be read: {error.strerror or error}", where=str(path),
            hint=f"ls -ld {quoted(path)}",
        ) from error  # fmt: skip


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"the packed file is damaged: {str(error).splitlines()[0] if str(error) else 'cut off'}",
        where=str(path), hint=f"fetch {path.name} again",
    )  # fmt: skip


def refuse_utf16(start: bytes, path: Path) -> None:
    """DataError for a file that starts like UTF-16, with the command that converts it."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the file is in UTF-16", where=f"{path}:1", hint=iconv(path, "UTF-16"))


def iconv(path: Path, encoding: str = "LATIN1") -> str:
    """The command that converts a text file to UTF-8."""
    target = path.with_suffix(".utf8" + path.suffix)
    return f"iconv -f {encoding} -t UTF-8 {quoted(path)} > {quoted(target)}"
