"""Which strategy, optimizer, recomputation and tokens at once do these devices have room for?

The ladder goes from what is fastest to what is smallest: float32 AdamW without recomputation, then
selective, then full recomputation; the same with the training state shared out among the devices,
where there are several; then optimizers of bfloat16 weights. Adapters and
4-bit weights change what is trained; they are named as remedies and never chosen. What the recipe
states is kept and only judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from zephyrctl.config import sharing
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Dpo, Sft
from zephyrctl.config.sharing import Strategy
from zephyrctl.planning import activations, calibration, flops, lengths, memory
from zephyrctl.planning.activations import Checkpointing, Forward, Lora, Row
from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.hardware import Device
from zephyrctl.planning.lengths import Costs, Layout
from zephyrctl.planning.memory import Load, Peak
from zephyrctl.sizes import size_words

TrainingStage = Literal["sft", "dpo"]
STAGES: tuple[TrainingStage, ...] = ("sft", "dpo")

USABLE = 0.95
"""Share of a device's memory that a step may plan with; the allocator fragments the rest."""
MOST_TOKENS_ON_GPU = 16384
"""A 7B model's matrix products are at full speed well below; more only takes memory."""
MOST_TOKENS_ON_CPU = 8192
"""A larger pass leaves the caches and gains nothing."""
WORTHWHILE = 2048
"""A rung of the ladder is taken where so many tokens fit: an H100 reads a weight as fast as it
multiplies it with 300 tokens, and gradients and copies of the weights move as well."""
_STEP = 64  # tokens; the limit is a multiple of it

_CHECKPOINTING: tuple[Checkpointing, ...] = ("none", "selective", "full")
_IN_WORDS = {
    "none": "without recomputation",
    "selective": "recomputing all but attention",
    "full": "recomputing every layer",
}


@dataclass(frozen=True)
class Setting:
    """A stage on a device: everything but what is chosen."""

    recipe: Recipe
    stage: TrainingStage
    model: Architecture
    device: Device
    costs: Costs | None
    """What the examples cost, where that is known."""
    calibration: calibration.Entry | None = None

    @property
    def training(self) -> Sft | Dpo:
        """The stage's section of the recipe."""
        return self.recipe.sft if self.stage == "sft" else self.recipe.dpo

    @property
    def narrow(self) -> bool:
        """Whether matrix products are computed in bfloat16."""
        return self.device.bf16 and self.recipe.model.dtype in ("auto", "bfloat16")

    @property
    def layout(self) -> Layout:
        """How the examples stand in a pass."""
        return layout_of(self.recipe, self.stage, self.model)

    @property
    def longest(self) -> int:
        """Tokens of the costliest example, at most."""
        if self.costs is not None:
            return self.costs.longest
        training = self.training
        return training.max_length * (2 if isinstance(training, Dpo) else 1)

    @property
    def step_tokens(self) -> int:
        """Most tokens of a step on one process."""
        if self.costs is not None:
            return self.costs.largest_step
        return share_of(self.training, self.device) * self.longest

    @property
    def room(self) -> float:
        """Bytes that a step may take on each device."""
        return USABLE * self.device.memory


@dataclass(frozen=True)
class Rung:
    """One way to train: how processes share the work, what updates, what is computed again."""

    strategy: Strategy
    optimizer: str
    checkpointing: Checkpointing


@dataclass(frozen=True)
class Choice:
    """What a stage does on a device, and what it needs."""

    strategy: Strategy
    optimizer: str
    checkpointing: Checkpointing
    micro_tokens: int
    """Most tokens of a forward pass."""
    load: Load
    peak: Peak
    fits: bool
    reasons: tuple[str, ...] = ()

    def applied(self, recipe: Recipe, stage: TrainingStage) -> Recipe:
        """The recipe with every `auto` that was decided here made concrete."""
        values = recipe.model_dump()
        section: dict[str, Any] = values[stage]
        if values["launch"]["strategy"] == "auto":
            values["launch"]["strategy"] = self.strategy
        if section["optimizer"] == "auto":
            section["optimizer"] = self.optimizer
        if section["gradient_checkpointing"] == "auto":
            words = {"none": False, "selective": "selective", "full": True}
            section["gradient_checkpointing"] = words[self.checkpointing]
        if section["micro_batch_tokens"] == "auto" and section["micro_batch_size"] == "auto":
            section["micro_batch_tokens"] = self.micro_tokens
        return Recipe.model_validate(values)


def share_of(training: Sft | Dpo, device: Device) -> int:
    """Examples of a step that one process takes."""
    return -(-training.global_batch_size // device.count)


def is_packed(training: Sft | Dpo) -> bool:
    """Whether an example is a whole row of packed dialogues."""
    return isinstance(training, Sft) and training.packing != "none"


def layout_of(recipe: Recipe, stage: TrainingStage, model: Architecture) -> Layout:
    """What training will decide, as far as the architecture tells: Falcon's attention cannot be
    replaced, and a named kernel is not replaced."""
    training = recipe.sft if stage == "sft" else recipe.dpo
    can = recipe.model.attention == "auto" and not model.family.wide_keys
    free = can and training.padding_free is not False
    shared = isinstance(training, Dpo) and training.prefix_sharing is not False
    return Layout(padding_free=free, shared=free and shared)


def choose(setting: Setting, *, flash: bool, keep: str | None = None) -> Choice:
    """The first rung of the ladder with room for enough tokens.

    `flash`: FlashAdamW's package is (or will be) there. `keep`: the optimizer of an earlier attempt
    whose checkpoint goes on; it is not chosen anew.
    """
    rungs = [
        Rung(strategy, optimizer, checkpointing)
        for optimizer in ([keep] if keep else optimizers(setting, flash=flash))
        for strategy in strategies(setting, optimizer)
        for checkpointing in checkpointings(setting.training)
    ]
    tried: list[Choice] = []
    for rung in rungs:
        found = _largest(setting, rung)
        tried.append(found)
        if found.fits and found.micro_tokens >= _wanted(setting):
            break
    fitting = [choice for choice in tried if choice.fits]
    best = max(fitting, key=lambda choice: choice.micro_tokens) if fitting else None
    if best is None:
        best = min(tried, key=lambda choice: choice.peak.total)
    return replace(best, reasons=tuple(_reasons(setting, best, tried)))


def optimizers(setting: Setting, *, flash: bool) -> list[str]:
    """The stated optimizer, or those that may be chosen, the most exact first."""
    wanted = setting.training.optimizer
    if wanted != "auto":
        return [wanted]
    if setting.training.adapter.type != "none" or setting.training.trainable_layers != "all":
        return ["adamw"]
    of_bf16 = [*(["flash_adamw"] if flash else []), "adamw_bf16"]
    usable = setting.narrow and setting.device.on_gpu
    return ["adamw", *(of_bf16 if usable else [])]


def strategies(setting: Setting, optimizer: str) -> list[Strategy]:
    """The stated strategy, or those that may be chosen for this optimizer, the simplest first."""
    stated = setting.recipe.launch.strategy
    if setting.device.count == 1:
        return ["single"]
    if stated != "auto":
        return [stated]
    if optimizer not in sharing.OPTIMIZERS["fsdp2"]:
        return ["ddp"]
    if sharing.problems(setting.recipe, setting.stage, strategy="fsdp2"):
        return ["ddp"]
    return ["ddp", "fsdp2"]


def checkpointings(training: Sft | Dpo) -> list[Checkpointing]:
    """The stated way of recomputation, or all, the least work first."""
    stated = training.gradient_checkpointing
    if stated == "auto":
        return list(_CHECKPOINTING)
    if stated == "selective":
        return ["selective"]
    return ["full" if stated else "none"]


def work_of(training: Sft | Dpo, model: Architecture, checkpointing: Checkpointing) -> flops.Work:
    """What a stage trains, and what it recomputes."""
    recompute: bool | Literal["selective"] = checkpointing == "full"
    if checkpointing == "selective":
        recompute = "selective"
    adapter = training.adapter
    if adapter.type != "none":
        size = model.adapter(
            adapter.r,
            targets=activations.names(adapter.target_modules),
            dora=adapter.type == "dora",
        )
        return flops.Work("adapter", recompute, adapter_parameters=size)
    if training.trainable_layers != "all":
        return flops.Work("last_layers", recompute, last_layers=training.trainable_layers)
    return flops.Work("weights", recompute)


def load_of(setting: Setting, rung: Rung, *, tokens: int) -> Load:
    """What decides the memory of one process with passes of `tokens`."""
    recipe, training = setting.recipe, setting.training
    optimizer, checkpointing = rung.optimizer, rung.checkpointing
    shards = setting.device.count if rung.strategy in sharing.SHARDED else 1
    work = work_of(training, setting.model, checkpointing)
    reference = recipe.dpo.reference if setting.stage == "dpo" else "none"
    asks = setting.stage == "dpo" and recipe.dpo.has_reference
    return Load(
        work=work,
        forward=_forward(setting, optimizer, work, shards=shards),
        checkpointing=checkpointing,
        optimizer=optimizer,
        row=_row(setting, tokens),
        four_bit=recipe.model.load_in_4bit,
        reference_copy=asks and reference == "copy" and work.trained != "adapter",
        reference_passes=asks and reference in ("copy", "adapter"),
        distributed=rung.strategy == "ddp",
        accumulates=tokens < setting.step_tokens,
        overhead=setting.device.overhead,
        shards=shards,
        weight_bytes=_weight_bytes(setting, optimizer, work),
        memory=setting.device.memory,
    )


def _weight_bytes(setting: Setting, optimizer: str, work: flops.Work) -> int:
    """Bytes in which a weight of the base is kept."""
    half = setting.narrow or setting.recipe.model.dtype in ("float16", "bfloat16")
    is_narrow = half if work.trained == "adapter" else optimizer in memory.OF_BF16_WEIGHTS
    return 2 if is_narrow else 4


def _forward(setting: Setting, optimizer: str, work: flops.Work, *, shards: int) -> Forward:
    training, device = setting.training, setting.device
    is_adapter = work.trained == "adapter"
    narrow_weights = _weight_bytes(setting, optimizer, work) == 2
    autocast = device.on_gpu and setting.narrow
    adapter = training.adapter
    lora = None
    if is_adapter:
        targets = activations.names(adapter.target_modules)
        lora = Lora(adapter.r, adapter.dropout, adapter.type == "dora", targets)
        if isinstance(training, Dpo):
            lora = replace(lora, dropout=0.0)  # TRL switches it off for DPO
    return Forward(
        # Shards are gathered in bfloat16, and so is what stands between two products.
        hidden_bytes=2 if narrow_weights or (shards > 1 and autocast) else 4,
        product_bytes=2 if autocast or narrow_weights else 4,
        trained=work.trained,
        autocast=autocast,
        lora=lora,
        attention=_attention(setting),
        on_gpu=device.on_gpu,
        fused=training.compile is True,
    )


def _attention(setting: Setting) -> activations.Attention:
    training = setting.training
    if isinstance(training, Sft) and training.packing == "wrapped":
        return "causal"
    if not setting.layout.padding_free:
        return "masked"
    return "documents" if setting.device.on_gpu else "loop"


def _row(setting: Setting, tokens: int) -> Row:
    """The fullest pass: as many tokens as the limit allows, never less than one example."""
    tokens = max(tokens, setting.longest)
    labelled, gathered = 1.0, 0.0
    costs = setting.costs
    if costs is not None:
        labelled = costs.labelled
        if setting.layout.shared:
            gathered = (costs.alone + costs.prompts) / max(1.0, costs.alone)
    single = setting.longest // (2 if setting.stage == "dpo" else 1)
    return Row(tokens, min(tokens, single), round(labelled * tokens), round(gathered * tokens))


def _wanted(setting: Setting) -> int:
    """Tokens for which a rung is good enough."""
    if setting.training.micro_batch_size != "auto":
        return 0
    return min(_most(setting), max(setting.longest, WORTHWHILE))


def _most(setting: Setting) -> int:
    """Most tokens of a pass that could be of use."""
    stated, number = setting.training.micro_batch_tokens, setting.training.micro_batch_size
    if number != "auto":
        return number * setting.longest
    if stated != "auto":
        return max(stated, setting.longest)
    limit = MOST_TOKENS_ON_GPU if setting.device.on_gpu else MOST_TOKENS_ON_CPU
    return max(setting.longest, min(limit, setting.step_tokens))


def _largest(setting: Setting, rung: Rung) -> Choice:
    """The most tokens that fit on this rung."""
    most = _most(setting)
    stated = setting.training.micro_batch_tokens != "auto"
    is_fixed = stated or setting.training.micro_batch_size != "auto"
    whole = _at(setting, rung, most)
    if whole.fits or is_fixed:
        return whole
    smallest = _at(setting, rung, min(most, setting.longest))
    if not smallest.fits:
        return smallest
    low, high = setting.longest // _STEP, most // _STEP
    while low < high:
        middle = (low + high + 1) // 2
        if _at(setting, rung, middle * _STEP).fits:
            low = middle
        else:
            high = middle - 1
    return _at(setting, rung, max(setting.longest, low * _STEP))


def _at(setting: Setting, rung: Rung, tokens: int) -> Choice:
    load = load_of(setting, rung, tokens=tokens)
    peak = calibration.corrected(memory.peak(setting.model, load), setting.calibration)
    fits = peak.total <= setting.room
    return Choice(rung.strategy, rung.optimizer, rung.checkpointing, tokens, load, peak, fits)


def _reasons(setting: Setting, best: Choice, tried: Sequence[Choice]) -> list[str]:
    """Why this and not more, in sentences."""
    name, training = setting.stage, setting.training
    found: list[str] = []
    for choice in tried:
        if choice is best:
            continue
        short = f"{size_words(choice.peak.total)} for {choice.micro_tokens:,} tokens at once"
        found.append(
            f"{name}: {choice.optimizer} {_way(choice)} takes {short}, "
            f"of {size_words(setting.room)} that can be used"
            + (": fewer than are worth while" if choice.fits else "")
        )
    is_stated = training.optimizer != "auto"
    verb = "keeps" if is_stated else "takes"
    if best.fits:
        tokens = f"{best.micro_tokens:,} tokens"
        size = training.micro_batch_size
        if size != "auto":
            tokens = f"{size} examples"
        found.append(
            f"{name} {verb} {best.optimizer} {_way(best)}, at most {tokens} "
            f"at once: {size_words(best.peak.total)}, at its fullest at {best.peak.moment}"
        )
    return found


def _way(choice: Choice) -> str:
    """Strategy and recomputation in words."""
    by = "" if choice.strategy == "single" else f"by {choice.strategy} "
    return by + _IN_WORDS[choice.checkpointing]


def stage_costs(
    rows: list[lengths.Row] | None,
    recipe: Recipe,
    stage: TrainingStage,
    *,
    model: Architecture,
    device: Device,
) -> Costs | None:
    """What the prepared rows cost; packed dialogues are rows of `max_length`."""
    training = recipe.sft if stage == "sft" else recipe.dpo
    if rows is None:
        return None
    if is_packed(training):
        total = sum(row[0] for row in rows)
        length, share = training.max_length, share_of(training, device)
        return Costs(
            examples=max(1, -(-total // length)),
            real=float(length),
            alone=float(length),
            longest=length,
            largest_step=share * length,
            labelled=sum(row[1] for row in rows) / max(1, total),
        )
    share = share_of(training, device)
    return lengths.costs_of(rows, layout_of(recipe, stage, model), share=share)
