"""What does the Hub read in a card, to list a model and to show its scores? (the YAML on top)

Nothing is guessed: a licence that is not known is `unknown`, a language only stands where the data
were filtered by it, and `model-index` holds scores of these very weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

from zephyrctl.catalogue import BASE_MODELS
from zephyrctl.config.paths import is_local
from zephyrctl.config.schema import Recipe
from zephyrctl.data.template_lock import TemplateLock
from zephyrctl.models.named import SMOLLM2_HUB_ID
from zephyrctl.publishing.card_text import public
from zephyrctl.publishing.licences import Licence, licence_of
from zephyrctl.runs.references import HUB_ID, ModelRef
from zephyrctl.runs.score_files import ScoreFile

Form = Literal["merged", "adapter", "gguf"]

_ON_THE_HUB = {"smollm2-135m-instruct": SMOLLM2_HUB_ID}
_LIBRARIES: Mapping[Form, str] = {"merged": "transformers", "adapter": "peft", "gguf": "gguf"}
_NAMES = {"mt-bench": "MT-Bench", "alpaca-eval": "AlpacaEval"}
_PROTOCOL = ("references", "scoring", "repeats", "coverage")


def base_of(ref: ModelRef, recipe: Recipe | None, lock: TemplateLock | None) -> str | None:
    """The base model's name in the configuration, a Hub id or a path; None where not known."""
    if recipe is not None:
        return recipe.model.base
    if lock is not None:
        return lock.base
    return ref.target if ref.kind in ("base", "hub") else None


def on_the_hub(base: str | None) -> str | None:
    """The Hub id of a base model; None for a local one, or one that is built here."""
    if base in _ON_THE_HUB:
        return _ON_THE_HUB[base]
    if base is None or base in BASE_MODELS or is_local(base) or not HUB_ID.fullmatch(base):
        return None
    return base if "/" in base else None


def licence(base: str | None, recipe: Recipe | None = None) -> Licence:
    """The licence of a base model, and whose word that is."""
    revision = recipe.model.revision if recipe is not None else None
    return licence_of(base, on_the_hub(base), revision=revision)


def metadata(
    *,
    title: str,
    base: str | None,
    stage: str | None,
    form: Form,
    recipe: Recipe | None,
    scores: Sequence[ScoreFile],
) -> str:
    """The YAML block; `scores` are those of these weights, `title` is their name in it."""
    trained = stage in ("sft", "dpo")
    stated = licence(base, recipe)
    fields: dict[str, Any] = {
        "license": stated.name,
        **stated.more,
        "library_name": _LIBRARIES[form],
        "pipeline_tag": "text-generation",
        "tags": _tags(stage, form),
    }
    if languages := _languages(recipe, stage):
        fields["language"] = languages
    if hub_id := on_the_hub(base):
        fields["base_model"] = hub_id
        if trained:
            fields["base_model_relation"] = "adapter" if form == "adapter" else "finetune"
    sources = _hub_datasets(recipe, stage)
    if sources:
        fields["datasets"] = list(sources)
    if pinned := {path: revision for path, revision in sources.items() if revision}:
        fields["dataset_revisions"] = pinned
    if form != "gguf" and (results := _results(scores)):  # rounded weights were not scored
        fields["model-index"] = [{"name": title, "results": results}]
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n"


def _tags(stage: str | None, form: Form) -> list[str]:
    stages = {"sft": ["sft", "trl"], "dpo": ["sft", "dpo", "alignment", "trl"]}
    return ["zephyrctl", *stages.get(stage or "", []), *(["lora"] if form == "adapter" else [])]


def _languages(recipe: Recipe | None, stage: str | None) -> list[str]:
    """Languages that the data of every stage were filtered by; empty where one was not."""
    if recipe is None:
        return []
    filters = [recipe.data.sft.filters]
    if stage == "dpo":
        filters.append(recipe.data.dpo.filters)
    kept = [
        [code for item in part if item.name == "language" for code in getattr(item, "keep", ())]
        for part in filters
    ]
    return sorted({code for part in kept for code in part}) if all(kept) else []


def _hub_datasets(recipe: Recipe | None, stage: str | None) -> dict[str, str | None]:
    """Hub data sets of the stages, each with its revision where one is pinned."""
    if recipe is None:
        return {}
    data = recipe.data
    sources = [*data.sft.train, *(data.dpo.train if stage == "dpo" else [])]
    return {s.path: s.revision for s in sources if "/" in s.path and not is_local(s.path)}


def _results(scores: Sequence[ScoreFile]) -> list[dict[str, Any]]:
    """`model-index` results, one for each benchmark, judge and opponent."""
    found = []
    for file in scores:
        metrics = [_metric(score, file) for score in file.scores if _counts(score, file)]
        if metrics:
            kind = _word(file.benchmark)
            name = _NAMES.get(kind, kind)
            found.append(
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"name": name, "type": kind},
                    "metrics": metrics,
                }
            )
    return found


def _counts(score: Mapping[str, Any], file: ScoreFile) -> bool:
    value = score["value"]
    mine = score.get("model", file.model) == file.model
    return mine and isinstance(value, int | float) and math.isfinite(value)


def _metric(score: Mapping[str, Any], file: ScoreFile) -> dict[str, Any]:
    judge = _word(file.judge) if file.judge is not None else "none (checked by code)"
    against = f", against {_word(file.opponent)}" if file.opponent is not None else ""
    protocol = {key: value for key, value in file.facts if key in _PROTOCOL}
    interval = {key: score[key] for key in ("low", "high", "n") if score.get(key) is not None}
    return {
        "type": _word(score["metric"]),
        "name": f"{_word(score['metric'])}, judge: {judge}{against}",
        "value": score["value"],
        "args": {"judge": judge, "interval": "95 %", **interval, **protocol},
    }


def _word(value: object) -> str:
    """A foreign word on one line and without markup: pages show these fields as they are."""
    return re.sub(r"[<>`\[\]]", "", " ".join(public(value).split()))
