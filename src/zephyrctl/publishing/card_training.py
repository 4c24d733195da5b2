"""How was a model trained, and on which data? (two chapters of its card)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zephyrctl.config.layers import config_hash
from zephyrctl.config.paths import is_local
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Training
from zephyrctl.publishing.card_text import plain, public, table
from zephyrctl.runs.store import Run, StageName

_PACKAGES = ("python", "torch", "transformers", "trl", "peft", "datasets")
_PACKAGED = re.compile(r"recipe ([A-Za-z0-9._-]+)$")


def stages_of(stage: str | None) -> tuple[StageName, ...]:
    """The stages that a model went through, the last one being `stage`."""
    return ("sft", "dpo") if stage == "dpo" else ("sft",)


def training(run: Run, recipe: Recipe, stage: str | None) -> Iterator[str]:
    """The settings of each stage, and with what it was run."""
    stages = stages_of(stage)
    yield "## Training\n"
    columns = [_settings(recipe, name) for name in stages]
    labels = dict.fromkeys(label for column in columns for label in column)
    rows = [[label, *(column.get(label, "") for column in columns)] for label in labels]
    yield from table(["Setting", *stages], rows)
    packaged = _PACKAGED.search(str(_record(run.root / "manifest.json").get("source", "")))
    named = f"Recipe `{packaged[1]}`, configuration" if packaged else "Configuration"
    yield f"{named} `{config_hash(recipe)[:16]}`, seed {recipe.seed}.\n"
    for name in stages:
        yield from _conditions(run, name)


def _settings(recipe: Recipe, stage: str) -> dict[str, str]:
    training: Training = recipe.sft if stage == "sft" else recipe.dpo
    adapter = training.adapter
    rows = {
        "learning rate": f"{training.learning_rate:g}, {training.lr_scheduler}",
        "length": f"{training.max_steps} steps"
        if training.max_steps
        else f"{training.epochs:g} epochs",
        "examples per step": str(training.global_batch_size),
        "max_length": str(training.max_length),
        "weights": (
            f"{adapter.type} r={adapter.r} alpha={adapter.alpha}"
            if adapter.type != "none"
            else f"last {training.trainable_layers} layers"
            if training.trainable_layers != "all"
            else "all"
        ),
    }
    if stage == "dpo":
        loss = recipe.dpo.loss
        rows["beta"] = f"{recipe.dpo.beta:g}"
        rows["loss"] = loss if isinstance(loss, str) else " + ".join(loss)
        if not recipe.dpo.has_reference:
            rows["gamma / beta"] = f"{recipe.dpo.simpo_gamma_ratio:g}"
        if "rdpo" in recipe.dpo.losses:
            rows["length penalty"] = f"{recipe.dpo.rdpo_alpha:g} per token"
    return rows


def _conditions(run: Run, name: StageName) -> Iterator[str]:
    """Steps, program and packages of a stage by its manifest, and what was changed on the way."""
    manifest = run.stage(name).read_manifest()
    if manifest is None:
        return
    steps = manifest.metrics.get("steps")
    packages = [f"{key} {manifest.versions[key]}" for key in _PACKAGES if key in manifest.versions]
    program = f"zephyrctl {manifest.code.get('zephyrctl', '')}".rstrip()
    said = ", ".join([program, *packages])
    yield f"- {name}: {f'{steps} steps, ' if steps else ''}{plain(said)}"
    for change in manifest.allowed_changes:
        yield (
            f"- {name}: {plain(change.field)} was changed from {plain(public(change.before))} to "
            f"{plain(public(change.after))} at step {change.step}"
        )
    if name == "dpo" or not run.stage("dpo").is_finished():
        yield ""


def data(run: Run, recipe: Recipe, stage: str | None) -> Iterator[str]:
    """Sources, filters, counts and decontamination; nothing where the run has no account."""
    account = _record(run.stage("data").path / "account.json")
    stages = [name for name in stages_of(stage) if account.get(name)]
    if not stages:
        return
    yield "## Data\n"
    head = ["Stage", "Source", "Revision", "Split", "Rows"]
    yield from table(head, [row for name in stages for row in _sources(account, recipe, name)])
    yield from table(
        ["Stage", "Rows read", "Removed", "Kept"], [_counts(account[name], name) for name in stages]
    )
    for name in stages:
        yield from _filters(account[name], recipe, name)
    yield ""
    yield from _decontamination(account.get("decontamination") or [])


def _sources(account: Mapping[str, Any], recipe: Recipe, name: str) -> Iterator[list[str]]:
    part = recipe.data.sft if name == "sft" else recipe.data.dpo
    pinned = {source.path: source.revision for source in [*part.train, *part.test]}
    for source in account[name].get("sources", ()):
        path, revision = source["path"], pinned.get(source["path"])
        if is_local(path):
            shown, fixed = "a local file", f"SHA-256 `{str(source['digest'])[:16]}`"
        else:
            shown, fixed = plain(path), f"`{plain(revision)}`" if revision else "not pinned"
        yield [name, shown, fixed, plain(source["split"]), str(source["rows"])]


def _counts(part: Mapping[str, Any], name: str) -> list[object]:
    kept = ", ".join(f"{rows} {split}" for split, rows in part["rows_out"].items())
    return [name, part["rows_in"], sum(part["removed"].values()), plain(kept)]


def _filters(part: Mapping[str, Any], recipe: Recipe, name: str) -> Iterator[str]:
    settings = recipe.data.sft if name == "sft" else recipe.data.dpo
    used = [f"`{item.name}`" for item in settings.filters]
    yield f"- {name}, filters: {', '.join(used) or 'none'}"
    if part["removed"]:
        reasons = ", ".join(f"{rows} {public(why)}" for why, rows in part["removed"].items())
        yield f"- {name}, removed: {plain(reasons)}"


def _decontamination(lists: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Against which judged prompts the data were checked."""
    if not lists:
        yield "The data were not checked for the prompts that the model was judged on.\n"
        return
    for item in lists:
        name = plain(public(item["name"]))
        if item.get("status") == "checked":
            yield f"- checked for the {item['prompts']} prompts of {name}"
        else:
            yield f"- {name}: {plain(item.get('status'))}"
    yield ""


def _record(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
