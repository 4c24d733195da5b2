"""Which file of ours does the same as one of alignment-handbook or TRL?

Read are the handbook's YAMLs of both eras (`dataset_mixer` until mid-2025, `dataset_mixture`
since) and files for `trl sft` and `trl dpo`. What such a file leaves out is TRL's default and is
written down, because ours differ. Every key without a counterpart is named, none is dropped
silently.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl.config import messages
from zephyrctl.config.convert_data import read_sources
from zephyrctl.config.explain import inline
from zephyrctl.config.renamed import DPO_KEYS, SFT_KEYS, STAGE_KEYS
from zephyrctl.config.trainer_args import FIELDS, OWNED, REFUSED, Stage
from zephyrctl.config.yaml import Document, KeyPath, read_file
from zephyrctl.errors import ConfigError, UsageError

_OUR_SECTIONS = {"model", "data", "sft", "dpo", "eval", "chat", "launch", "track"}

# What TRL 1.16 does where its file is silent; our defaults are the Zephyr recipe's.
_TRL_DEFAULTS: dict[Stage, dict[str, Any]] = {
    "sft": {
        "learning_rate": 2e-5,
        "lr_scheduler": "linear",
        "warmup_ratio": 0.0,
        "epochs": 3.0,
        "max_length": 1024,
        "loss_on": "all",
    },
    "dpo": {
        "learning_rate": 1e-6,
        "lr_scheduler": "linear",
        "warmup_ratio": 0.0,
        "epochs": 3.0,
        "max_length": 1024,
        "beta": 0.1,
    },
}
_TRL_MICRO_BATCH = 8

_OPTIMIZERS = {
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_hf": "adamw",
    "adamw_bnb_8bit": "adamw_8bit",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_32bit": "paged_adamw_32bit",
    "rmsprop": "rmsprop",
}
_DPO_SIGNS = {"beta", "max_prompt_length", "precompute_ref_log_probs", "rpo_alpha", "ref_model"}
_SFT_SIGNS = {"max_seq_length", "packing", "dataset_text_field", "assistant_only_loss"}
_TRACKERS = ("wandb", "trackio", "tensorboard")

# Old key -> why nothing is written for it. The first group is what we always do.
_NOT_NEEDED = {
    "do_train": "a stage always trains",
    "do_eval": "the held-out split is always evaluated at the end",
    "logging_strategy": "log_every counts steps",
    "overwrite_output_dir": "finished stages are kept; --force redoes one",
    "remove_unused_columns": "only the prepared columns are read",
    "log_level": "worker logs hold everything",
}
_NO_COUNTERPART = {
    "push_to_hub": "publishing is a command: zephyrctl export hub",
    "hub_model_id": "publishing is a command: zephyrctl export hub",
    "hub_strategy": "publishing is a command: zephyrctl export hub",
    "hub_private_repo": "publishing is a command: zephyrctl export hub",
    "hub_model_revision": "publishing is a command: zephyrctl export hub",
    "hub_token": "a secret never stands in a file; set HF_TOKEN",
    "trust_remote_code": "code of a model repository is never run",
    "load_in_8bit": "only 4-bit quantization is there",
    "per_device_eval_batch_size": "evaluation uses micro_batch_size",
    "resume_from_checkpoint": "a stage goes on from its own newest checkpoint",
    "truncation_mode": "prompts are cut from the left, completions from the right",
    "gradient_checkpointing_kwargs": "the kind of checkpointing is chosen by the stage",
}


@dataclass
class Draft:
    """What has been converted so far.

    `places` maps a path of ours to the place of the old key, for messages about its value.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, dotted: str, value: Any, where: str) -> None:
        path = tuple(dotted.split("."))
        target = self.values
        for part in path[:-1]:
            target = target.setdefault(part, {})
        target[path[-1]] = value
        self.places[path] = where

    def has(self, dotted: str) -> bool:
        target: Any = self.values
        for part in dotted.split("."):
            if not isinstance(target, dict) or part not in target:
                return False
            target = target[part]
        return True


@dataclass(frozen=True)
class Converted:
    """The new file's text, and what people must know about it, one line each."""

    text: str
    notes: list[str]


def convert_files(
    files: Sequence[Path], *, stage: Stage | None = None, gpus: int | None = None
) -> Converted:
    """One file of ours for one or several of theirs; ConfigError where a value cannot be used.

    `gpus` is the number of GPUs the files were written for; they do not say it, and the global
    batch size depends on it.
    """
    draft = Draft()
    stages: list[Stage] = []
    for path in files:
        document = read_file(path, label=str(path))
        found = stage or detect_stage(document, label=str(path))
        if found in stages:
            raise UsageError(
                f"two files train {found}", where=str(path), hint="convert one of them"
            )
        stages.append(found)
        _File(document, found, str(path), draft, gpus).convert()
    _join_stages(draft, stages)
    _, problems = messages.validate(draft.values, place=_place_finder(draft))
    if problems:
        raise ConfigError.of(problems)
    return Converted(_render(draft.values, [path.name for path in files]), draft.notes)


def detect_stage(document: Document, *, label: str) -> Stage:
    """Which stage a file is about; UsageError where its keys do not tell."""
    keys = set(document.values)
    if keys & _OUR_SECTIONS:
        raise UsageError(
            "this is a zephyrctl configuration already",
            where=label,
            hint=f"zephyrctl config check -c {label}",
        )
    text = inline([document.values.get(key) for key in ("dataset_splits", "dataset_mixture")])
    if keys & _DPO_SIGNS or "prefs" in text or "rejected" in text:
        return "dpo"
    if keys & _SFT_SIGNS or "sft" in text or "messages" in text:
        return "sft"
    raise UsageError(
        "the keys do not tell whether this file is for SFT or for DPO",
        where=label,
        hint=f"zephyrctl config convert {label} --stage sft",
    )


class _File:
    """One file on its way into the draft; every key is taken by exactly one rule."""

    def __init__(
        self, document: Document, stage: Stage, label: str, draft: Draft, gpus: int | None
    ) -> None:
        self.old = document.values
        self.stage: Stage = stage
        self._places = document.places
        self._label = label
        self._draft = draft
        self._gpus = gpus
        self._taken: set[str] = set()

    def convert(self) -> None:
        self._model()
        self._adapter()
        self._batches()
        self._schedule()
        self._evaluation()
        self._losses()
        self._run()
        taken, notes = read_sources(
            self.old, stage=self.stage, put=lambda key, value, old: self._put(key, value, old)
        )
        self._taken |= taken
        for note in notes:
            self._note(note)
        self._renamed()
        self._rest()
        self._defaults()

    def _take(self, name: str) -> Any:
        self._taken.add(name)
        return self.old.get(name)

    def _where(self, name: str) -> str:
        return self._places.get((name,), self._label)

    def _put(self, dotted: str, value: Any, old: str) -> None:
        self._draft.put(dotted, value, self._where(old))

    def _note(self, text: str) -> None:
        self._draft.notes.append(f"{self._label}: {text}")

    def _model(self) -> None:
        base = self._take("model_name_or_path")
        if base is not None and not self._draft.has("model.base"):
            self._put("model.base", base, "model_name_or_path")
            if self.stage == "dpo":
                self._put("dpo.init_from", "base", "model_name_or_path")
        elif base is not None:
            self._note(f"model_name_or_path {base}: DPO starts from this run's SFT model")
        revision = self._take("model_revision")
        if revision not in (None, "main") and not self._draft.has("model.revision"):
            self._put("model.revision", revision, "model_revision")
        self._dtype()
        attention = self._take("attn_implementation")
        if self._take("use_flash_attention_2") is True:
            attention = "flash_attention_2"
        if attention is not None:
            self._put("model.attention", attention, "attn_implementation")
        for name in ("chat_template", "chat_template_path"):
            self._template(name, self._take(name))
        if self._take("load_in_4bit") is True:
            self._put("model.load_in_4bit", True, "load_in_4bit")

    def _dtype(self) -> None:
        written = self._take("torch_dtype") or self._take("dtype")
        self._taken |= {"dtype", "bf16", "fp16"}
        mixed = "bfloat16" if self.old.get("bf16") is True else None
        mixed = "float16" if self.old.get("fp16") is True else mixed
        if self.old.get("use_peft") is not True:
            # Whole weights are trained in float32, which `bf16: true` means there too.
            if written in ("bfloat16", "float16"):
                self._note(f"torch_dtype {written}: trained weights are float32 (model.dtype auto)")
            return
        if mixed and written not in (None, "auto", mixed):
            self._note(f"torch_dtype {written} with {mixed} arithmetic: model.dtype is {mixed}")
        if mixed or written:
            self._put("model.dtype", mixed or written, "torch_dtype")

    def _template(self, name: str, given: Any) -> None:
        if given is None:
            return
        text = str(given)
        if "<|user|>" in text and "<|assistant|>" in text and "<|system|>" in text:
            self._put("model.chat_template", "zephyr", name)
            self._note(f"{name}: ours of the same form is used (with BOS and the system block)")
        elif text.endswith(".jinja"):
            self._put("model.chat_template", text, name)
        else:
            self._note(
                f"no counterpart: {name} holds a template; "
                "save it as FILE.jinja and set model.chat_template: ./FILE.jinja"
            )

    def _adapter(self) -> None:
        wanted = self._take("use_peft") is True
        dora = self._take("use_dora") is True
        names = {"lora_r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout"}
        target = self._take("lora_target_modules")
        values = {ours: self._take(old) for old, ours in names.items()}
        if not wanted:
            return
        prefix = f"{self.stage}.adapter"
        self._put(f"{prefix}.type", "dora" if dora else "lora", "use_peft")
        for old, ours in names.items():
            if values[ours] is not None:
                self._put(f"{prefix}.{ours}", values[ours], old)
        if target is not None:
            self._put(f"{prefix}.target_modules", target, "lora_target_modules")

    def _batches(self) -> None:
        micro = self._take("per_device_train_batch_size")
        accumulation = self._take("gradient_accumulation_steps")
        processes = self._take("num_processes")
        micro = _TRL_MICRO_BATCH if micro is None else micro
        accumulation = 1 if accumulation is None else accumulation
        gpus = self._gpus or processes or 1
        if not all(isinstance(item, int) and item > 0 for item in (micro, accumulation, gpus)):
            raise ConfigError(
                "batch size, accumulation and processes must be whole numbers above 0",
                where=self._where("per_device_train_batch_size"),
            )
        whole = micro * accumulation * gpus
        self._put(f"{self.stage}.global_batch_size", whole, "per_device_train_batch_size")
        hint = "" if self._gpus or processes else "; --gpus N says how many it was written for"
        self._note(
            f"{self.stage}.global_batch_size is {whole} = {micro} × {accumulation} × "
            f"{gpus} GPU{'s' if gpus > 1 else ''}{hint}"
        )

    def _schedule(self) -> None:
        steps = self._take("max_steps")
        if steps is not None and steps != -1:
            self._put(f"{self.stage}.max_steps", steps, "max_steps")
        warmup = self._take("warmup_steps")
        if isinstance(warmup, int | float) and warmup:
            whole = steps if isinstance(steps, int) and steps > 0 else None
            if warmup < 1 or whole:
                ratio = warmup / whole if whole and warmup >= 1 else warmup
                self._put(f"{self.stage}.warmup_ratio", float(ratio), "warmup_steps")
            else:
                self._note(f"no counterpart: warmup_steps {warmup}; set {self.stage}.warmup_ratio")
        optimizer = self._take("optim")
        if optimizer in _OPTIMIZERS:
            self._put(f"{self.stage}.optimizer", _OPTIMIZERS[optimizer], "optim")
        elif optimizer is not None:
            self._note(f"no counterpart: optim {optimizer}; {self.stage}.optimizer is adamw")

    def _evaluation(self) -> None:
        name = "eval_strategy" if "eval_strategy" in self.old else "evaluation_strategy"
        strategy = self._take(name)
        if strategy not in (None, "steps"):
            self._note(f"{name} {strategy}: the held-out split is evaluated at the end")
        steps = self._take("eval_steps")
        if steps is not None and strategy in (None, "steps"):
            self._put(f"{self.stage}.eval_every", steps, "eval_steps")
        if self._take("save_strategy") in ("no", "epoch"):
            self._note("no counterpart: save_strategy; checkpoints are always kept by steps")
            self._taken.add("save_steps")

    def _losses(self) -> None:
        if self.stage == "sft":
            packed = self._take("packing")
            strategy = self._take("packing_strategy")
            # The handbook's script of the dataset_mixer era packed always; its YAML never said so.
            if packed is None and "dataset_mixer" in self.old:
                self._put("sft.packing", "wrapped", "dataset_mixer")
                self._note("sft.packing is wrapped: the handbook's script packed until mid-2025")
            elif packed is True:
                self._put("sft.packing", "wrapped" if strategy == "wrapped" else "bfd", "packing")
            only = [self._take("assistant_only_loss"), self._take("completion_only_loss")]
            if True in only:
                self._put("sft.loss_on", "assistant", "assistant_only_loss")
            return
        precompute = self._take("precompute_ref_log_probs")
        if precompute is not None:
            value = "precompute" if precompute is True else "copy"
            self._put("dpo.reference", value, "precompute_ref_log_probs")

    def _run(self) -> None:
        folder = self._take("output_dir")
        if isinstance(folder, str) and not self._draft.has("name"):
            path = Path(folder)
            self._put("name", path.name, "output_dir")
            self._put("output_root", str(path.parent), "output_dir")
        elif folder is not None:
            self._note(f"output_dir {folder}: both stages are in one run")
        run_name = self._take("run_name")
        if run_name is not None:
            self._note(f"run_name {run_name}: the run is called {self._draft.values.get('name')}")
        for name in ("seed", "data_seed"):
            seed = self._take(name)
            if seed is not None and not self._draft.has("seed"):
                self._put("seed", seed, name)
        workers = self._take("dataset_num_proc") or self._take("preprocessing_num_workers")
        self._taken.add("preprocessing_num_workers")
        if workers is not None:
            self._put("data.processes", workers, "dataset_num_proc")
        trackers = self._take("report_to")
        listed = trackers if isinstance(trackers, list) else [trackers] if trackers else []
        known = [name for name in listed if name in _TRACKERS]
        if known:
            self._put("track.to", known, "report_to")
        for name in listed:
            if name not in (*_TRACKERS, "none"):
                self._note(f"no counterpart: report_to {name}")

    def _renamed(self) -> None:
        keys = STAGE_KEYS | (SFT_KEYS if self.stage == "sft" else DPO_KEYS)
        for name in self.old:
            if name in keys and name not in self._taken:
                value = self._take(name)
                if value is not None:
                    self._put(f"{self.stage}.{keys[name]}", value, name)

    def _rest(self) -> None:
        unneeded = [name for name in self.old if name in _NOT_NEEDED and name not in self._taken]
        if unneeded:
            reasons = [f"{name} ({_NOT_NEEDED[name]})" for name in unneeded]
            self._note(f"not needed: {', '.join(reasons)}")
        for name in self.old:
            if name in self._taken or name in _NOT_NEEDED:
                continue
            value = self.old[name]
            reason = _NO_COUNTERPART.get(name) or REFUSED.get(name)
            owner = OWNED[self.stage].get(name)
            if reason is None and owner is None and name in FIELDS[self.stage]:
                self._put(f"{self.stage}.trainer_args.{name}", value, name)
            else:
                why = reason or (f"decided by {owner}" if owner else "nothing here does this")
                self._note(f"no counterpart: {name} ({why})")

    def _defaults(self) -> None:
        filled = []
        for name, value in _TRL_DEFAULTS[self.stage].items():
            if not self._draft.has(f"{self.stage}.{name}"):
                self._put(f"{self.stage}.{name}", value, name)
                filled.append(f"{name} {inline(value)}")
        if filled:
            self._note(f"TRL's defaults written down for {self.stage}: {', '.join(filled)}")
        if self.stage == "dpo" and not self._draft.has("dpo.max_prompt_length"):
            length = self._draft.values["dpo"]["max_length"]
            if isinstance(length, int) and length <= 512:
                self._put("dpo.max_prompt_length", max(4, length // 2), "max_length")


def _join_stages(draft: Draft, stages: list[Stage]) -> None:
    """A DPO file after an SFT file goes on with that SFT model."""
    if stages == ["dpo", "sft"]:
        raise UsageError("name the SFT file first, then the DPO file")
    if stages == ["sft", "dpo"]:
        draft.put("dpo.init_from", "@sft", "")
    adapted = {stage for stage in stages if draft.has(f"{stage}.adapter.type")}
    if len(stages) == 1 and adapted:
        other = "sft" if stages == ["dpo"] else "dpo"
        draft.put(f"{other}.adapter.type", "lora", "")
        draft.notes.append(f"{other}.adapter.type is lora: both stages load the base alike")
    if stages == ["sft"]:
        draft.notes.append("the file has no DPO stage; the dpo section keeps the defaults")


def _place_finder(draft: Draft) -> messages.PlaceFinder:
    def find_place(path: KeyPath) -> messages.Place | None:
        while path and path not in draft.places:
            path = path[:-1]
        where = draft.places.get(path)
        return messages.Place(where, None) if where else None

    return find_place


def _render(values: dict[str, Any], names: list[str]) -> str:
    order = ["name", "seed", "output_root", "model", "data", "sft", "dpo", "launch", "track"]
    lines = [f"# Converted from {', '.join(names)}."]
    for key in sorted(values, key=order.index):
        lines += _block(key, values[key], "")
    return "\n".join(lines) + "\n"


def _block(key: str, value: Any, indent: str) -> list[str]:
    short = f"{indent}{key}: {inline(value)}"
    nested = isinstance(value, dict) and value and (len(short) > 60 or not indent)
    if nested:
        inside = [
            line for name, item in value.items() for line in _block(name, item, indent + "  ")
        ]
        return [f"{indent}{key}:", *inside]
    if isinstance(value, list) and len(short) > 90:
        return [f"{indent}{key}:", *(f"{indent}  - {inline(item)}" for item in value)]
    return [short]
