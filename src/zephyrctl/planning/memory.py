"""How much memory does one device need at its fullest moment of a training step?

States are exact; activations are estimates from the tensors that autograd keeps (within 20 %).
"""

from __future__ import annotations

from dataclasses import dataclass

from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.flops import Work

OPTIMIZER_BYTES = {
    "auto": 8.0,
    "adamw": 8.0,
    "adamw_8bit": 2.0,
    "paged_adamw_32bit": 8.0,
    "rmsprop": 4.0,
}
"""Bytes of optimizer state per trained weight. Paged state counts as if it stayed on the GPU."""

NF4_BYTES = 0.516
"""Bytes of a 4-bit weight: half a byte and its doubly quantized scale (QLoRA, 0.127 bit)."""

GPU_OVERHEAD = 1.5 * 2**30
"""CUDA context, cuBLAS workspaces, NCCL buffers."""

CPU_OVERHEAD = 0.8 * 2**30
"""An imported torch, transformers and TRL."""


@dataclass(frozen=True)
class Load:
    """What decides the memory of one process."""

    work: Work
    weight_bytes: float
    """Bytes per weight as loaded: 4 where the weights themselves are trained."""
    compute_bytes: int
    """Bytes per number in the matrix products: 2 for bfloat16, 4 for float32."""
    four_bit: bool
    optimizer: str
    micro_tokens: int
    """Tokens of one forward pass, padding included; both answers of a DPO pair."""
    reference_copy: bool
    distributed: bool
    on_gpu: bool


@dataclass(frozen=True)
class Peak:
    """Bytes by what holds them."""

    weights: float
    reference: float
    gradients: float
    optimizer: float
    compute_copies: float
    activations: float
    head: float
    overhead: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(vars(self).values())


def trained_parameters(model: Architecture, work: Work) -> int:
    """Weights that get a gradient."""
    if work.trained == "adapter":
        return work.adapter_parameters
    if work.trained == "last_layers":
        return min(work.last_layers, model.layers) * model.layer_parameters + model.hidden
    return model.parameters


def weights(model: Architecture, *, bytes_each: float, four_bit: bool) -> float:
    """Bytes of the loaded base weights."""
    if not four_bit:
        return model.parameters * bytes_each
    return model.quantized * NF4_BYTES + (model.parameters - model.quantized) * 2


def peak(model: Architecture, load: Load) -> Peak:
    """The fullest moment of a step in one process."""
    work = load.work
    trained = trained_parameters(model, work)
    base = weights(model, bytes_each=load.weight_bytes, four_bit=load.four_bit)
    adapter = 4 * work.adapter_parameters if work.trained == "adapter" else 0
    # Autocast keeps a bfloat16 copy of each float32 matrix from the forward to the backward pass.
    narrower = load.weight_bytes > load.compute_bytes and not load.four_bit
    return Peak(
        weights=base + adapter,
        reference=base if load.reference_copy else 0,
        # Distributed data parallel reduces gradients in buckets of its own.
        gradients=4 * trained * (2 if load.distributed else 1),
        optimizer=OPTIMIZER_BYTES[load.optimizer] * trained,
        compute_copies=model.parameters * load.compute_bytes if narrower else 0,
        activations=activations(model, load),
        head=head(model, load),
        overhead=GPU_OVERHEAD if load.on_gpu else CPU_OVERHEAD,
    )


def activations(model: Architecture, load: Load) -> float:
    """Bytes that autograd keeps between forward and backward.

    A layer without fused kernels keeps about 8 numbers of `intermediate` in 2 bytes and 24 bytes
    per hidden unit and token; with recomputation only its input, and one layer at a time in full.
    """
    scale = load.compute_bytes / 2
    active = model.active_experts * model.intermediate
    layer = (8 * active + 24 * model.hidden) * scale * load.micro_tokens
    kept = model.layers
    if load.work.trained == "last_layers":
        kept = min(model.layers, load.work.last_layers)
    if load.work.recompute:
        return kept * 2 * model.hidden * scale * load.micro_tokens + layer
    return kept * layer


def head(model: Architecture, load: Load) -> float:
    """Bytes of the output head's chunk: TRL's fused head never holds all logits at once.

    Logits and their gradient for up to 1,024 tokens, in float32.
    """
    return 2 * 4 * model.vocabulary * min(load.micro_tokens, 1024)
