"""How much memory does one process need at the fullest moment of a training step?

Every term follows from the architecture and from what the code that runs keeps; nothing is fitted
to a measurement. A step has four moments that can be the fullest: the output head at the turn from
forward to backward, the backward pass of the top layer, its end, and the optimizer's update.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zephyrctl.config import sharing
from zephyrctl.models.weight_files import QUANTIZED_BYTES
from zephyrctl.planning import activations
from zephyrctl.planning.activations import Checkpointing, Forward, Row
from zephyrctl.planning.architecture import Architecture
from zephyrctl.planning.flops import Work
from zephyrctl.sizes import GIB


@dataclass(frozen=True)
class Optimizer:
    """Bytes of each trained weight, of its gradient and of what the optimizer keeps for it."""

    weight: float
    gradient: float
    state: float
    working: float = 0.0
    """Bytes per trained weight that only exist during the update."""
    chunk: float = 0.0
    """Bytes that exist during the update, however many weights there are."""

    @property
    def total(self) -> float:
        """Bytes of each trained weight that stay over the whole step."""
        return self.weight + self.gradient + self.state


OPTIMIZERS = {
    "adamw": Optimizer(4, 4, 8),
    # Weights and gradients in bfloat16, 8 bits of correction beside each weight, both moments in
    # 8 bits (Gonzalez Ortiz et al. 2026, arXiv 2602.23349, table 1).
    "flash_adamw": Optimizer(2, 2, 3),
    # Both moments in bfloat16; five float32 copies of a chunk of 2^24 numbers at once.
    "adamw_bf16": Optimizer(2, 2, 4, chunk=5 * 4 * 2**24),
    # Two moments in 8 bits, and a float32 scale for each block of 256 (bitsandbytes).
    "adamw_8bit": Optimizer(4, 4, 2 * (1 + 4 / 256)),
    # Paged states may move to the CPU; here they count as if they stayed.
    "paged_adamw_32bit": Optimizer(4, 4, 8),
    # One moment; the update of all weights at once makes a second copy of it.
    "rmsprop": Optimizer(4, 4, 4, working=4),
}
"""`auto` is not among them: it is decided before memory is counted."""

OF_BF16_WEIGHTS = ("flash_adamw", "adamw_bf16")

GPU_OVERHEAD = 1.5 * GIB
"""CUDA context, cuBLAS workspaces, NCCL buffers: outside of torch's allocator."""

CPU_OVERHEAD = 0.8 * GIB
"""An imported torch, transformers and TRL; a running process measures its own."""

TILE_TOKENS, TILE_WORDS = 4096, 32768
"""Tile of TRL 1.16's output head: so many labelled tokens by so much of the vocabulary."""
CPU_TILE_TOKENS, CPU_TILE_WORDS = 512, 1024
"""The tile of `training.fused_head`, which a core's cache holds."""
_TILES_ON_CPU = 7.25
"""Copies of a tile, in float32, that TRL's head holds beside the logits where Triton does not run:
scaled, with temperature, log-probs, probs, gradient, target (as bool and as float), and their
difference."""


@dataclass(frozen=True)
class Load:
    """What decides the memory of one process."""

    work: Work
    forward: Forward
    checkpointing: Checkpointing
    optimizer: str
    row: Row
    four_bit: bool = False
    reference_copy: bool = False
    reference_passes: bool = False
    """The reference is asked while the policy's graph stands (a copy, or the adapter's base)."""
    distributed: bool = False
    accumulates: bool = False
    """Several forward passes per step: gradients stand before the pass."""
    overhead: float = GPU_OVERHEAD
    shards: int = 1
    """Processes that share out weights, gradients and optimizer state; 1 where each has all."""
    weight_bytes: int = 0
    """Of a weight of the base where it is kept; 0 is as in the hidden states."""
    memory: float = 0.0
    """Bytes of the device."""

    @property
    def on_gpu(self) -> bool:
        """Whether the step runs on a GPU."""
        return self.forward.on_gpu


@dataclass(frozen=True)
class Peak:
    """Bytes at the fullest moment, by what holds them."""

    weights: float
    reference: float
    gradients: float
    optimizer: float
    compute_copies: float
    activations: float
    head: float
    working: float
    overhead: float
    moment: str

    @property
    def total(self) -> float:
        """All of it."""
        return self.allocated + self.overhead

    @property
    def allocated(self) -> float:
        """What torch's own allocator holds: all but the overhead."""
        parts = vars(self).items()
        return sum(value for name, value in parts if name not in ("overhead", "moment"))

    @property
    def parts(self) -> dict[str, float]:
        """Bytes by what holds them, the overhead among them."""
        return {name: float(value) for name, value in vars(self).items() if name != "moment"}


def trained_parameters(model: Architecture, work: Work) -> int:
    """Weights that get a gradient."""
    if work.trained == "adapter":
        return work.adapter_parameters
    if work.trained == "last_layers":
        return min(work.last_layers, model.layers) * model.layer_parameters + model.norm_weights
    return model.parameters


def weights(model: Architecture, *, bytes_each: float, four_bit: bool) -> float:
    """Bytes of the loaded base weights; what is not quantized is in 2 bytes."""
    if not four_bit:
        return model.parameters * bytes_each
    return model.quantized * QUANTIZED_BYTES["4bit"] + (model.parameters - model.quantized) * 2


def peak(model: Architecture, load: Load) -> Peak:
    """The fullest moment of a step in one process."""
    work, how = load.work, load.forward
    rates = OPTIMIZERS[load.optimizer]
    trained = trained_parameters(model, work)
    each = load.weight_bytes or how.hidden_bytes
    base = weights(model, bytes_each=each, four_bit=load.four_bit)
    adapter = 4 * work.adapter_parameters if work.trained == "adapter" else 0
    gradient = 4 if work.trained == "adapter" else rates.gradient
    # Distributed data parallel reduces gradients in buckets of its own.
    gradients = gradient * trained * (2 if load.distributed else 1) / load.shards
    if waiting := _waiting(load, trained):
        gradients += waiting
    whole = gathered(model, load)
    still = Peak(
        weights=(base + adapter) / load.shards + whole,
        reference=base / load.shards + whole if load.reference_copy else 0.0,
        gradients=gradients,
        optimizer=rates.state * trained / load.shards,
        compute_copies=0.0,
        activations=0.0,
        head=0.0,
        working=0.0,
        overhead=load.overhead,
        moment="",
    )
    standing = gradients if load.accumulates or load.distributed or load.shards > 1 else 0.0
    moments = (
        _at_head(model, load, replace(still, gradients=standing)),
        _at_top_layer(model, load, replace(still, gradients=standing)),
        _at_end(model, load, still),
        replace(
            still,
            weights=still.weights - whole,
            gradients=gradients - waiting,
            working=rates.working * trained / load.shards + rates.chunk,
            moment="the optimizer's update",
        ),
    )
    return max(moments, key=lambda moment: moment.total)


def gathered(model: Architecture, load: Load) -> float:
    """Bytes of what is whole at once of weights that are shared out: the layer that computes, the
    next one, and what is outside of the layers."""
    if load.shards == 1:
        return 0.0
    outside = model.parameters - model.layers * model.layer_parameters
    adapter = 2 * load.work.adapter_parameters / max(1, model.layers)
    return load.forward.product_bytes * (2 * model.layer_parameters + outside + adapter)


def _waiting(load: Load, trained: int) -> float:
    """Bytes of unsharded gradients that wait for the last pass of a step."""
    size = 4.0 * trained
    waits = load.shards > 1 and load.accumulates
    return size if waits and sharing.gradients_wait(size, memory=load.memory) else 0.0


def compute_copies(model: Architecture, load: Load) -> float:
    """Bytes of the narrow copies that autocast makes of float32 matrices, and keeps for the
    backward pass; of an adapter's matrices where the base is narrow already."""
    how = load.forward
    if not how.autocast or load.shards > 1:  # what is gathered is narrow already
        return 0.0
    if how.lora is not None:
        return float(how.product_bytes * load.work.adapter_parameters)
    if how.hidden_bytes <= how.product_bytes:
        return 0.0
    reached = model.layer_matrices if model.experts == 1 else model.layers * model.attention_weights
    return float(how.product_bytes * reached)


def kept(model: Architecture, load: Load) -> float:
    """Bytes that autograd keeps of the layers between forward and backward."""
    layers = model.layers
    if load.work.trained == "last_layers":
        layers = min(layers, load.work.last_layers)
    return activations.kept(
        model, load.forward, row=load.row, checkpointing=load.checkpointing, layers=layers
    )


def _at_head(model: Architecture, load: Load, still: Peak) -> Peak:
    """All activations stand; the head computes its tile, and the gradients of what it read."""
    how, row = load.forward, load.row
    saved = activations.head(model, how, row=row)
    ahead = 4.0 * row.labelled * model.hidden
    trains_head = load.work.trained == "weights"
    own_gradient = 4.0 * model.embedding if trains_head else 0.0
    tile = _tile(model, load)
    backward = tile + ahead + own_gradient
    reference = 0.0
    if load.reference_passes:
        # Beside the policy's graph: one layer without a graph, then the head's tile.
        reference = tile + row.labelled * how.hidden_bytes * model.hidden
        reference = max(reference, _one_layer_forward(model, load))
    return replace(
        still,
        compute_copies=compute_copies(model, load),
        activations=kept(model, load),
        head=saved + max(backward, reference),
        moment="the output head",
    )


def _tile(model: Architecture, load: Load) -> float:
    """Bytes of the logits that exist at once; all of them never do."""
    labelled = load.row.labelled
    if load.on_gpu:
        return float(min(labelled, TILE_TOKENS) * TILE_WORDS * load.forward.product_bytes)
    words = min(model.vocabulary, CPU_TILE_WORDS)
    size = 4.0 * min(labelled, CPU_TILE_TOKENS)
    return size * (CPU_TILE_WORDS + _TILES_ON_CPU * words)


def _one_layer_forward(model: Architecture, load: Load) -> float:
    """What a layer holds at once without a graph: hidden states twice, and the feed-forward's
    three inner tensors."""
    how = load.forward
    inner = 3 * how.product_bytes * model.active_experts * model.intermediate
    return float(load.row.computed * (2 * how.hidden_bytes * model.hidden + inner))


def _one_layer_backward(model: Architecture, load: Load) -> float:
    """What the backward pass of a layer holds beside what it reads: the gradient of the hidden
    states, two of the feed-forward's inner tensors (the third takes the place of one that is
    freed), and the gradient of the largest matrix before it is added."""
    how = load.forward
    inner = 2 * how.product_bytes * model.active_experts * model.intermediate
    total = load.row.computed * (2 * how.hidden_bytes * model.hidden + inner)
    if load.shards > 1:
        # Gradients of the layer, and a float32 copy of them that is summed over the processes.
        trained = load.work.trained != "adapter"
        total += trained * (how.product_bytes + 4) * model.layer_parameters
    elif how.weights_are_trained:
        narrow = how.product_bytes if how.autocast else 0
        again = how.hidden_bytes if load.accumulates else 0
        total += (narrow + again) * model.largest_matrix
    elif load.four_bit:
        total += how.product_bytes * model.largest_matrix  # a matrix is unpacked for its product
    if load.checkpointing != "none":
        row = load.row
        whole = sum(activations.layer(model, how, row=row).values()) * row.computed
        known = activations.attention_output(model, how) * row.computed
        total += whole - (known if load.checkpointing == "selective" else 0.0)
    return float(total)


def _at_top_layer(model: Architecture, load: Load, still: Peak) -> Peak:
    """The backward pass enters the layers: the head's own tensors are gone, its gradient stays."""
    own = load.work.trained == "weights" and not still.gradients
    gradient = OPTIMIZERS[load.optimizer].gradient
    return replace(
        still,
        gradients=gradient * model.embedding if own else still.gradients,
        compute_copies=compute_copies(model, load),
        activations=kept(model, load),
        working=_one_layer_backward(model, load),
        moment="the top layer's backward pass",
    )


def _at_end(model: Architecture, load: Load, still: Peak) -> Peak:
    """The last layer's backward pass: every gradient stands, and that of the embeddings is added
    to what stood before it."""
    row, how = load.row, load.forward
    whole = 0.0
    if load.checkpointing == "none":
        whole = sum(activations.layer(model, how, row=row).values()) * row.computed
    table = 0.0
    if load.work.trained == "weights" and (load.accumulates or model.tied):
        table = OPTIMIZERS[load.optimizer].gradient * model.embedding
    return replace(
        still,
        activations=whole,
        working=max(_one_layer_backward(model, load), table),
        moment="the end of the backward pass",
    )
