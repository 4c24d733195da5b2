"""How does a model reach a GGUF file, one tensor at a time?

The header, all keys and the table of tensors come first; then each tensor is rounded and written
by itself. Beside the model itself, only one tensor at a time is held, in its old and new format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gguf
import numpy as np
import torch

from zephyrctl.errors import JobFailed
from zephyrctl.publishing.chains import Summed
from zephyrctl.publishing.gguf.architecture import (
    ROPE_FACTORS,
    Architecture,
    in_file_order,
    places,
    rope_factors,
)
from zephyrctl.publishing.gguf.vocabulary import Vocabulary

FileType = Literal["f16", "q8_0", "f32", "bf16"]

_KINDS = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


@dataclass(frozen=True)
class About:
    """What the file says of itself beside the numbers. `licence` is an SPDX name or "unknown"."""

    name: str
    licence: str
    stage: str | None
    template: str


@dataclass(frozen=True)
class Planned:
    """A tensor that is to be written: its name here and there, and its number format."""

    name: str
    place: str
    kind: gguf.GGMLQuantizationType


def write_file(
    path: Path,
    summed: Summed,
    *,
    architecture: Architecture,
    vocabulary: Vocabulary,
    about: About,
    file_type: FileType,
) -> tuple[str, ...]:
    """Write a model to `path`; returns what a reader of the file has to be told.

    JobFailed where a weight is too large for the number format.
    """
    model = summed.model
    weights: dict[str, torch.Tensor] = dict(model.named_parameters())
    writer = gguf.GGUFWriter(path, architecture.family.name)
    _write_about(writer, about, parameters=sum(weight.numel() for weight in weights.values()))
    _write_architecture(writer, architecture, vocabulary, file_type)
    _write_vocabulary(writer, vocabulary, about.template)
    planned = _plan(weights, places(model, architecture), file_type)
    factors = rope_factors(model, architecture)
    if factors is not None:
        kind = gguf.GGMLQuantizationType.F32
        writer.add_tensor_info(
            ROPE_FACTORS, factors.shape, np.dtype(np.float32), 4 * factors.numel(), raw_dtype=kind
        )
    for one in planned:
        _announce(writer, one, tuple(weights[one.name].shape))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            _put(writer, factors.numpy())
        for array in _arrays(planned, summed, architecture):
            _put(writer, array)
        writer.flush()
    finally:
        writer.close()
    wanted, _ = _KINDS[file_type]
    kept = [one.place for one in planned if one.kind != wanted and weights[one.name].dim() > 1]
    return (
        (f"{len(kept)} tensors stay in f16: their rows are no multiple of 32 ({kept[0]}, …)",)
        if kept
        else ()
    )


def _plan(
    weights: Mapping[str, torch.Tensor], names: Mapping[str, str], file_type: FileType
) -> list[Planned]:
    return [
        Planned(name, place, _kind_of(weights[name], file_type)) for name, place in names.items()
    ]


def _kind_of(weight: torch.Tensor, file_type: FileType) -> gguf.GGMLQuantizationType:
    """Norms and biases stay in float32, as llama.cpp expects; q8_0 rounds blocks of 32 in a row."""
    if weight.dim() == 1:
        return gguf.GGMLQuantizationType.F32
    kind, _ = _KINDS[file_type]
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    return kind if weight.shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16


def rounded(weight: torch.Tensor, file_type: FileType) -> torch.Tensor:
    """A weight in float32 with the values that a file of this type holds of it."""
    kind = _kind_of(weight, file_type)
    stored = gguf.quants.quantize(weight.cpu().numpy(), kind)
    return torch.from_numpy(gguf.quants.dequantize(stored, kind).copy())


def _announce(writer: gguf.GGUFWriter, planned: Planned, shape: tuple[int, ...]) -> None:
    block, size = gguf.GGML_QUANT_SIZES[planned.kind]
    in_bytes = (*shape[:-1], shape[-1] // block * size)
    plain = {gguf.GGMLQuantizationType.F32: np.float32, gguf.GGMLQuantizationType.F16: np.float16}
    if planned.kind in plain:
        number_format, as_stored = np.dtype(plain[planned.kind]), shape
    else:
        number_format, as_stored = np.dtype(np.uint8), in_bytes
    count = int(np.prod(in_bytes, dtype=np.int64))
    writer.add_tensor_info(planned.place, as_stored, number_format, count, raw_dtype=planned.kind)


def _arrays(
    planned: list[Planned], summed: Summed, architecture: Architecture
) -> Iterator[np.ndarray]:
    for one in planned:
        weight = in_file_order(one.name, summed.weight(one.name), architecture)
        if one.kind == gguf.GGMLQuantizationType.F16 and weight.abs().max() > _LARGEST_HALF:
            raise JobFailed(
                f"{one.name} has a weight of {float(weight.abs().max()):.3g}, "
                f"more than float16 holds",
                hint="--type bf16",
            )
        yield np.ascontiguousarray(gguf.quants.quantize(weight.numpy(), one.kind))


def _put(writer: gguf.GGUFWriter, array: np.ndarray) -> None:
    """Write the next tensor. The writer's own way, `tofile`, hides what the disk said."""
    assert writer.fout is not None
    file = writer.fout[0]
    writer.write_padding(file, file.tell())
    file.write(array.data.cast("B"))
    writer.write_padding(file, array.nbytes)


_LARGEST_HALF = float(np.finfo(np.float16).max)


def _write_about(writer: gguf.GGUFWriter, about: About, *, parameters: int) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(about.name)
    writer.add_license(about.licence)
    if about.stage is not None:
        writer.add_finetune(about.stage)
    writer.add_size_label(gguf.size_label(parameters, parameters, 0, 0))
    writer.add_tags(["zephyrctl", "text-generation"])


def _write_architecture(
    writer: gguf.GGUFWriter,
    architecture: Architecture,
    vocabulary: Vocabulary,
    file_type: FileType,
) -> None:
    writer.add_block_count(architecture.layers)
    writer.add_context_length(architecture.context)
    writer.add_embedding_length(architecture.width)
    writer.add_feed_forward_length(architecture.inner)
    writer.add_head_count(architecture.heads)
    writer.add_head_count_kv(architecture.kv_heads)
    writer.add_key_length(architecture.head)
    writer.add_value_length(architecture.head)
    writer.add_rope_dimension_count(architecture.head)
    writer.add_rope_freq_base(architecture.theta)
    writer.add_layer_norm_rms_eps(architecture.epsilon)
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_file_type(_KINDS[file_type][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _write_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary, template: str) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    if vocabulary.scores is not None:
        writer.add_token_scores(list(vocabulary.scores))
    if vocabulary.merges is not None:
        writer.add_token_merges(list(vocabulary.merges))
    for kind, token in vocabulary.special.items():
        getattr(writer, f"add_{kind}_token_id")(token)
    # The chat template writes BOS itself where there is one, so no program may add another.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if vocabulary.space_before is not None:
        writer.add_add_space_prefix(vocabulary.space_before)
    writer.add_chat_template(template)
