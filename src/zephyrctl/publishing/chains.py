"""How is a chain of adapters put to work unmerged, and how does it become one model?

A model that is stored in 16 bits stays so in memory: each layer computes in float32 while it is at
work (`upcasting`), and each weight is summed with its adapters when it is written. Where an adapter
is more than an addition to plain linear layers, all of the model is held in float32.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from zephyrctl.generation.adapters import ADAPTER_CONFIG, Chain, adds_up
from zephyrctl.generation.weights import (
    changes_tied,
    load_base,
    merged,
    put_on,
    side_by_side,
)
from zephyrctl.publishing.upcasting import compute_in_float32

_HALVES = {"BF16": torch.bfloat16, "F16": torch.float16}
_MORE = (
    "use_dora", "lora_bias", "modules_to_save", "target_parameters", "layer_replication",
    "trainable_token_indices", "alora_invocation_tokens",
)  # fmt: skip
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Summed:
    """A plain model of a chain. `weight(name)` is a parameter in float32 with every adapter's part;
    `layers` are the adapters' own layers by the name of the weight that they add to."""

    model: Any
    layers: Mapping[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def weight(self, name: str) -> torch.Tensor:
        """One weight in float32, with what the adapters add to it."""
        total = self.model.get_parameter(name).detach().float()
        if layer := self.layers.get(name):
            for adapter in layer.active_adapters:
                total = total + layer.get_delta_weight(adapter).float()
        return total

    @torch.no_grad()
    def cast(self, dtype: torch.dtype) -> Any:
        """The model with every weight summed and rounded once, one after the other."""
        for name, weight in self.model.named_parameters():
            weight.data = self.weight(name).to(dtype)
        self.model.config.dtype = dtype
        return self.model


@dataclass
class Unmerged:
    """A chain at work in float32, every adapter beside the base's weights."""

    chain: Chain
    model: Any
    undo: Callable[[], None]

    def summed(self) -> Summed:
        """The same as one model; this one is gone then, so that both are never held."""
        self.undo()
        model, self.model = self.model, None
        if not self.chain.adapters:
            return Summed(model)
        layers = _layers(model)
        if layers is not None and _only_add(self.chain):
            return Summed(model.unload(), layers)
        plain = model.unload() if adds_up(self.chain) else None
        del model
        if plain is None:  # its base holds adapters already
            gc.collect()
            plain = load_base(self.chain.base, dtype=torch.float32)
        for adapter in self.chain.adapters:
            plain = merged(plain, adapter)
        return Summed(plain)


def unmerged(chain: Chain) -> Unmerged:
    """The chain, computing in float32.

    LoRA adapters add up, so all of them run side by side. Where one does not (DoRA scales by the
    weights below it), those below the last are merged in float32 and the last one runs live.
    """
    stored = held_in(chain)
    model = _at_work(chain, stored)
    if stored != torch.float32 and chain.adapters and _layers(model) is None:
        del model
        gc.collect()
        model = _at_work(chain, torch.float32)
    return Unmerged(chain, model, compute_in_float32(model))


def held_in(chain: Chain) -> torch.dtype:
    """The number format in which a chain's weights lie in memory while it is exported."""
    return _stored(chain.base) if _only_add(chain) else torch.float32


def _at_work(chain: Chain, dtype: torch.dtype) -> Any:
    model = load_base(chain.base, dtype=dtype)
    if not chain.adapters:
        return model
    if adds_up(chain):
        return side_by_side(model, chain.adapters)
    for adapter in chain.adapters[:-1]:
        model = merged(model, adapter)
    return put_on(model, chain.adapters[-1])


def _only_add(chain: Chain) -> bool:
    """Whether no adapter of the chain does more than to add to weights."""
    settings = [
        json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        for adapter in chain.adapters
    ]
    return all(
        one.get("peft_type") == "LORA"
        and one.get("bias", "none") == "none"
        and not any(one.get(name) for name in _MORE)
        for one in settings
    )


def _layers(model: Any) -> dict[str, Any] | None:
    """The layers of a model's adapters by the name of their weight; None where one of them is not
    beside a plain linear layer with a weight of its own, whose sum is known."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import Linear

    found = {
        f"{name.removeprefix(_PREFIX)}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    plain = all(
        type(layer) is Linear and type(layer.base_layer) is torch.nn.Linear
        for layer in found.values()
    )
    return found if plain and not changes_tied(model) else None


def _stored(base: str) -> torch.dtype:
    """The format of 16 bits that all weights of a folder are stored in, else float32."""
    formats: set[str] = set()
    for path in Path(base).expanduser().glob("model*.safetensors"):
        try:
            with safe_open(path, framework="pt") as weights:
                names: Any = weights.keys()
                formats |= {weights.get_slice(name).get_dtype() for name in names}
        except (SafetensorError, OSError):
            return torch.float32  # whoever loads it says what is wrong
    return _HALVES.get(min(formats), torch.float32) if len(formats) == 1 else torch.float32
