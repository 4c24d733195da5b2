"""How many weights has a model, and where do they sit?"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder of the Llama family (Llama, Mistral, Mixtral, Qwen, SmolLM, …).

    `exact` is the count read from a checkpoint, where there is one; the formula's otherwise.
    """

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

    @property
    def attention_weights(self) -> int:
        """Weights of one layer's four attention projections."""
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def expert_weights(self) -> int:
        """Weights of one feed-forward block: gate, up, down."""
        return 3 * self.hidden * self.intermediate

    @property
    def router_weights(self) -> int:
        """Weights of one layer's expert router; none without experts."""
        return self.hidden * self.experts if self.experts > 1 else 0

    @property
    def layer_parameters(self) -> int:
        """All weights of one decoder layer, norms included."""
        experts = self.experts * self.expert_weights
        return self.attention_weights + experts + self.router_weights + 2 * self.hidden

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
        return tables + self.layers * self.layer_parameters + self.hidden

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
    def quantized(self) -> int:
        """Weights that 4-bit loading quantizes: every linear layer but the output head."""
        per_layer = self.attention_weights + self.experts * self.expert_weights
        return self.layers * (per_layer + self.router_weights)

    def adapter(self, rank: int, *, targets: int | None = None) -> int:
        """Weights of a LoRA adapter on all linear layers, or on `targets` projections of equal
        mean size: rank * (inputs + outputs) for each matrix."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * (self.hidden + queries) + 2 * (self.hidden + keys)
        feed_forward = 3 * self.experts * (self.hidden + self.intermediate)
        router = self.hidden + self.experts if self.experts > 1 else 0
        whole = self.layers * rank * (attention + feed_forward + router)
        return whole if targets is None else round(whole * min(1.0, targets / 7))


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

    None where neither knows, or where the folder's model is of another family.
    """
    if folder is not None and (folder / "config.json").is_file():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = of_config(config)
        return replace(found, exact=count_weights(folder)) if found else None
    name = base.lower()
    return KNOWN.get(_SAME_SIZES.get(name, name))


def of_config(config: Mapping[str, Any]) -> Architecture | None:
    """The sizes in a `config.json`; None where it does not use the Llama family's keys."""
    wanted = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    if not all(isinstance(config.get(key), int) for key in (*wanted, "vocab_size")):
        return None
    heads = config["num_attention_heads"]
    experts = config.get("num_local_experts") or 1
    return Architecture(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        experts=experts,
        active_experts=config.get("num_experts_per_tok") or 1,
    )


def count_weights(folder: Path) -> int | None:
    """Weights in a folder's safetensors files, read from their headers; None without any."""
    files = sorted(folder.glob("model*.safetensors"))
    counts = [_count_header(path) for path in files]
    return sum(counts) if counts else None


def _count_header(path: Path) -> int:
    """Sum of the sizes in one safetensors header (8 bytes length, then JSON)."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return sum(math.prod(item["shape"]) for key, item in header.items() if key != "__metadata__")
