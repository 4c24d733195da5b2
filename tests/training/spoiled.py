"""Sound runs that were damaged in one place: a base, the prepared rows, or an adapter."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.training.conftest import build_run

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.store import Run

LORA: dict[str, Any] = {"adapter": {"type": "lora", "r": 4}}
FROM_BASE: dict[str, Any] = {"init_from": "base", "max_steps": 1}

Spoil = Callable[[Path], object]
"""Damages the folder it is given: a base, or the prepared data of a stage."""


@dataclass(frozen=True)
class Case:
    """A stage over a spoiled base and spoiled rows; `says` is part of the message."""

    name: str
    says: str
    stage: str = "sft"
    base: Spoil | None = None
    rows: Spoil | None = None
    sections: dict[str, Any] = field(default_factory=dict)
    code: int = 2


def rewrite(name: str, **changes: Any) -> Spoil:
    """Change keys of a JSON file; a value of None removes the key."""

    def spoil(folder: Path) -> None:
        path = folder / name
        values = json.loads(path.read_text()) | changes
        kept = {key: value for key, value in values.items() if value is not None}
        path.write_text(json.dumps(kept))

    return spoil


def config(**changes: Any) -> Spoil:
    return rewrite("config.json", **changes)


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Spoil:
    """Change the tensors of the only file of weights."""

    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return spoil


def with_nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    return tensors


def of_another_architecture(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.replace("self_attn", "attention"): weight for name, weight in tensors.items()}


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def gguf(folder: Path) -> None:
    emptied(folder)
    (folder / "model-q4.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")


def multimodal(folder: Path) -> None:
    settings = transformers.LlavaConfig().to_dict()
    (folder / "config.json").write_text(json.dumps(settings))


def gemma_with_vision(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(transformers.Gemma3Config().to_dict()))


def broken_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": [')


def sequence_to_sequence(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(transformers.T5Config().to_dict()))


def without_checkpointing(folder: Path) -> None:
    made = transformers.OpenAIGPTConfig(vocab_size=768, n_embd=16, n_layer=1, n_head=2)
    transformers.OpenAIGPTLMHeadModel(made).save_pretrained(folder)


def column(name: str, change: Callable[[list[list[int]]], list[list[int]]]) -> Spoil:
    """Change a column of the training split."""

    def spoil(folder: Path) -> None:
        path = folder / "train.parquet"
        table = pq.read_table(path)
        place = table.column_names.index(name)
        values = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
        pq.write_table(table.set_column(place, name, values), path)

    return spoil


def first(value: list[int]) -> Callable[[list[list[int]]], list[list[int]]]:
    """Put another value into the first row."""
    return lambda rows: [value, *rows[1:]]


def without_rows(folder: Path) -> None:
    path = folder / "train.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)


def without_preference(folder: Path) -> None:
    path = folder / "train.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("rejected_ids")
    pq.write_table(table.set_column(place, "rejected_ids", table["chosen_ids"]), path)


def lora_weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return spoil


def halved(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight[:, : weight.shape[1] // 2].clone() for name, weight in tensors.items()}


def without_layer(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in tensors.items() if ".layers.1." not in name}


def with_infinity(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    next(iter(tensors.values()))[0, 0] = float("inf")
    return tensors


def on_itself(folder: Path) -> None:
    copied = folder.parent / "below"
    shutil.copytree(folder, copied)
    rewrite("adapter_config.json", base_model_name_or_path=str(copied))(folder)


def spoiled(case: Case, root: Path, tiny_base: Path) -> tuple[Recipe, Run]:
    """The run of a case: prepared with the sound base, then damaged."""
    base = root / "base"
    shutil.copytree(tiny_base, base)
    sections = dict(case.sections)
    if case.rows is not None and case.stage == "dpo":
        sections["dpo"] = FROM_BASE
    model = sections.pop("model", {})
    recipe, run = build_run(root / "runs" / "t", base, **sections)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update=model)})
    if case.base is not None:
        case.base(base)
    if case.rows is not None:
        case.rows(run.stage("data").path / case.stage)
    return recipe, run
