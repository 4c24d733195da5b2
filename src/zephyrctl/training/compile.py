"""How are a model's decoder layers compiled, so that their elementwise work runs as few kernels?

Each decoder layer is compiled by itself (regional compilation): all layers of a model share the
compiled code, and the first step waits for one layer instead of the whole model. The number of
tokens is symbolic, so that batches of other sizes run the same code. Checkpointing stays outside
and repeats the compiled layer; attention over documents stays eager between two compiled parts,
because its kernels are compiled already and its lengths differ from step to step.

`auto` is off: on one CPU core a step of a small Llama (4 layers, hidden 384, 640 to 896 tokens)
took 572 to 604 µs per token instead of 600 to 668, and the first one half a minute more. No GPU was
measured.
"""

from typing import Any

import torch
from torch import nn

from zephyrctl.errors import ConfigError, EnvironmentProblem
from zephyrctl.training import attention, recompute
from zephyrctl.training.loading import decoder_parts

VARIANTS = 64
"""Compiled forms of a layer before torch gives up and computes eagerly without an error: with and
without gradients, one row or several, with and without a mask, per kind of layer."""


def check_compiler(device: str, *, where: str) -> None:
    """EnvironmentProblem where torch cannot compile here, found out by compiling an addition."""
    try:
        torch.compile(_added)(torch.zeros(2, device=device))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        needed = "Triton and a C compiler" if device == "cuda" else "a C++ compiler (g++)"
        raise EnvironmentProblem(
            f"the model cannot be compiled; torch needs {needed}: {lines[0] if lines else error}",
            where=where,
            hint=f"--set {where}=false",
        ) from error


def compile_layers(model: Any, *, where: str, backend: str = "inductor") -> int:
    """Compile every decoder layer in place; returns their number.

    Weights, their names and a deep copy of the model are as before. Passes with a cache of keys and
    values (sample generations) stay eager: each of their tokens would ask for another form.
    """
    if recompute.keeps_attention(model) and model.config._attn_implementation != attention.NAME:
        raise ConfigError(
            "selective gradient checkpointing cannot look into compiled layers with "
            f"{model.config._attn_implementation} attention",
            where=where,
            hint=f"--set {where}=false, or gradient_checkpointing: true",
        )
    if any("lora_magnitude_vector" in name for name, _ in model.named_parameters()):
        raise ConfigError(
            "layers with DoRA adapters cannot be compiled: PEFT 0.21 computes them in dozens of "
            "pieces, each compiled by itself",
            where=where,
            hint=f"--set {where}=false",
        )
    torch._dynamo.config.recompile_limit = VARIANTS
    layers, _ = decoder_parts(model)
    kinds = {kind: _compiled(kind, backend) for kind in {type(layer) for layer in layers}}
    for layer in layers:
        layer.__class__ = kinds[type(layer)]
    return len(layers)


def _compiled(kind: type[nn.Module], backend: str) -> type[nn.Module]:
    """A class of layers like `kind` whose forward pass is compiled.

    transformers wraps the forward pass of every subclass of its layers in gradient checkpointing
    and lets only the outermost wrapper act, so checkpointing comes to stand around the compiled
    code. The other way round, one eager call inside a layer would leave all of it uncompiled.
    """
    plain: Any = kind.forward
    compiled = torch.compile(plain, dynamic=True, backend=backend)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with_cache = kwargs.get("past_key_values") is not None
        return (plain if with_cache else compiled)(self, *args, **kwargs)

    return type(f"Compiled{kind.__name__}", (kind,), {"forward": forward})


def _added(tensor: torch.Tensor) -> torch.Tensor:
    return tensor + 1
