"""How long may a stage take to save when it is asked to stop?"""

from __future__ import annotations

from pathlib import Path

from zephyrctl.config.paths import is_local
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.model import Model
from zephyrctl.models import hub
from zephyrctl.planning import architecture, choose, memory
from zephyrctl.runs.store import StageName

BYTES_PER_WEIGHT = 12
"""Of a trained weight in a checkpoint: it and AdamW's two moments, in float32."""


def saved_bytes(recipe: Recipe, stage: StageName) -> float:
    """Size of one checkpoint of a stage; 0 for stages without, and where the model's sizes are not
    known here."""
    if stage not in ("sft", "dpo"):
        return 0.0
    model = architecture.find(recipe.model.base, folder=_folder(recipe.model))
    if model is None:
        return 0.0
    work = choose.work_of(recipe.sft if stage == "sft" else recipe.dpo, model, "none")
    return float(BYTES_PER_WEIGHT * memory.trained_parameters(model, work))


def _folder(model: Model) -> Path | None:
    """Where the base model is on this machine, as far as that can be told without loading it."""
    if is_local(model.base, suffixes=()):
        return Path(model.base).expanduser()
    found = (
        hub.cached(model.base, revision=model.revision)
        if hub.HUB_ID.fullmatch(model.base)
        else None
    )
    return found.path if found else None
