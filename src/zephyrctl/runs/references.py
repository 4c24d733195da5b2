"""Which model is meant by `base`, `@dpo`, `runs/mine/sft`, a folder, a Hub id or an endpoint?"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from zephyrctl import environment
from zephyrctl.catalogue import BASE_MODELS
from zephyrctl.errors import UsageError, quoted
from zephyrctl.registry import did_you_mean
from zephyrctl.runs.store import Run, StageName, at_work, checked_path, find_run, is_run, list_runs

if TYPE_CHECKING:
    from zephyrctl.config.schema import Recipe

ENDPOINT = re.compile(r"(openai(\+https?://[^\s]+)?|local|replay):.+")
_HOST = r"(?:\[[^\]\s]+\]|[^:/\s]+)(?::\d+)?"
_SERVED = re.compile(rf"openai(?:\+https?://{_HOST}(?:/[^:\s]*)?)?:(.+)")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""How files end that may hold weights as a pickle."""
_TRAINED: tuple[StageName, ...] = ("dpo", "sft")


@dataclass(frozen=True)
class ModelRef:
    """A model, found but not loaded."""

    name: str
    """Short label for tables and folder names: `base`, `sft`, `dpo`, or made from the reference."""
    kind: Literal["base", "stage", "folder", "hub", "endpoint"]
    """`base` and `hub` still have to be located by `models.resolve`."""
    target: str
    """Folder, Hub id, named base model, or endpoint."""
    revision: str | None = None
    run: Run | None = None
    stage: str | None = None
    notice: str = field(default="", compare=False)
    """What is to be said of how it was found; mostly nothing."""


def resolve_model(
    ref: str,
    *,
    output_root: Path,
    run: Run | None = None,
    recipe: Recipe | None = None,
    only_finished: bool = False,
) -> ModelRef:
    """The model that `ref` names; UsageError where it is not there.

    `base`, `sft`, `dpo` belong to `run`, and so do `@sft` and `@dpo` where a run is given;
    elsewhere `@sft` and `@dpo` are the newest finished ones within `output_root`. `@last` is the
    newest run; with `only_finished`, for what only uses a model, the newest that has a model.
    """
    if ref == "base":
        return _base_of(run, recipe)
    if is_endpoint(ref):
        served = _SERVED.fullmatch(ref)  # a model's own name may hold colons
        name = served[1] if served else ref.rpartition(":")[2]
        return ModelRef(safe_name(name), "endpoint", ref)
    if ref in ("sft", "dpo", "@sft", "@dpo"):
        stage: StageName = "sft" if ref.endswith("sft") else "dpo"
        if run is not None:
            return _stage_of(run, stage, label=stage)
        if ref.startswith("@"):
            return _stage_of(find_run(ref, output_root=output_root), stage, label=stage)
        raise UsageError(f"'{ref}' of which run?", hint=f"@{stage}, or RUN/{stage}")
    if ref.startswith("@"):
        return _in_run(ref, output_root=output_root, only_finished=only_finished)
    found = _elsewhere(ref, output_root=output_root)
    if found.kind == "hub" and "/" not in ref and not _was_downloaded(ref):
        raise _no_model(ref, output_root=output_root)  # a slip, where a few old Hub ids are meant
    return found


def is_endpoint(ref: str) -> bool:
    """Whether `ref` names a model behind a service."""
    return ref.startswith("openai") and ENDPOINT.fullmatch(ref) is not None


def best_of(run: Run) -> ModelRef:
    """The last trained model of a run: `dpo`, else `sft`."""
    for stage in _TRAINED:
        if run.stage(stage).is_finished():
            return _stage_of(run, stage, label=stage)
    raise UsageError(
        f"run '{run.name}' has no trained model yet",
        where=str(run.root),
        hint=f"zephyrctl run -c {quoted(run.root / 'config.yaml')}",
    )


def safe_name(ref: str) -> str:
    """A label that can be a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ref).strip("-.")[:80] or "model"


def _base_of(run: Run | None, recipe: Recipe | None) -> ModelRef:
    if recipe is None and run is not None:
        recipe = run.recipe()
    if recipe is None:
        raise UsageError("'base' of which configuration?", hint="-c FILE or --recipe NAME")
    base = recipe.model.base
    found = _elsewhere(base, output_root=Path(recipe.output_root).expanduser())
    revision = recipe.model.revision if found.kind in ("base", "hub") else None
    return ModelRef("base", found.kind, found.target, revision, found.run, found.stage)


def _in_run(ref: str, *, output_root: Path, only_finished: bool) -> ModelRef:
    """`@last`, or `@last/dpo`."""
    head, _, stage = ref.partition("/")
    newest = run = find_run(head, output_root=output_root)
    if head == "@last" and only_finished:
        run = next(filter(_has_model, list_runs(output_root)), newest)
    found = best_of(run) if not stage else _stage_of(run, _known_stage(stage, ref), label=None)
    if run == newest:
        return found
    text = f"{head} is run '{run.name}': the newer run '{newest.name}' has no trained model"
    return replace(found, notice=text)


def _has_model(run: Run) -> bool:
    return any(
        run.stage(stage).is_finished() and run.stage(stage).model.is_dir() for stage in _TRAINED
    )


def _elsewhere(ref: str, *, output_root: Path) -> ModelRef:
    """A named base model, a run or its stage, a folder, or a Hub id, in this order."""
    if ref in BASE_MODELS:
        return ModelRef(safe_name(ref), "base", ref)
    local = ref.startswith(("./", "../", "/", "~")) or ref in (".", "..")
    path = checked_path(ref)
    for folder in (path,) if local else (output_root / ref, path):
        found = _run_or_folder(folder, ref=ref)
        if found is not None:
            return found
    if local or not HUB_ID.fullmatch(ref):
        raise _no_model(ref, output_root=output_root, path=path if local else None)
    return ModelRef(safe_name(ref), "hub", ref)


def _was_downloaded(name: str) -> bool:
    return (environment.hub_cache() / f"models--{name}").is_dir()


def _no_model(ref: str, *, output_root: Path, path: Path | None = None) -> UsageError:
    """Why `ref`, which is `path` where it can only be a folder, names no model."""
    known = [*(run.name for run in list_runs(output_root)), *BASE_MODELS.names()]
    hint = "@last, RUN/dpo, a model's folder, a Hub id, or a name of `zephyrctl models list`"
    if path is None and HUB_ID.fullmatch(ref):
        hint += f"; for the Hub's own '{ref}', without an owner: hf download {ref}"
    return UsageError(
        f"no model '{ref}'{did_you_mean(ref, known)}",
        where=str(path) if path is not None else f"looked in {output_root}",
        hint=hint,
    )


def _run_or_folder(folder: Path, *, ref: str) -> ModelRef | None:
    if is_run(folder):
        return best_of(Run(folder))
    # `<run>/dpo` and `<run>/dpo/model` are the same model.
    stage_folder = folder.parent if folder.name == "model" else folder
    if is_run(stage_folder.parent):
        name = _known_stage(stage_folder.name, ref)
        return _stage_of(Run(stage_folder.parent), name, label=None)
    if any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        return ModelRef(safe_name(folder.resolve().name), "folder", str(folder))
    if folder.is_dir():
        raise no_model(folder)
    return None


def no_model(folder: Path) -> UsageError:
    """Why a folder is no model, by what it holds instead."""
    if gguf := next(folder.glob("*.gguf"), None):
        return UsageError(
            f"the folder holds GGUF weights ({gguf.name}), which are made for inference",
            where=str(folder),
            hint="--set model.base=HUB_ID   (the model that the GGUF file was made from)",
        )
    if pickled := pickled_instead(folder):
        return only_pickles(pickled, where=str(folder))
    found = "it is empty" if not any(folder.iterdir()) else "no config.json with weights"
    return UsageError(
        f"the folder holds no model ({found})",
        where=str(folder),
        hint="name a model's folder, or a run's stage such as runs/NAME/dpo",
    )


def pickled_instead(folder: Path) -> str | None:
    """The name of pickled weights in a folder that holds no safetensors; None elsewhere."""
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return None
    return next((p.name for p in sorted(folder.iterdir()) if p.suffix in PICKLED), None)


def only_pickles(name: str, *, where: str) -> UsageError:
    """Why weights that are stored as a pickle are no model, and how they become one."""
    return UsageError(
        f"the weights are a pickle ({name}), which can hold any program; only safetensors are read",
        where=where,
        hint="take a revision with safetensors; or, where you trust it, convert it yourself: "
        'python -c "from transformers import AutoModelForCausalLM as M; '
        f"M.from_pretrained('{where}').save_pretrained('NEW')\"   and copy the tokenizer's files",
    )


def _known_stage(name: str, ref: str) -> StageName:
    for stage in _TRAINED:
        if name == stage:
            return stage
    raise UsageError(
        f"'{ref}' is no trained model{did_you_mean(name, _TRAINED)}", hint="RUN/sft or RUN/dpo"
    )


def _stage_of(run: Run, stage: StageName, *, label: str | None) -> ModelRef:
    folder = run.stage(stage)
    if not folder.is_finished() or not folder.model.is_dir():
        raise _not_whole(run, stage)
    name = label or f"{safe_name(run.name)}-{stage}"
    return ModelRef(name, "stage", str(folder.model), None, run, stage)


def _not_whole(run: Run, stage: StageName) -> UsageError:
    """Why a stage has no model yet, and how one is had."""
    folder = run.stage(stage)
    manifest = folder.read_manifest()
    state = "running" if manifest is None else manifest.state
    how = "not there" if manifest is None else "gone" if state == "finished" else "not finished"
    text = f"the {stage} model of run '{run.name}' is {how}"
    hint = f"zephyrctl {stage} -c {quoted(run.root / 'config.yaml')}"
    worker = at_work(run) if manifest is not None and state == "running" else None
    if worker is not None and worker.get("pid") != os.getpid():
        text += f": {worker.get('purpose') or 'another command'} is at work on it"
        hint = f"zephyrctl runs watch {quoted(run.root)}"
        whole = next((name for name in _TRAINED if run.stage(name).is_finished()), None)
        hint += f"; meanwhile there is {quoted(run.root / whole)}" if whole else ""
    return UsageError(text, where=str(folder.path), hint=hint)
