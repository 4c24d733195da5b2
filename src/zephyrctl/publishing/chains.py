"""How is a chain of adapters put to work unmerged, and how does it become one model?"""

from __future__ import annotations

from typing import Any

import torch

from zephyrctl.generation.adapters import Chain, adds_up
from zephyrctl.generation.weights import load_base, merged, put_on, side_by_side


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
    return side_by_side(model, chain.adapters)


def add_in(model: Any, chain: Chain) -> Any:
    """A base in float32 with the chain's adapters merged into it, the innermost first."""
    for adapter in chain.adapters:
        model = merged(model, adapter)
    return model
