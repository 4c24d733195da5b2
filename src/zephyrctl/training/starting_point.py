"""From which weights does a stage start?"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zephyrctl.config.schema import Recipe
from zephyrctl.data import template_lock
from zephyrctl.errors import DataError, UsageError
from zephyrctl.generation.adapters import refuse_pickled
from zephyrctl.models.cache import folder_digest
from zephyrctl.models.resolve import Located, locate, on_disk
from zephyrctl.runs.digests import digest_path
from zephyrctl.runs.metrics import rank_of_process
from zephyrctl.runs.references import resolve_model
from zephyrctl.runs.store import Run, StageDir

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Start:
    """A model folder on this disk; for an adapter also the model below it."""

    label: str
    """What the recipe or the adapter calls the model that is at the bottom."""
    base: Path
    """Folder with weights."""
    digest: str
    """Digest of everything that decides the starting weights."""
    adapter: Path | None = None
    """Folder of an adapter on `base` that belongs to the starting point."""

    @property
    def tokenizer(self) -> Path:
        """Where the tokenizer is: a trained adapter folder holds its own."""
        if self.adapter is not None and (self.adapter / "tokenizer_config.json").is_file():
            return self.adapter
        return self.base


def find(
    recipe: Recipe, run: Run, *, stage: Literal["sft", "dpo"], say: Callable[[str], None]
) -> Start:
    """The starting point of a stage: the base model, or `dpo.init_from`."""
    wanted = "base" if stage == "sft" else recipe.dpo.init_from
    place = "model.base" if stage == "sft" else "dpo.init_from"
    if stage == "dpo" and wanted in ("dpo", "@dpo"):
        raise _of_itself(place, wanted)
    ref = resolve_model(
        wanted, output_root=Path(recipe.output_root).expanduser(), run=run, recipe=recipe
    )
    if ref.run is not None and ref.stage == stage and _same(ref.run, run):
        raise _of_itself(place, wanted if stage == "dpo" else recipe.model.base)
    if ref.kind == "endpoint":
        raise UsageError(
            f"'{wanted}' is an endpoint and cannot be trained",
            where=place,
            hint="--set dpo.init_from=@sft",
        )
    if ref.kind in ("base", "hub"):
        return _of_located(locate(ref.target, revision=ref.revision, say=say))
    folder = Path(ref.target)
    if ref.run is not None and ref.stage in ("sft", "dpo"):
        _require_as_made(ref.run.stage(ref.stage), folder)
    if (folder / ADAPTER_CONFIG).is_file():
        start = _of_adapter(folder, say=say)
        if stage == "dpo" and not (ref.run is not None and _same(ref.run, run)):
            _require_own_base(start, recipe)
        return start
    return _of_located(locate(str(folder.absolute()), say=say))


def _require_as_made(stage: StageDir, folder: Path) -> None:
    """DataError where a stage's model is no longer the one that the stage has recorded.

    The first process looks for all: its error ends them.
    """
    if rank_of_process() != 0:
        return
    manifest = stage.read_manifest()
    made = manifest.outputs.get(folder.name) if manifest is not None else None
    if made is not None and digest_path(folder) != made:
        raise DataError(
            f"the model of the {stage.name} stage is no longer the one that it made",
            where=str(folder),
            hint=f"zephyrctl {stage.name} --force makes it again; a copy elsewhere can be named as "
            "dpo.init_from",
        )


def _require_own_base(start: Start, recipe: Recipe) -> None:
    """UsageError where a foreign adapter chose another base model than the configuration."""
    base = recipe.model.base
    if base == start.label:
        return
    there = on_disk(base, revision=recipe.model.revision)
    if there is not None and (
        there.resolve() == start.base.resolve() or folder_digest(there) == folder_digest(start.base)
    ):
        return
    raise UsageError(
        f"the adapter stands on {start.label}, and model.base is {base}",
        where=str(start.adapter),
        hint=f"--set model.base={start.label}   where that is meant",
    )


def _same(one: Run, other: Run) -> bool:
    return one.root.expanduser().resolve() == other.root.expanduser().resolve()


def _of_itself(place: str, value: str) -> UsageError:
    return UsageError(
        f"{place} names the model that this stage is about to make",
        where=f"{place}: {value}",
        hint=f"--set {place}={'@sft' if place == 'dpo.init_from' else 'FOLDER'}",
    )


def _of_located(located: Located) -> Start:
    return Start(located.name, located.path, located.digest)


def _of_adapter(folder: Path, *, say: Callable[[str], None]) -> Start:
    """An adapter folder with the base model that its configuration names."""
    refuse_pickled(folder)
    path = folder / ADAPTER_CONFIG
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        base, revision = settings["base_model_name_or_path"], settings.get("revision")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "the adapter does not say which model it belongs to",
            where=str(path),
            hint="write base_model_name_or_path into it, the model it was trained on",
        ) from error
    below = _of_located(locate(base, revision=revision, say=say))
    if (below.base / ADAPTER_CONFIG).is_file():
        raise DataError(
            f"the adapter stands on another adapter ({base})",
            where=str(path),
            hint=f"zephyrctl export merged {base}   and name the merged model there",
        )
    lock = template_lock.read(folder)
    if lock is not None and not lock.base_digest.startswith(below.digest):
        raise DataError(
            f"the adapter was trained on other weights than {base} holds now",
            where=str(folder),
            hint=f"train the adapter again, or put the weights of digest {lock.base_digest[:12]} "
            "back",
        )
    return Start(below.label, below.base, f"{below.digest}+{folder_digest(folder)}", folder)
