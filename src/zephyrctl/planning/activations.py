"""Which bytes does autograd keep of a forward pass, tensor by tensor?

Counted from what the eager layers of transformers 5.23, PEFT 0.21 and torch 2.13 save for the
backward pass, and checked against it in the tests. A tensor that several operations save counts
once. Sizes are bytes per token; what is not per token (a mask, a row of scores) is said with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zephyrctl.planning.architecture import Architecture, Matrix, Reads
from zephyrctl.planning.flops import Trained

Checkpointing = Literal["none", "selective", "full"]
Attention = Literal["causal", "masked", "documents", "loop"]
"""`causal`: rows without padding; `masked`: padded rows; `documents`: one row of documents in a
flash kernel; `loop`: the same, one SDPA for each document."""

_FLOAT = 4
_INDEX = 8


@dataclass(frozen=True)
class Lora:
    """The trained adapter."""

    rank: int
    dropout: float = 0.0
    dora: bool = False
    targets: tuple[str, ...] | None = None
    """Names of the linear layers; None for all."""


@dataclass(frozen=True)
class Forward:
    """How a forward pass computes, as far as it decides what is kept."""

    hidden_bytes: int
    """Bytes of a number in the hidden states: that of the weights."""
    product_bytes: int
    """Bytes of a number in the matrix products."""
    trained: Trained
    autocast: bool = False
    lora: Lora | None = None
    attention: Attention = "causal"
    on_gpu: bool = True
    fused: bool = False
    """Norms, activation and rotation compiled into one kernel each, which keeps only its input."""

    @property
    def weights_are_trained(self) -> bool:
        """Whether the linear layers' own weights get a gradient, and so keep their inputs."""
        return self.trained != "adapter"


@dataclass(frozen=True)
class Row:
    """The tokens of one forward pass: `computed` in all, padding included; `longest` is the length
    of the longest row or document; `labelled` have a label; `gathered` keys and values are copied
    for attention (shared prompts), none otherwise."""

    computed: int
    longest: int
    labelled: int
    gathered: int = 0


Parts = dict[str, float]
"""Bytes per token by what they hold."""


def layer(model: Architecture, how: Forward, *, row: Row) -> Parts:
    """What one decoder layer keeps between forward and backward, without recomputation."""
    return {
        "norms": model.family.norms * _norm(model, how, model.hidden)
        + (_head_norms(model, how) if model.family.head_norms else 0.0),
        "inputs": _inputs(model, how) if how.weights_are_trained else 0.0,
        "attention": _attention(model, how, row=row),
        "feed_forward": _feed_forward(model, how),
        "adapter": _adapter(model, how) if how.lora is not None else 0.0,
    }


def attention_output(model: Architecture, how: Forward) -> float:
    """What selective recomputation keeps of a layer beside its input: attention's output and its
    log-sum-exp."""
    return how.product_bytes * model.queries + _FLOAT * model.heads


def below_layers(model: Architecture, how: Forward) -> float:
    """Per token, once for the whole model: ids and the rotation's cosines and sines, and the norm
    above the layers."""
    rotation = 2 * model.head_dim * how.hidden_bytes
    return _INDEX + rotation + _norm(model, how, model.hidden)


def kept(
    model: Architecture, how: Forward, *, row: Row, checkpointing: Checkpointing, layers: int
) -> float:
    """Bytes kept by the `layers` trained layers and what is around them."""
    whole = sum(layer(model, how, row=row).values())
    if checkpointing == "full":
        each = float(how.hidden_bytes * model.hidden)
    elif checkpointing == "selective":
        each = how.hidden_bytes * model.hidden + attention_output(model, how)
    else:
        each = whole
    total = layers * each + below_layers(model, how)
    if how.lora is not None and checkpointing == "none":
        total -= _first_layer_spares(model, how)
    return total * row.computed


def _first_layer_spares(model: Architecture, how: Forward) -> float:
    """What needs no gradient below the first adapters, because the embeddings are frozen: their
    ids, the first norm's input and the masks of dropout behind it."""
    assert how.lora is not None
    first = [m for m in model.targeted(how.lora.targets) if m.reads == "attention_norm"]
    masks = sum(_dropout_mask(how, matrix) for matrix in first)
    return _INDEX + _norm(model, how, model.hidden) + masks


def _dropout_mask(how: Forward, matrix: Matrix) -> float:
    """A byte for each number on a GPU; on a CPU the factor itself, in float32."""
    assert how.lora is not None
    if how.lora.dropout == 0:
        return 0.0
    return (1 if how.on_gpu else _FLOAT) * matrix.inputs


def _norm(model: Architecture, how: Forward, width: float, *, outer: int | None = None) -> float:
    """One norm over `width` numbers; the input is its float32 copy, or the float32 hidden states
    themselves. `outer` is the number format outside, that of the hidden states by default."""
    outer = how.hidden_bytes if outer is None else outer
    if how.fused:
        return outer * width + _FLOAT
    kind = model.family.norm
    if kind == "layer":
        inner = _FLOAT if how.autocast and how.on_gpu else outer
        return inner * width + 2 * _FLOAT
    normed = (outer if kind == "rms" else _FLOAT) * width if how.weights_are_trained else 0.0
    return _FLOAT * width + _FLOAT + normed


def _head_norms(model: Architecture, how: Forward) -> float:
    """Norms over each head of queries and keys: one root for each head."""
    width = model.queries + model.keys
    whole = _norm(model, how, width, outer=how.product_bytes)
    roots = model.heads + model.kv_heads - 1
    return whole + _FLOAT * roots * (2 if model.family.norm == "layer" else 1)


def _inputs(model: Architecture, how: Forward) -> float:
    """Inputs of trained matrices, where they are not kept already.

    Under autocast each matrix that reads float32 hidden states has a narrow copy of its own.
    """
    if how.fused:
        return 0.0
    total = 0.0
    seen: set[Reads] = set()
    for matrix in _matrices(model):
        copied = how.autocast and how.hidden_bytes > how.product_bytes
        if matrix.reads == "attention_output":
            # The kernel's own output, unless documents were joined to a new tensor.
            again = how.attention in ("loop", "documents") and not how.on_gpu
            total += how.product_bytes * matrix.inputs * again
        elif matrix.reads == "feed_middle":
            total += how.product_bytes * matrix.inputs
        elif model.family.norm == "layer" and how.autocast and how.on_gpu:
            # A layer norm returns float32 under CUDA's autocast: each reader narrows it for itself.
            total += how.product_bytes * matrix.inputs
        elif copied or matrix.reads not in seen:
            total += how.product_bytes * matrix.inputs
        seen.add(matrix.reads)
    return total


def _matrices(model: Architecture) -> tuple[Matrix, ...]:
    """Linear layers that a token passes, without those of experts, which are counted apart."""
    return model.linear_layers


def _attention(model: Architecture, how: Forward, *, row: Row) -> float:
    """Queries, keys, values, output and log-sum-exp, as the kernel keeps them.

    A mask makes SDPA repeat the keys to all heads and turn the mask into numbers, in each layer.
    """
    family, size = model.family, how.product_bytes
    wide = 2 * model.queries
    narrow = 2 * model.keys
    output = size * model.queries + _FLOAT * model.heads
    if family.softcap and how.attention in ("causal", "masked"):
        rows = model.heads * row.longest
        scores = (size + _FLOAT + (size if size < _FLOAT else 0)) * rows
        return size * (model.queries + wide + model.queries) + scores
    if family.wide_keys and model.kv_heads == 1:
        # One head of keys for all: no flash kernel takes it, and float32 scores are kept.
        pairs = wide if how.attention == "masked" else narrow
        scores = model.heads * row.longest
        return _FLOAT * (model.queries + pairs + scores) + size * model.queries
    if how.attention == "masked":
        pairs = wide if model.heads != model.kv_heads else narrow
        return size * (model.queries + pairs + row.longest) + output
    if family.joint_keys:
        # The values are a view of the joint tensor, which stays whole.
        return size * (model.queries + model.keys + model.queries + narrow) + output
    copied = row.gathered / max(1, row.computed) if row.gathered else 1.0
    mask = 0.0
    if how.attention == "loop" and row.gathered:
        # The second answer looks back at the prompt through a mask of its own.
        mask = size * row.longest / 2
    return size * (model.queries + narrow * copied) + output + mask


def _feed_forward(model: Architecture, how: Forward) -> float:
    """What the activation and the product with its gate keep."""
    family, size, inner = model.family, how.product_bytes, model.intermediate
    if model.experts > 1:
        return _experts(model, how)
    if how.fused:
        return size * inner * (2 if family.gated else 1)
    if family.python_gelu:
        return 4 * size * inner
    return size * inner * (3 if family.gated else 1)


def _experts(model: Architecture, how: Forward) -> float:
    """The same for each expert that a token passes, its gathered input and its weighted output,
    and the router's probabilities."""
    # Autocast does not reach the product of joined experts: float32 weights are multiplied as such.
    size, inner, active = how.hidden_bytes, model.intermediate, model.active_experts
    each = 3 * size * inner + size * model.hidden
    if how.weights_are_trained:
        each += size * inner + size * model.hidden
    router = 2 * _FLOAT * model.experts + active * (2 * _FLOAT + 2 * _INDEX)
    reads = size * model.hidden if how.weights_are_trained else 0
    return active * each + router + reads


def _adapter(model: Architecture, how: Forward) -> float:
    """What LoRA adds: of each targeted matrix the adapter's input and its inner result; dropout's
    mask; DoRA's two results, whose magnitudes are trained.

    Adapters are float32. Under autocast each narrows its input for itself; without it an input in
    bfloat16 is widened for each, and a float32 one is read as it is.
    """
    lora = how.lora
    assert lora is not None
    size = how.product_bytes if how.autocast else _FLOAT
    total = 0.0
    seen: set[Reads] = set()
    for matrix in model.targeted(lora.targets):
        own = how.autocast or how.hidden_bytes < _FLOAT or lora.dropout > 0
        is_output = matrix.reads == "attention_output"
        plain_output = is_output and (how.on_gpu or how.attention in ("causal", "masked"))
        if own or (matrix.reads not in seen and not plain_output):
            total += size * matrix.inputs
        total += _dropout_mask(how, matrix) + size * lora.rank
        if lora.dora:
            total += 2 * size * matrix.outputs
        seen.add(matrix.reads)
    return total


def head(model: Architecture, how: Forward, *, row: Row) -> float:
    """What the fused output head keeps: the labelled hidden states, and for each its target, its
    place and two float32 numbers."""
    return row.labelled * (how.hidden_bytes * model.hidden + 3 * _INDEX + 2 * _FLOAT)


def names(targets: str | Sequence[str]) -> tuple[str, ...] | None:
    """`adapter.target_modules` as `Lora.targets`."""
    return None if isinstance(targets, str) else tuple(targets)
