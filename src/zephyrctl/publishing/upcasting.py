"""How does a model compute in float32 whose weights are kept in fewer bits, or in a file?

A layer's weights are brought to float32 when it begins and let go when it ends. So a model of
14 GB in bfloat16 is compared in float32 without 28 GB of memory: beside what is stored, one layer
is held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Read = Callable[[str], torch.Tensor]


def compute_in_float32(model: Any, *, read: Read | None = None) -> Callable[[], None]:
    """Let every layer of `model` compute in float32; returns what undoes that.

    `read` brings a parameter by its name from elsewhere, in float32; without it the parameters
    themselves are what is stored. A layer is a module with parameters of its own, which are used
    nowhere but in its own `forward`.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    handles: list[Any] = []
    for module in model.modules():
        own = {
            names[id(weight)]: weight
            for weight in module.parameters(recurse=False)
            if read is not None or weight.dtype != torch.float32
        }
        if own:
            begin, end = _around(own, read)
            handles.append(module.register_forward_pre_hook(begin))
            handles.append(module.register_forward_hook(end, always_call=True))

    def undo() -> None:
        for handle in handles:
            handle.remove()

    return undo


def _around(
    own: dict[str, torch.nn.Parameter], read: Read | None
) -> tuple[Callable[..., None], Callable[..., None]]:
    kept: dict[str, torch.Tensor] = {}

    def begin(module: Any, inputs: Any) -> None:
        for name, weight in own.items():
            kept[name] = weight.data
            weight.data = weight.data.float() if read is None else read(name)

    def end(module: Any, inputs: Any, output: Any) -> None:
        for name, weight in own.items():
            if name in kept:
                weight.data = kept.pop(name)

    return begin, end
