"""How many weights has a model, and where do they sit?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from zephyrctl.errors import DataError
from zephyrctl.models.weight_files import count_weights
from zephyrctl.planning import families
from zephyrctl.planning.families import LLAMA, Family

Reads = Literal["attention_norm", "attention_output", "feed_norm", "feed_middle"]


@dataclass(frozen=True)
class Matrix:
    """One linear layer of a decoder layer, and which tensor it reads."""

    name: str
    inputs: int
    outputs: int
    reads: Reads
    bias: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the matrix."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder. `exact` is the count read from a checkpoint, where there is one; the
    formula's otherwise."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    experts: int = 1
    active_experts: int = 1
    exact: int | None = None
    family: Family = LLAMA

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all key heads together; that of the values is the same."""
        return self.kv_heads * self.head_dim

    @property
    def attention_matrices(self) -> tuple[Matrix, ...]:
        """One layer's linear layers around attention."""
        family = self.family
        sizes = [self.queries, self.keys, self.keys]
        if len(family.queries) == 1:
            sizes = [sum(sizes)]
        into = [
            Matrix(name, self.hidden, size, "attention_norm", family.query_bias)
            for name, size in zip(family.queries, sizes, strict=True)
        ]
        out = Matrix(
            family.output, self.queries, self.hidden, "attention_output", family.output_bias
        )
        return (*into, out)

    @property
    def feed_matrices(self) -> tuple[Matrix, ...]:
        """The linear layers of one feed-forward block, or of one expert."""
        family = self.family
        width = self.intermediate * (2 if family.gated and len(family.gate) == 1 else 1)
        reads: Reads = "feed_norm"
        if family.parallel and family.norms == 1:
            reads = "attention_norm"
        into = [Matrix(name, self.hidden, width, reads, family.feed_bias) for name in family.gate]
        down = Matrix(family.down, self.intermediate, self.hidden, "feed_middle", family.feed_bias)
        return (*into, down)

    @property
    def linear_layers(self) -> tuple[Matrix, ...]:
        """What an adapter or 4-bit loading reaches in a layer: transformers 5 keeps experts in one
        tensor each, which is no linear layer, and the router neither."""
        return self.attention_matrices + (() if self.experts > 1 else self.feed_matrices)

    @property
    def attention_weights(self) -> int:
        """Weights of one layer's attention projections."""
        return sum(matrix.weights for matrix in self.attention_matrices)

    @property
    def expert_weights(self) -> int:
        """Weights of one feed-forward block."""
        return sum(matrix.weights for matrix in self.feed_matrices)

    @property
    def router_weights(self) -> int:
        """Weights of one layer's expert router; none without experts."""
        return self.hidden * self.experts if self.experts > 1 else 0

    @property
    def norm_weights(self) -> int:
        """Weights of one norm over hidden states."""
        return self.hidden * (2 if self.family.norm == "layer" else 1)

    @property
    def layer_parameters(self) -> int:
        """All weights of one decoder layer, norms and biases included."""
        family = self.family
        matrices = (*self.attention_matrices, *self.feed_matrices * self.experts)
        biases = sum(matrix.outputs for matrix in matrices if matrix.bias)
        norms = family.norms * self.norm_weights
        if family.head_norms:
            norms += 2 * self.head_dim * (2 if family.norm == "layer" else 1)
        return sum(matrix.weights for matrix in matrices) + self.router_weights + biases + norms

    @property
    def embedding(self) -> int:
        """Weights of the token embedding; the output head has as many unless it is tied."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        if self.exact is not None:
            return self.exact
        tables = self.embedding * (1 if self.tied else 2)
        head_bias = self.vocabulary if self.family.head_bias else 0
        return tables + head_bias + self.layers * self.layer_parameters + self.norm_weights

    @property
    def layer_matmul(self) -> int:
        """Weights that one token is multiplied with in all layers together."""
        active = self.active_experts * self.expert_weights
        return self.layers * (self.attention_weights + active + self.router_weights)

    @property
    def matmul(self) -> int:
        """Weights that one token is multiplied with, the output head included."""
        return self.layer_matmul + self.embedding

    @property
    def layer_matrices(self) -> int:
        """Weights in the matrices of all layers, every expert counted."""
        each = self.attention_weights + self.experts * self.expert_weights + self.router_weights
        return self.layers * each

    @property
    def largest_matrix(self) -> int:
        """Weights of the largest single tensor in a layer; experts are one tensor per matrix."""
        widest = max(matrix.weights for matrix in self.feed_matrices)
        if self.experts > 1:  # gate and up are joined
            return 2 * self.hidden * self.intermediate * self.experts
        return max(widest, *(matrix.weights for matrix in self.attention_matrices))

    @property
    def quantized(self) -> int:
        """Weights that 4-bit loading quantizes: every linear layer but the output head."""
        return self.layers * sum(matrix.weights for matrix in self.linear_layers)

    def targeted(self, names: Sequence[str] | None) -> tuple[Matrix, ...]:
        """The linear layers of a decoder layer that get an adapter: the named ones, or all."""
        return tuple(m for m in self.linear_layers if names is None or m.name in names)

    def adapter(
        self, rank: int, *, targets: Sequence[str] | None = None, dora: bool = False
    ) -> int:
        """Weights of a LoRA adapter on all linear layers, or on those named: rank * (inputs +
        outputs) of each; DoRA adds a magnitude for each output."""
        each = sum(
            rank * (matrix.inputs + matrix.outputs) + (matrix.outputs if dora else 0)
            for matrix in self.targeted(targets)
        )
        return self.layers * each


KNOWN: dict[str, Architecture] = {
    "mistralai/mistral-7b-v0.1": Architecture(4096, 32, 32, 8, 128, 14336, 32000, False),
    "meta-llama/meta-llama-3-8b": Architecture(4096, 32, 32, 8, 128, 14336, 128256, False),
    "mistralai/mixtral-8x7b-v0.1": Architecture(
        4096, 32, 32, 8, 128, 14336, 32000, False, experts=8, active_experts=2
    ),
    "huggingfacetb/smollm2-135m": Architecture(576, 30, 9, 3, 64, 1536, 49152, True),
    "huggingfacetb/smollm2-360m": Architecture(960, 32, 15, 5, 64, 2560, 49152, True),
    "huggingfacetb/smollm2-1.7b": Architecture(2048, 24, 32, 32, 64, 8192, 49152, True),
    "tiny": Architecture(128, 3, 4, 2, 32, 384, 600, False),
}
"""Sizes of the packaged recipes' base models, from their published config.json, by lower-case id.

`tiny`'s vocabulary is what its tokenizer finds in its text; 600 is within a few per cent.
"""

_SAME_SIZES = {
    "smollm2-135m-instruct": "huggingfacetb/smollm2-135m",
    "huggingfacetb/smollm2-135m-instruct": "huggingfacetb/smollm2-135m",
    "huggingfacetb/smollm2-360m-instruct": "huggingfacetb/smollm2-360m",
    "huggingfacetb/smollm2-1.7b-instruct": "huggingfacetb/smollm2-1.7b",
    "mistralai/mistral-7b-v0.3": "mistralai/mistral-7b-v0.1",  # 768 more tokens: 0.1 %
    "meta-llama/llama-3.1-8b": "meta-llama/meta-llama-3-8b",
    "meta-llama/meta-llama-3-8b-instruct": "meta-llama/meta-llama-3-8b",
    "huggingfaceh4/mistral-7b-sft-beta": "mistralai/mistral-7b-v0.1",
    "alignment-handbook/zephyr-7b-sft-full": "mistralai/mistral-7b-v0.1",
    "huggingfaceh4/zephyr-7b-beta": "mistralai/mistral-7b-v0.1",
}


def find(base: str, *, folder: Path | None) -> Architecture | None:
    """The sizes of `base`: from its folder where it is on this disk, else from the table.

    None where neither knows, or where the folder's model is of another build (state-space layers,
    encoders).
    """
    if folder is not None and (folder / "config.json").is_file():
        found = of_config(_read_config(folder / "config.json"))
        return replace(found, exact=count_weights(folder)) if found else None
    name = base.lower()
    return KNOWN.get(_SAME_SIZES.get(name, name))


def _read_config(path: Path) -> dict[str, Any]:
    """A model's configuration; DataError for one that cannot be read, or that sees or hears."""
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the model's config.json cannot be read: {error}",
            where=str(path),
            hint="copy or download the model again",
        ) from error
    if not isinstance(config, dict):
        raise DataError("the model's config.json is not a mapping", where=str(path))
    if "vision_config" in config or "audio_config" in config:
        raise DataError(
            f"the base is a multimodal model ({config.get('model_type')}); only text is trained "
            "here",
            where=str(path),
            hint="--set model.base=FOLDER   (or a Hub id, of a language model)",
        )
    return config


def of_config(config: Mapping[str, Any]) -> Architecture | None:
    """The sizes in a `config.json`; None where the keys of a decoder are not all there."""
    inner = families.inner_size(config)
    wanted = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    if inner is None or not all(isinstance(config.get(key), int) for key in wanted):
        return None
    family = families.family_of(config)
    heads = config["num_attention_heads"]
    experts, active = families.experts_of(config)
    return Architecture(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=families.key_value_heads(config, heads),
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate=inner,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", family.tied)),
        experts=experts,
        active_experts=active,
        family=family,
    )
