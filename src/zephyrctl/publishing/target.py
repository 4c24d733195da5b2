"""May this model be exported into this folder, without losing anything that is there?"""

from __future__ import annotations

import os
from pathlib import Path

from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.generation.adapters import Chain
from zephyrctl.publishing import files
from zephyrctl.runs.references import ModelRef


def refuse_endpoint(ref: ModelRef) -> None:
    """UsageError for a model that is only behind a service."""
    if ref.kind == "endpoint":
        raise UsageError(f"'{ref.target}' is an endpoint; its weights are not here")


def refuse_to_replace(out: Path, *, force: bool, sign: str | None = None) -> None:
    """Refuse a file, and a folder with something in it that is not surely an older model.

    `sign` is a file that only an older export of this kind holds; None stands for a folder of
    nothing but a transformers model.
    """
    _refuse_no_folder(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    where = str(out)
    if not out.is_dir():
        raise UsageError("there is a file of this name", where=where, hint="--out ANOTHER_FOLDER")
    if not force:
        record = files.read_record(out)
        form = record and (record.facts.get("file") or record.facts.get("dtype"))
        raise UsageError(
            f"an export stands there already ({form})" if form else "the folder is not empty",
            where=where,
            hint="--force replaces an older model there",
        )
    if not (_has_sign(out, sign) if sign is not None else files.holds_only_a_model(out)):
        raise UsageError(
            "the folder holds something else than a model, and --force would delete it",
            where=where,
            hint="--out ANOTHER_FOLDER",
        )


def _refuse_no_folder(out: Path) -> None:
    """Refuse a folder that cannot be made or renamed where it is asked for."""
    above = next(path for path in out.absolute().parents if path.exists() or path.is_symlink())
    if not above.is_dir():
        raise UsageError("this is a file, and no folder can be in it", where=str(above),
                         hint="--out ANOTHER_FOLDER")  # fmt: skip
    if not os.access(above, os.W_OK | os.X_OK):
        raise EnvironmentProblem(
            "the folder may not be written to", where=str(above), hint="--out ANOTHER_FOLDER"
        )


def _has_sign(folder: Path, sign: str) -> bool:
    return (folder / sign).is_file() and not any(path.is_dir() for path in folder.iterdir())


def refuse_sources(out: Path, source: str, chain: Chain) -> None:
    """The folder must not be a part of what is exported, nor lie within or around it."""
    target = out.resolve()
    for part in (source, chain.base, *map(str, chain.adapters)):
        folder = Path(part).expanduser().resolve()
        if folder.is_dir() and (
            folder == target or folder in target.parents or target in folder.parents
        ):
            raise UsageError(
                "the model that is exported lies there", where=str(out), hint="--out ANOTHER_FOLDER"
            )
