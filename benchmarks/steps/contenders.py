"""Who races, and with which arguments?

A contender is `NAME[+compile][@PER_DEVICE_BATCH]`. Those of TRL are its own command line: the
arguments made here are parsed by TRL's parser and run by TRL's script. Ours is a run directory as
data preparation leaves it, trained by the stage's own worker.

What all of them get alike, so that they compute the same: rows, their shares among the optimizer
steps, learning rate, seed, adapter, longest row, logging of every step, no checkpoint.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Stage = Literal["dpo", "sft"]
LEARNING_RATE = 1e-4
"""Far above TRL's 1e-6, so that the losses move and can be compared; it costs no time."""
RANK, ALPHA = 16, 32
PER_DEVICE_BATCH = 8
NEVER = 1_000_000

OURS: dict[Stage, dict[str, dict[str, Any]]] = {
    "dpo": {
        "ours": {},
        "unpadded": {"prefix_sharing": False, "padding_free": True},
    },
    "sft": {
        "ours": {"packing": "none"},
        "ours-packed": {"packing": "bfd"},
    },
}
"""What our contenders set apart from the defaults of the product."""

TRL: dict[Stage, dict[str, list[str]]] = {
    "dpo": {
        "trl": [],
        "trl-best": ["--gradient_checkpointing", "False", "--precompute_ref_log_probs", "True"],
    },
    "sft": {
        "trl": [],
        "trl-best": ["--gradient_checkpointing", "False"],
        "trl-packed": ["--gradient_checkpointing", "False", "--packing", "True"],
    },
}
"""What TRL's contenders set apart from the defaults of its command line."""


@dataclass(frozen=True)
class Contender:
    """One side of a race."""

    label: str
    name: str
    compiled: bool
    per_device: int | None
    """Examples per forward pass; None: TRL's default of 8, and for ours what it decides itself."""

    @property
    def is_ours(self) -> bool:
        return not self.name.startswith("trl")

    @property
    def is_packed(self) -> bool:
        return self.name.endswith("-packed")

    @property
    def twin(self) -> str:
        """The one of ours that takes the same rows in the same steps."""
        return self.name if self.is_ours else "ours-packed" if self.is_packed else "ours"

    @property
    def is_sorted(self) -> bool:
        """Whether each step's rows come by length; `trl` takes them as they were drawn."""
        return self.name != "trl"


@dataclass(frozen=True)
class Course:
    """What all contenders of one race share."""

    stage: Stage
    base: str
    device: str
    adapter: str
    """`none` (all weights) or `lora`."""
    steps: int
    global_batch: int
    """Examples per optimizer step: pairs, or dialogues."""
    packed_batch: int
    """Rows of packed dialogues per optimizer step."""
    max_length: int
    max_prompt_length: int
    seed: int


def names(stage: Stage) -> list[str]:
    """All contenders of a stage, ours first."""
    return [*OURS[stage], *TRL[stage]]


def parse(label: str, stage: Stage) -> Contender:
    """ValueError for an unknown contender."""
    head, _, batch = label.partition("@")
    name, _, extra = head.partition("+")
    known = names(stage)
    if name not in known or extra not in ("", "compile") or (batch and not batch.isdigit()):
        raise ValueError(f"unknown contender '{label}'; known: {', '.join(known)}")
    return Contender(label, name, extra == "compile", int(batch) if batch else None)


def batch_of(who: Contender, course: Course) -> int:
    """Rows per optimizer step."""
    return course.packed_batch if who.is_packed else course.global_batch


def trl_arguments(who: Contender, course: Course, *, data: Path, output: Path) -> list[str]:
    """The command line after `trl dpo` or `trl sft`."""
    whole = batch_of(who, course)
    batch = who.per_device or min(PER_DEVICE_BATCH, whole)
    accumulation, rest = divmod(whole, batch)
    if rest:
        raise ValueError(f"{who.label}: {batch} examples do not divide a step of {whole}")
    arguments = {
        "model_name_or_path": course.base,
        "dataset_name": str(data),
        "output_dir": str(output),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "max_steps": course.steps,
        "max_length": course.max_length,
        "learning_rate": LEARNING_RATE,
        "seed": course.seed,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    line = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    if course.device == "cpu":
        line += ["--use_cpu", "True", "--bf16", "False"]
    else:
        line += ["--dtype", "bfloat16"]
    if course.adapter == "lora":
        line += ["--use_peft", "True", "--lora_r", str(RANK), "--lora_alpha", str(ALPHA)]
        line += ["--lora_dropout", "0.0", "--lora_target_modules", "all-linear"]
    if course.stage == "sft":
        # The rows come tokenized, and packed where packing is raced: the same for both sides.
        line += ["--dataset_kwargs", json.dumps({"skip_prepare_dataset": True})]
    return [
        *line,
        *TRL[course.stage][who.name],
        *(["--torch_compile", "True"] if who.compiled else []),
    ]


def recipe(who: Contender, course: Course, *, run: Path) -> dict[str, Any]:
    """The recipe of one of our contenders, or of the one whose steps a contender of TRL takes."""
    training: dict[str, Any] = {
        "learning_rate": LEARNING_RATE,
        "lr_scheduler": "linear",
        "warmup_ratio": 0.0,
        "max_steps": course.steps,
        "global_batch_size": batch_of(who, course),
        "max_length": course.max_length,
        "log_every": 1,
        "save_every": NEVER,
        "keep_checkpoints": 1,
        "sample_prompts": 0,
        **OURS[course.stage][who.twin],
    }
    if who.per_device is not None:
        training["micro_batch_size"] = who.per_device
    if who.compiled:
        training["compile"] = True
    if course.adapter == "lora":
        adapter = {"type": "lora", "r": RANK, "alpha": ALPHA, "dropout": 0.0}
        training["adapter"] = adapter
    if course.stage == "dpo":
        training |= {
            "init_from": "base",
            "beta": 0.1,
            "max_prompt_length": course.max_prompt_length,
        }
    else:
        training["loss_on"] = "all"
    return {
        "name": run.name,
        "output_root": str(run.parent),
        "seed": course.seed,
        "model": {"base": course.base},
        course.stage: training,
        "launch": {"gpus": "none" if course.device == "cpu" else "all"},
    }
