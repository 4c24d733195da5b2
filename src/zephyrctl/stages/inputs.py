"""What decides a stage's result?

A flat dictionary of configuration keys and digests. Two starts with equal inputs are the same
work: a finished stage is then skipped, an unfinished one goes on. Left out is what only decides
how the work is done or shown: number of processes, micro-batch, logging, where the run lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zephyrctl.config.paths import expand_home
from zephyrctl.config.schema import Recipe
from zephyrctl.data.decontamination.lists import files_of
from zephyrctl.errors import UsageError
from zephyrctl.models.resolve import locate
from zephyrctl.runs.changes import Value, between
from zephyrctl.runs.digests import digest_json, digest_path
from zephyrctl.runs.references import ModelRef, resolve_model
from zephyrctl.runs.store import Run, StageName

FORMATS: Mapping[StageName, int] = {"data": 1, "sft": 2, "dpo": 2, "eval": 1}
"""Raised by one when a stage's code changes so that the same inputs give another result."""

_HOW_TO_TRAIN = {
    "micro_batch_size", "micro_batch_tokens", "padding_free", "prefix_sharing", "compile",
    "gradient_checkpointing", "log_every", "eval_every", "save_every",
    "keep_checkpoints", "sample_every", "sample_prompts", "expected", "canaries",
}  # fmt: skip
BASE_DIGEST = "model.base digest"
_HOW_TO_JUDGE = {
    "concurrency", "timeout_s", "deadline_s", "api_key_file", "prompt_price", "completion_price",
}  # fmt: skip
_QUESTIONS = {"rules", "mt_bench", "alpaca_eval", "own"}


def inputs(
    stage: StageName, recipe: Recipe, run: Run, *, locate_base: bool = True
) -> dict[str, Value]:
    """What decides the result of `stage`; an artifact that does not exist yet is null.

    Without `locate_base` the base model counts by its name only, and nothing is fetched.
    """
    own = {"data": _data, "sft": _sft, "dpo": _dpo, "eval": _eval}[stage](recipe, run)
    values = {"format": FORMATS[stage], "seed": recipe.seed, **own}
    if locate_base and _needs_base(stage, recipe):
        values[BASE_DIGEST] = _base_digest(recipe)
    return values


def _needs_base(stage: StageName, recipe: Recipe) -> bool:
    named = {"dpo": [recipe.dpo.init_from], "eval": recipe.eval.models}.get(stage, ["base"])
    return "base" in named


def _base_digest(recipe: Recipe) -> str:
    return locate(recipe.model.base, revision=recipe.model.revision, say=lambda text: None).digest


def flatten(prefix: str, value: Any) -> dict[str, Value]:
    """Nested lists and mappings as dotted keys: `{"a": {"b": [1]}}` → `{"a.b[0]": 1}`."""
    if isinstance(value, Mapping):
        parts = [flatten(f"{prefix}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        parts = [flatten(f"{prefix}[{place}]", item) for place, item in enumerate(value)]
    else:
        return {prefix: value}
    return {key: item for part in parts for key, item in part.items()}


def changed(before: Mapping[str, Value], now: Mapping[str, Value]) -> list[str]:
    """Each difference in words: `sft.learning_rate 2e-05 → 1e-05`."""
    return [change.in_words() for change in between(before, now)]


def _data(recipe: Recipe, run: Run) -> dict[str, Value]:
    settings = recipe.data.model_dump(mode="json", exclude={"processes", "cache_gb"})
    values: dict[str, Value] = {**_base(recipe, run), **_template(recipe)}
    for part in ("sft", "dpo"):
        for split in ("train", "test"):
            sources = settings[part].pop(split)
            for place, source in enumerate(sources):
                values |= _source(f"data.{part}.{split}[{place}]", source)
    against = settings["decontaminate"].pop("against")
    values |= flatten("data", settings)
    for place, name in enumerate(against):
        values[f"data.decontaminate.against[{place}]"] = _questions(name, recipe)
    if recipe.data.dpo.binarize.truthful_qa:
        content = _questions(recipe.data.dpo.binarize.truthful_qa, recipe)
        values["data.dpo.binarize.truthful_qa"] = content
    return values | {
        "sft.max_length": recipe.sft.max_length,
        "sft.packing": recipe.sft.packing,
        "sft.loss_on": recipe.sft.loss_on,
        "dpo.max_length": recipe.dpo.max_length,
        "dpo.max_prompt_length": recipe.dpo.max_prompt_length,
    }


def _sft(recipe: Recipe, run: Run) -> dict[str, Value]:
    return {
        **_base(recipe, run),
        **_template(recipe),
        **_loading(recipe),
        **flatten("sft", recipe.sft.model_dump(mode="json", exclude=_HOW_TO_TRAIN)),
        "data": prepared_digest(run, "sft"),
    }


def _dpo(recipe: Recipe, run: Run) -> dict[str, Value]:
    own = {"simpo": "simpo_gamma_ratio", "rdpo": "rdpo_alpha"}
    unused = {setting for loss, setting in own.items() if loss not in recipe.dpo.losses}
    return {
        **_template(recipe),
        **_loading(recipe),
        **flatten("dpo", recipe.dpo.model_dump(mode="json", exclude=_HOW_TO_TRAIN | unused)),
        "init_model": _model(recipe.dpo.init_from, recipe, run),
        "data": prepared_digest(run, "dpo"),
    }


def _eval(recipe: Recipe, run: Run) -> dict[str, Value]:
    settings = recipe.eval.model_dump(
        mode="json", exclude={"batch_size", "models", "data_dir", "max_cost", *_QUESTIONS}
    )
    settings["judge"] = {
        key: value for key, value in settings["judge"].items() if key not in _HOW_TO_JUDGE
    }
    values: dict[str, Value] = {**_template(recipe), **_loading(recipe)}
    values |= flatten("eval", settings) | _judge(recipe)
    for name in recipe.eval.models:
        values[f"model {name}"] = _model(name, recipe, run)
    if "rules" in recipe.eval.benchmarks:
        rules = recipe.eval.rules.model_dump(mode="json", exclude={"questions"})
        values |= flatten("eval.rules", rules)
        values["eval.rules.questions"] = _questions("rules", recipe)
    if "own" in recipe.eval.benchmarks:
        own = recipe.eval.own.model_dump(mode="json", exclude={"questions", "rubric"})
        values |= flatten("eval.own", own)
        for key in ("questions", "rubric"):
            values[f"eval.own.{key}"] = _folder(getattr(recipe.eval.own, key))
    for name, section in (("mt-bench", "mt_bench"), ("alpaca-eval", "alpaca_eval")):
        if name in recipe.eval.benchmarks:
            chosen = getattr(recipe.eval, section).model_dump(mode="json")
            values |= flatten(f"eval.{section}", chosen)
            values["eval.data_dir"] = _folder(recipe.eval.data_dir)
    return values


def _judge(recipe: Recipe) -> dict[str, Value]:
    """What the judge's spec names on this machine: recorded judgments or weights by content."""
    kind, _, target = (recipe.eval.judge.spec or "").partition(":")
    if kind == "replay":
        return {"eval.judge.spec content": _content(expand_home(target))}
    return {"eval.judge.spec content": _model(target, recipe, None)} if kind == "local" else {}


def prepared_digest(run: Run, part: str) -> str | None:
    """Digest of the prepared data of `sft` or `dpo`; null before the data stage is finished."""
    manifest = run.stage("data").read_manifest()
    if manifest is None or manifest.state != "finished":
        return None
    made = {
        path: digest
        for path, digest in manifest.outputs.items()
        if path == part or path.startswith(f"{part}/")
    }
    return digest_json(made) if made else None


def _base(recipe: Recipe, run: Run) -> dict[str, Value]:
    return {"model.base": _model("base", recipe, run)}


def _template(recipe: Recipe) -> dict[str, Value]:
    template = recipe.model.chat_template
    path = Path(template).expanduser()
    content = digest_path(path) if template.endswith(".jinja") and path.is_file() else template
    return {"model.chat_template": content}


def _loading(recipe: Recipe) -> dict[str, Value]:
    chosen = {"dtype", "attention", "load_in_4bit"}
    return flatten("model", recipe.model.model_dump(mode="json", include=chosen))


def _source(prefix: str, source: Mapping[str, Any]) -> dict[str, Value]:
    """A source by its rows: a file's content counts and its place does not."""
    settings = dict(source)
    content = _content(Path(settings["path"]).expanduser())
    if content is not None:
        for key in ("path", "revision", "split"):
            settings.pop(key)
        settings["content"] = content
    return flatten(prefix, settings)


def _questions(name: str, recipe: Recipe) -> Value:
    """An item of `decontaminate.against` by the content of its files; null where it is absent."""
    files = files_of(name, recipe)
    return digest_json([digest_path(file) for file in files]) if files else None


def _folder(path: str | None) -> Value:
    return path and (_content(Path(path).expanduser()) or path)


def _content(path: Path) -> str | None:
    """Digest of a file or folder, or None where `path` names nothing on this machine."""
    return digest_path(path) if path.exists() else None


def _model(name: str, recipe: Recipe, run: Run | None) -> str | None:
    """Digest of a model, or what names it where it is elsewhere; null where it is not there yet."""
    try:
        found = resolve_model(
            name, output_root=Path(recipe.output_root).expanduser(), run=run, recipe=recipe
        )
    except UsageError:
        return None
    if found.run is not None and found.stage in ("sft", "dpo"):
        manifest = found.run.stage(found.stage).read_manifest()
        return manifest.outputs.get("model") if manifest else None
    return _identity(found)


def _identity(model: ModelRef) -> str:
    if model.kind == "folder":
        return digest_path(Path(model.target))
    return f"{model.target}@{model.revision}" if model.revision else model.target
