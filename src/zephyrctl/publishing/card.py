"""What does a reader of a published model have to know? (`README.md` with the Hub's metadata)

Every figure comes from the run's own files. Paths of this machine stay out of it: a base model or
data set that is no Hub id is called a local one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zephyrctl.catalogue import BASE_MODELS
from zephyrctl.config.paths import is_local
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Training
from zephyrctl.data.template_lock import TemplateLock
from zephyrctl.models.named import SMOLLM2_HUB_ID
from zephyrctl.runs.references import HUB_ID, ModelRef
from zephyrctl.runs.score_files import ScoreFile, read_score_files
from zephyrctl.runs.store import Run
from zephyrctl.runs.summary import summarize

CARD = "README.md"
_HUB_IDS = {"smollm2-135m-instruct": (SMOLLM2_HUB_ID, "apache-2.0")}
"""Named base models that are on the Hub, with their licences."""
_LOCAL = "a local model"


@dataclass(frozen=True)
class Facts:
    """What exporting found out. `difference` is in nats per token."""

    dtype: str
    parameters: int
    adapters: int
    tokens: int
    checked_on: str
    difference: float


def model_card(ref: ModelRef, facts: Facts, *, lock: TemplateLock | None, template: str) -> str:
    """The card of an exported model; without a run it says that the training is not known."""
    run = ref.run
    recipe = run.recipe() if run is not None else None
    title = f"{run.name} {ref.stage}" if run is not None else ref.name
    base = recipe.model.base if recipe is not None else lock.base if lock is not None else None
    if base is None and ref.kind in ("base", "hub"):
        base = ref.target
    parts = [
        _metadata(recipe, base, stage=ref.stage or (lock.stage if lock else None)),
        f"# {_plain(title)}\n",
        *_origin(base, ref, facts),
        *(_training(run, recipe, ref.stage) if run and recipe else _UNKNOWN),
        *(_scores(run) if run else []),
        *_template(lock, template),
        *_LIMITS,
    ]
    return "\n".join(parts).rstrip() + "\n"


_UNKNOWN = [
    "## Training\n",
    "The run that trained this model was not at hand when the card was written.\n",
]
_LIMITS = [
    "## Limits\n",
    "The model can be wrong, biased or unsafe, and states false things with confidence;",
    "nothing here made it safe. Scores hold for the listed benchmarks and judges only; an LLM",
    "judge prefers long answers and its own style. The licences of the base model and of the",
    "training data apply; where this card says `unknown`, they were not looked up.\n",
]


def _metadata(recipe: Recipe | None, base: str | None, *, stage: str | None) -> str:
    hub_id, licence = _known(base)
    fields: dict[str, Any] = {
        "license": licence,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["zephyrctl", *([stage, "trl"] if stage in ("sft", "dpo") else [])],
    }
    if hub_id is not None:
        fields["base_model"] = hub_id
    if datasets := _hub_datasets(recipe, stage):
        fields["datasets"] = datasets
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n"


def _known(base: str | None) -> tuple[str | None, str]:
    """Hub id and licence of a base model, as far as they are known."""
    if base in _HUB_IDS:
        return _HUB_IDS[base]
    if base is None or base in BASE_MODELS or is_local(base) or not HUB_ID.fullmatch(base):
        return None, "unknown"
    return (base if "/" in base else None), "unknown"


def _hub_datasets(recipe: Recipe | None, stage: str | None) -> list[str]:
    if recipe is None:
        return []
    data = recipe.data
    sources = [*data.sft.train, *(data.dpo.train if stage == "dpo" else [])]
    return list(dict.fromkeys(s.path for s in sources if "/" in s.path and not is_local(s.path)))


def _origin(base: str | None, ref: ModelRef, facts: Facts) -> Iterator[str]:
    hub_id, _ = _known(base)
    name = hub_id or (base if base is not None and base in BASE_MODELS else None)
    what = f"`{name}`" if name is not None else _LOCAL
    trained = {"sft": "supervised fine-tuning", "dpo": "supervised fine-tuning, then DPO"}
    how = trained.get(ref.stage or "")
    yield f"Made from {what} by {how}, with zephyrctl.\n" if how else f"Made from {what}.\n"
    adapters = f"{facts.adapters} adapter{'s' if facts.adapters != 1 else ''} merged in float32, "
    yield (
        f"{facts.parameters:,} parameters in {facts.dtype}; "
        f"{adapters if facts.adapters else ''}checked after loading: a token's log-probability "
        f"differs from the unmerged model's by {facts.difference:.2g} nats on average "
        f"({facts.tokens} tokens of {facts.checked_on}).\n"
    )


def _training(run: Run, recipe: Recipe, stage: str | None) -> Iterator[str]:
    stages = ("sft", "dpo") if stage == "dpo" else ("sft",)
    yield "## Recipe\n"
    yield "| Setting | " + " | ".join(stages) + " |"
    yield "|---|" + "---|" * len(stages)
    columns = [_settings(recipe, name) for name in stages]
    for label in dict.fromkeys(label for column in columns for label in column):
        yield f"| {label} | " + " | ".join(column.get(label, "") for column in columns) + " |"
    yield f"\nSeed {recipe.seed}.\n"
    yield from _data(run, stages)


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


def _data(run: Run, stages: Sequence[str]) -> Iterator[str]:
    """Totals of the data account; nothing where the run has none."""
    try:
        text = (run.stage("data").path / "account.json").read_text(encoding="utf-8")
        account = json.loads(text)
    except (OSError, ValueError):
        return
    yield "## Data\n"
    yield "| Stage | Rows read | Removed | Kept |"
    yield "|---|---|---|---|"
    for name in stages:
        part = account.get(name)
        if part:
            removed = sum(part["removed"].values())
            kept = ", ".join(f"{rows} {split}" for split, rows in part["rows_out"].items())
            yield f"| {name} | {part['rows_in']} | {removed} | {_plain(kept)} |"
    yield ""


def _scores(run: Run) -> Iterator[str]:
    """Every score and comparison of the run, each with its interval and its judge."""
    summary = summarize(run)
    if not summary["scores"]:
        yield "## Evaluation\n"
        yield "Not evaluated.\n"
        return
    yield "## Evaluation\n"
    yield "Intervals are 95 %. Rates are 0 to 1, AlpacaEval's win rates in percent.\n"
    yield "| Benchmark | Model | Metric | Value | Interval | n | Judge |"
    yield "|---|---|---|---|---|---|---|"
    for score in summary["scores"]:
        judge = score["judge"] if score["judge"] is not None else "none (checked by code)"
        cells = [score["benchmark"], score["model"], score["metric"], _number(score["value"]),
                 _interval(score), score["n"], judge]  # fmt: skip
        yield "| " + " | ".join(_plain(cell) for cell in cells) + " |"
    yield ""
    for entry in summary["comparisons"]:
        yield (
            f"- {_plain(entry['benchmark'])}: {_plain(entry['b'])} − {_plain(entry['a'])} = "
            f"{_number(entry['difference'])} ({_interval(entry)})"
        )
    yield ""
    files = read_score_files(run)
    yield from _categories([file for file in files if file.categories])
    yield from _facts(files)


def _categories(files: Sequence[ScoreFile]) -> Iterator[str]:
    """The main metric of each category with its interval, a table for each benchmark and judge."""
    groups = list(dict.fromkeys((file.benchmark, file.judge) for file in files))
    for benchmark, judge in groups:
        mine = [file for file in files if (file.benchmark, file.judge) == (benchmark, judge)]
        names = dict.fromkeys(category.name for file in mine for category in file.categories)
        by = f"judge {judge}" if judge is not None else "checked by code"
        yield f"{_plain(benchmark)} by category, {_plain(by)}:\n"
        yield "| Category | " + " | ".join(_plain(_label(file)) for file in mine) + " |"
        yield "|---|" + "---|" * len(mine)
        for name in names:
            found = [{c.name: c for c in file.categories}.get(name) for file in mine]
            cells = ["none" if c is None else f"{c.value:.3f}{_span(c.low, c.high)}" for c in found]
            yield f"| {_plain(name)} | " + " | ".join(cells) + " |"
        yield ""


def _facts(files: Sequence[ScoreFile]) -> Iterator[str]:
    """What the scores must not be read without, and what is known of their judges."""
    for file in files:
        facts = ", ".join(f"{label} {_plain(_number(value))}" for label, value in file.facts)
        yield f"- {_plain(file.benchmark)}, {_plain(_label(file))}: {facts}"
    yield ""
    cards = {file.judge: file.judge_card for file in files if file.judge_card}
    for judge, lines in cards.items():
        yield f"The judge {_plain(judge)} against human votes:\n"
        yield from (f"    {' '.join(line.split())}" for line in lines)
        yield ""


def _span(low: float, high: float) -> str:
    return f" ({low:.3f} to {high:.3f})" if math.isfinite(low) and math.isfinite(high) else ""


def _label(file: ScoreFile) -> str:
    return file.model if file.opponent is None else f"{file.model} against {file.opponent}"


def _template(lock: TemplateLock | None, template: str) -> Iterator[str]:
    yield "## Template\n"
    if lock is not None:
        name = Path(lock.template).name
        yield (
            f"Trained with the chat template `{_plain(name)}` (SHA-256 `{lock.template_sha256}`), "
            "which is in `chat_template.jinja`;"
        )
        yield "`tokenizer.apply_chat_template` applies it. Another format makes answers worse.\n"
    else:
        own = "the model's own" if template == "tokenizer" else f"`{_plain(Path(template).name)}`"
        yield f"The chat template is {own}, in `chat_template.jinja`.\n"


def _interval(entry: Mapping[str, Any]) -> str:
    if entry["low"] is None or entry["high"] is None:
        return "none"
    return f"{_number(entry['low'])} to {_number(entry['high'])}"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "none" if value is None else str(value)


def _plain(value: object) -> str:
    """A foreign word as text of one Markdown cell."""
    line = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in line)
