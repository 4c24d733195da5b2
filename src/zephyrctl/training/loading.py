"""How does the policy come into memory, and which of its weights are trained?

Full fine-tuning keeps float32 weights; on a GPU the matrix products run in bfloat16 (autocast).
bfloat16 weights are for the optimizers that lose no update to rounding (`optimizers`). A trained
adapter is always float32, whatever the weights below it are.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, set_seed

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.model import Adapter
from zephyrctl.config.schema.training import Training
from zephyrctl.errors import ConfigError, DataError, EnvironmentProblem
from zephyrctl.generation.weights import read_weights
from zephyrctl.training import adapter_targets, base_checks, experts, optimizers
from zephyrctl.training.processes import World
from zephyrctl.training.starting_point import Start

TRAINED, BELOW = "default", "start"
"""PEFT names of the adapter that is trained and of the frozen one it stands on."""

Form = Literal["weights", "adapter", "chain", "merged"]


@dataclass(frozen=True)
class Policy:
    """The model in training.

    `model` is what the trainer sees: a plain model whose layers may hold adapters. `peft` switches
    and saves these. `form` says what is published: the weights, the adapter, one adapter that
    joins the frozen and the trained one, or the weights with the adapter merged in.
    """

    model: Any
    peft: Any
    form: Form
    start: Start
    trained: int
    total: int
    notices: tuple[str, ...] = ()
    """What of the settings does not reach the whole model."""

    def describe(self) -> str:
        """One line with the number of trained weights."""
        share = 100 * self.trained / self.total
        held = {weight.dtype for weight in self.model.parameters() if weight.requires_grad}
        formats = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in held))
        return f"training {self.trained:,} of {self.total:,} weights ({share:.1f} %) in {formats}"

    @contextlib.contextmanager
    def as_reference(self) -> Iterator[None]:
        """The weights before training: without the trained adapter. Dense weights serve as they
        are, so this is only right before the first step."""
        if self.peft is None:
            yield
        elif self.form == "chain":
            self.peft.base_model.set_adapter(BELOW)
            try:
                yield
            finally:
                _activate_chain(self.peft)
        else:
            with self.peft.disable_adapter():
                yield


def load_policy(
    recipe: Recipe, training: Training, start: Start, world: World, *, where: str
) -> Policy:
    """Load the starting model and prepare what is to be trained. The adapter's random numbers
    follow from the seed."""
    settings = training.adapter
    _check_settings(recipe, training, where=where)
    optimizers.check_installed(training.optimizer, device=world.device, where=f"{where}.optimizer")
    dtype = weights_dtype(recipe, training, world=world)
    model, said = load_weights(recipe, start, dtype=_exact(dtype, start, settings), world=world)
    base_checks.check_checkpointing(model, training, where=where)
    set_seed(recipe.seed)
    if settings.type == "none":
        policy = _dense(model, training, start, dtype=dtype)
    else:
        policy = _with_adapter(
            model, start, settings, quantized=recipe.model.load_in_4bit, where=where
        )
    base_checks.check_finite(policy.model, start)
    if recipe.model.load_in_4bit:
        # transformers refuses to train a quantized model unless it knows of its adapter.
        policy.model._hf_peft_config_loaded = True
    return replace(policy, notices=(*said, *policy.notices))


def weights_dtype(recipe: Recipe, training: Training, *, world: World) -> torch.dtype:
    """Number format of the loaded weights. Those that are trained follow the optimizer; below an
    adapter, which is float32 itself, they follow `model.dtype`."""
    if training.adapter.type == "none":
        held_in_bf16 = training.optimizer in optimizers.OF_BF16_WEIGHTS
        return torch.bfloat16 if held_in_bf16 else torch.float32
    wanted = recipe.model.dtype
    if wanted == "auto":
        wanted = "bfloat16" if world.bf16 else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]


def load_weights(
    recipe: Recipe, start: Start, *, dtype: torch.dtype, world: World
) -> tuple[PreTrainedModel, list[str]]:
    """The model at the bottom of the starting point, on the CPU (4-bit: on the GPU), and what of
    it is not as one would expect, in words."""
    options: dict[str, Any] = {"dtype": dtype}
    if recipe.model.attention != "auto":
        options["attn_implementation"] = recipe.model.attention
    if recipe.model.load_in_4bit:
        options["quantization_config"] = _nf4(world)
        options["device_map"] = {"": torch.cuda.current_device()}
    model, unused = read_weights(str(start.base), **options)
    said: list[str] = []
    if unused:
        said.append(
            f"{len(unused)} tensors of the base have no place in its configuration and are left "
            f"out ({unused[0]}, …)"
        )
    if recipe.model.load_in_4bit and (text := experts.beyond_4bit(model)) is not None:
        said.append(text)
    return model, said


@contextlib.contextmanager
def formats_stay(policy: Policy) -> Iterator[None]:
    """Give each trained weight its number format back: building a trainer of TRL 1.16 turns the
    adapters of a 4-bit model into bfloat16, in which most updates at 5e-6 are lost."""
    trained = [
        (weight, weight.data) for weight in policy.model.parameters() if weight.requires_grad
    ]
    yield
    for weight, before in trained:
        if weight.dtype != before.dtype:
            weight.data = before.to(weight.device)


def check_vocabulary(policy: Policy, tokenizer: Any) -> None:
    """DataError where the tokenizer knows ids for which the model has no embedding."""
    rows = policy.model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise DataError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeddings for {rows}",
            where=str(policy.start.tokenizer),
            hint="use the tokenizer that belongs to this model",
        )


def freeze_all_but(model: PreTrainedModel, *, last_layers: int | Literal["all"]) -> None:
    """Leave only the last decoder layers and the final norm trainable, or everything."""
    if last_layers == "all":
        return
    layers, norms = decoder_parts(model)
    if last_layers > len(layers):
        raise ConfigError(
            f"the model has {len(layers)} decoder layers, not {last_layers}",
            where="trainable_layers",
            hint="--set sft.trainable_layers=all",
        )
    model.requires_grad_(False)
    for part in [*layers[len(layers) - last_layers :], *norms]:
        part.requires_grad_(True)


def decoder_parts(model: PreTrainedModel) -> tuple[list[nn.Module], list[nn.Module]]:
    """The decoder layers in order, and the norms behind them (modules with vectors only)."""
    decoder = model.get_decoder()
    stacks = [m for m in decoder.children() if isinstance(m, nn.ModuleList)]
    if not stacks:
        raise ConfigError(
            f"the decoder layers of {type(model).__name__} cannot be found",
            where="trainable_layers",
            hint="train an adapter instead: --set sft.adapter.type=lora",
        )
    norms = [
        module
        for module in decoder.children()
        if (weights := list(module.parameters())) and all(w.dim() == 1 for w in weights)
    ]
    return list(max(stacks, key=len)), norms


def _check_settings(recipe: Recipe, training: Training, *, where: str) -> None:
    model, adapter = recipe.model, training.adapter
    if adapter.type != "none" and training.trainable_layers != "all":
        raise ConfigError(
            "trainable_layers and an adapter exclude each other", where=f"{where}.trainable_layers"
        )
    if model.load_in_4bit and adapter.type == "none":
        raise ConfigError(
            "4-bit weights cannot be trained themselves",
            where="model.load_in_4bit",
            hint=f"--set {where}.adapter.type=lora",
        )
    optimizers.check_setting(
        training.optimizer,
        dtype=model.dtype,
        adapter=adapter.type != "none",
        rate=training.learning_rate,
        where=where,
    )
    targets = adapter.target_modules
    if adapter.type != "none" and targets != "all-linear" and "lm_head" in targets:
        raise ConfigError(
            "an adapter on lm_head would never be trained: the loss reads its weight directly",
            where=f"{where}.adapter.target_modules",
        )


def _nf4(world: World) -> Any:
    """QLoRA's number format; EnvironmentProblem where this machine cannot do it."""
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if world.device != "cuda" or find_spec("bitsandbytes") is None:
        missing = "a GPU" if world.device != "cuda" else "the package bitsandbytes"
        raise EnvironmentProblem(
            f"4-bit weights need {missing}",
            where="model.load_in_4bit",
            hint="pip install 'zephyrctl[cuda]'   or --set model.load_in_4bit=false",
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=False,
    )


def _with_adapter(
    model: Any, start: Start, settings: Adapter, *, quantized: bool, where: str
) -> Policy:
    """A fresh adapter, on the weights or on the starting point's own adapter."""
    targets = adapter_targets.choose(model, settings, where=where)
    said = tuple(targets.notices)
    fresh = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets.modules,
        target_parameters=targets.parameters or None,
        use_dora=settings.type == "dora",
    )
    if start.adapter is None:
        peft = get_peft_model(model, fresh, adapter_name=TRAINED)
        return _policy(peft.get_base_model(), peft, "adapter", start, said)
    below = _load_below(model, start)
    if _cannot_be_joined(fresh) or _cannot_be_joined(below.peft_config[BELOW]):
        if quantized:
            raise ConfigError(
                "DoRA and adapters on experts cannot stand on another adapter over 4-bit weights "
                "without rounding it",
                where=f"{where}.adapter",
                hint=f"--set {where}.adapter.type=lora "
                f"--set {where}.adapter.target_modules=all-linear   (in both stages)",
            )
        merged: Any = below.merge_and_unload()
        peft = get_peft_model(merged, fresh, adapter_name=TRAINED)
        return _policy(peft.get_base_model(), peft, "merged", start, said)
    below.add_adapter(TRAINED, fresh)
    _activate_chain(below)
    return _policy(below.get_base_model(), below, "chain", start, said)


def _cannot_be_joined(adapter: Any) -> bool:
    """Whether PEFT 0.21 cannot write this adapter and another as one."""
    return bool(adapter.use_dora or adapter.target_parameters)


def _load_below(model: Any, start: Start) -> Any:
    """The starting point's adapter, frozen; DataError where it does not fit the model whole."""
    assert start.adapter is not None, "asked for only where there is one"
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            peft = PeftModel.from_pretrained(
                model, str(start.adapter), adapter_name=BELOW, is_trainable=False
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise _unfit(start, str(error).strip().splitlines()[-1].strip()) from error
    # PEFT 0.21 only warns, and leaves what it did not find as it was drawn.
    missing = [str(w.message) for w in said if "missing adapter keys" in str(w.message)]
    if missing:
        raise _unfit(start, "it lacks weights that its configuration names")
    return peft


def _unfit(start: Start, reason: str) -> DataError:
    return DataError(
        f"the adapter does not fit the model below it: {reason}",
        where=str(start.adapter),
        hint=f"name the model it was trained on in {start.adapter}/adapter_config.json, or train "
        "it again",
    )


def _exact(dtype: torch.dtype, start: Start, settings: Adapter) -> torch.dtype:
    """The number format to load in: float32 where an adapter is to be merged into weights that
    are then trained, so that bfloat16 weights are rounded once and not the product apart."""
    merges = settings.type == "none" and start.adapter is not None
    return torch.float32 if merges else dtype


def _dense(model: Any, training: Training, start: Start, *, dtype: torch.dtype) -> Policy:
    """Full fine-tuning; the starting point's adapter, where it has one, is merged first."""
    if start.adapter is not None:
        model = _load_below(model, start).merge_and_unload()
        model.requires_grad_(True)
        model.to(dtype)
        model.config.dtype = dtype
    freeze_all_but(model, last_layers=training.trainable_layers)
    return _policy(model, None, "weights", start)


def _activate_chain(peft: Any) -> None:
    """Both adapters add their part; only the upper one is trained."""
    peft.base_model.set_adapter([BELOW, TRAINED])
    for name, weight in peft.named_parameters():
        if f".{BELOW}." in name or name.endswith(f".{BELOW}"):
            weight.requires_grad_(False)


def _policy(
    model: Any, peft: Any, form: Form, start: Start, notices: tuple[str, ...] = ()
) -> Policy:
    weights = list(model.parameters())
    trained = sum(w.numel() for w in weights if w.requires_grad)
    return Policy(model, peft, form, start, trained, sum(w.numel() for w in weights), notices)
