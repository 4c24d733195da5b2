"""How is a chain of adapters put to work unmerged, and how does it become one model?"""

from __future__ import annotations

import json
from typing import Any

import torch

from zephyrctl.generation.adapters import ADAPTER_CONFIG, Chain
from zephyrctl.generation.weights import load_base, merged, put_on


def unmerged(chain: Chain) -> Any:
    """The chain in float32, every adapter at work beside the base's weights.

    LoRA adapters add up, so all of them run side by side. Where one does not (DoRA scales by the
    weights below it), those below the last are merged in float32 and the last one runs live.
    """
    model = load_base(chain.base, dtype=torch.float32)
    if not chain.adapters:
        return model
    if not adds_up(chain):
        for adapter in chain.adapters[:-1]:
            model = merged(model, adapter)
        return put_on(model, chain.adapters[-1])
    names = [f"link{place}" for place in range(len(chain.adapters))]
    for name, adapter in zip(names, chain.adapters, strict=True):
        model = put_on(model, adapter, name=name)
    if len(names) > 1:
        model.base_model.set_adapter(names)
    return model


def adds_up(chain: Chain) -> bool:
    """Whether the adapters give the same sum side by side as one merged after the other."""
    settings = [
        json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        for adapter in chain.adapters
    ]
    return len(settings) < 2 or all(
        one.get("peft_type") == "LORA"
        and not one.get("use_dora")
        and one.get("bias", "none") == "none"
        and not one.get("modules_to_save")
        for one in settings
    )


def add_in(model: Any, chain: Chain) -> Any:
    """A base in float32 with the chain's adapters merged into it, the innermost first."""
    for adapter in chain.adapters:
        model = merged(model, adapter)
    return model
