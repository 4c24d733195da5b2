"""How does a model, with all adapters that it stands on, become one plain transformers folder?

The adapters are merged in float32 and the sum is cast once. The folder is loaded again before it
gets its name, and its log-probabilities are compared with those of the unmerged chain; a folder
that says something else is not published.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, GenerationConfig

from zephyrctl import environment
from zephyrctl.config.schema.model import Model
from zephyrctl.data import template_lock
from zephyrctl.data.template_lock import TemplateLock
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import DiskFull, EnvironmentProblem, JobFailed, UsageError
from zephyrctl.generation.adapters import Chain, chain_of
from zephyrctl.generation.answerer import folder_of
from zephyrctl.generation.engine import stop_ids
from zephyrctl.generation.model_tokenizer import tokenizer_of
from zephyrctl.generation.weights import quiet
from zephyrctl.models import remote_code
from zephyrctl.publishing import chains, files, room, standing
from zephyrctl.publishing.agreement import (
    TOLERANCE,
    compared,
    fixed_rows,
    log_probs,
    texts_to_compare,
)
from zephyrctl.publishing.card import Facts, model_card, public_lock
from zephyrctl.publishing.staging import staged_export
from zephyrctl.publishing.target import refuse_endpoint, refuse_sources, refuse_to_replace
from zephyrctl.runs.atomic import make_readable, write_json
from zephyrctl.runs.references import ModelRef
from zephyrctl.sizes import size_words

DType = Literal["auto", "bfloat16", "float16", "float32"]
Say = Callable[[str], None]

SHARD = "5GB"
"""Largest file of weights where nothing else is asked for; the Hub's own advice, and what a slow
line brings in one piece."""
_OF_THIS_MACHINE = ("is_local", "local_files_only", "name_or_path")
_SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A published folder. `difference` is the mean over `tokens` tokens, in nats."""

    folder: Path
    dtype: str
    parameters: int
    adapters: int
    checked_on: str
    tokens: int
    difference: float
    tolerance: float
    notices: tuple[str, ...]

    @property
    def facts(self) -> Facts:
        """What the card says of it."""
        return Facts(
            self.dtype, self.parameters, self.adapters, self.tokens, self.checked_on,
            self.difference,
        )  # fmt: skip


def export_merged(
    ref: ModelRef,
    *,
    out: Path,
    dtype: DType,
    model: Model,
    force: bool,
    say: Say,
    shard: str = SHARD,
) -> Exported:
    """Write the model that `ref` names into the folder `out`.

    `dtype` auto keeps the number format in which the base's weights are stored. `model` names the
    template for a base model that has none of its own. No file of weights is larger than `shard`
    (`5GB`, `300MB`). JobFailed where the folder does not say the same as the chain.
    """
    refuse_endpoint(ref)
    out = out.expanduser()
    may_stand = not force and files.read_record(out) is not None
    if not may_stand:
        refuse_to_replace(out, force=force)
    source = folder_of(ref)
    chain = chain_of(source)
    refuse_sources(out, source, chain)
    stored = _stored_format(chain.base)
    number_format = stored if dtype == "auto" else dtype
    made_from = standing.made_from(ref, chain, dtype=number_format)
    if may_stand:
        facts = standing.found(out, made_from=made_from)
        if facts is None or shard != SHARD:  # the size of the files is not recorded
            raise standing.taken(out, ref, chain)
        return _standing(out, facts)
    _require_room(chain, number_format, out, shard=shard, say=say)
    found = tokenizer_of(source, fallback=model.chat_template)
    tokenizer = found.tokenizer
    lock = template_lock.check(Path(source), tokenizer)
    with staged_export(out) as folder, quiet():
        rows, checked_on = texts_to_compare(ref, tokenizer)
        live = chains.unmerged(chain)
        before = log_probs(live.model, rows)
        plain = live.summed().cast(getattr(torch, number_format))
        said = _set_generation(plain, tokenizer, Path(source))
        parameters = _save(plain, folder, shard)
        del plain
        gc.collect()  # a PEFT model holds itself, and two of 14 GB need not be here at once
        save_tokenizer(tokenizer, folder, lock=public_lock(lock, ref))
        say("loading the folder again …")
        after = _of_published(folder, rows, tokenizer)
        difference = compared(before, after, number_format, out)
        exported = Exported(
            out, number_format, parameters, len(chain.adapters), checked_on, before.numel(),
            difference, TOLERANCE[number_format], (*found.notices, *said),
        )  # fmt: skip
        card = model_card(ref, exported.facts, lock=lock, template=found.template)
        standing.close(folder, card, made_from=made_from, facts=_recorded(exported))
        make_readable(folder)
    return exported


def _require_room(chain: Chain, number_format: str, out: Path, *, shard: str, say: Say) -> None:
    """DiskFull or EnvironmentProblem where the export cannot fit; see `room`."""
    held = max(chains.held_in(chain).itemsize, getattr(torch, number_format).itemsize)
    need = room.need_of(chain, held=held, written=number_format, shard=room.shard_bytes(shard))
    room.require(need, out, say=say)


def _standing(out: Path, facts: Mapping[str, Any]) -> Exported:
    """What was found out when the export was written that stands."""
    known = {
        field.name: facts[field.name]
        for field in fields(Exported)
        if field.name not in ("folder", "notices")
    }
    said = f"{out} stands already and is unchanged: nothing was written (--force writes it anew)"
    return Exported(folder=out, notices=(said,), **known)


def identity(ref: ModelRef, *, dtype: DType) -> str:
    """What `export.json` of this model says that it was made from."""
    chain = chain_of(folder_of(ref))
    number_format = _stored_format(chain.base) if dtype == "auto" else dtype
    return standing.made_from(ref, chain, dtype=number_format)


def _recorded(exported: Exported) -> dict[str, Any]:
    return {
        name: value for name, value in vars(exported).items() if name not in ("folder", "notices")
    }


def _save(model: Any, folder: Path, shard: str) -> int:
    """Write weights and configuration; returns the number of parameters."""
    model.config.use_cache = True  # training turns it off, and it would be saved so
    try:
        model.save_pretrained(folder, max_shard_size=shard)
    except SafetensorError as error:
        if "StorageFull" in str(error) or "os error 28" in str(error):
            raise DiskFull(
                "the disk became full while the weights were written; what was written is removed",
                where=f"{folder.parent} ({size_words(environment.free_disk(folder))} free)",
                hint="--out FOLDER_ELSEWHERE",
            ) from error
        raise
    return sum(weight.numel() for weight in model.parameters())


def save_tokenizer(tokenizer: Any, folder: Path, *, lock: TemplateLock | None) -> None:
    """Write tokenizer, template and template lock, without what only holds on this machine."""
    for key in _OF_THIS_MACHINE:
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.save_pretrained(folder)
    if lock is not None:
        write_json(folder / template_lock.LOCK_FILE, asdict(lock))


def _of_published(folder: Path, rows: list[list[int]], tokenizer: Any) -> torch.Tensor:
    """Log-probs (N,) of the folder as any reader loads it; JobFailed where its tokenizer reads
    otherwise than the one that was saved."""
    again = load_tokenizer(str(folder))
    template_lock.check(folder, again)
    if fixed_rows(again) != fixed_rows(tokenizer):
        raise JobFailed(
            "the exported tokenizer reads a text otherwise than the model's own",
            where=str(folder),
            hint="please report this",
        )
    return log_probs(chains.unmerged(Chain(str(folder))).model, rows)


def _set_generation(model: Any, tokenizer: Any, source: Path) -> list[str]:
    """Write down all tokens that decoding here stops at, the tokenizer's EOS first; returns what
    had to be left out."""
    if (source / "generation_config.json").is_file():  # an adapter folder's own, over its base's
        model.generation_config = GenerationConfig.from_pretrained(str(source))
    config = model.generation_config
    own = tokenizer.eos_token_id
    ends = [own, *sorted(stop_ids(model.generation_config, tokenizer) - {own})]
    config.eos_token_id = ends if len(ends) > 1 else own
    config.pad_token_id = tokenizer.pad_token_id
    config.use_cache = True
    try:
        config.validate(strict=True)
    except ValueError:  # it forbids sampling and sets it too: transformers would not save that
        idle = [name for name in _SAMPLING if getattr(config, name, None) is not None]
        for name in idle:
            setattr(config, name, None)
        return [f"generation_config.json: {', '.join(idle)} left out, since do_sample is off"]
    return []


def _stored_format(base: str) -> str:
    """The number format in which the base's weights are stored; UsageError for quantized ones,
    which no adapter can be added to."""
    try:
        own_code = remote_code.may_run(base)
        config = AutoConfig.from_pretrained(base, trust_remote_code=own_code)
    except (OSError, ValueError) as error:
        if remote_code.is_about_code(error):
            raise remote_code.needed(base) from None
        reason = str(error).strip().splitlines()[0]
        raise EnvironmentProblem(f"the model cannot be read: {reason}", where=base) from error
    if getattr(config, "quantization_config", None):
        raise UsageError(
            "the weights are stored quantized, and what was rounded away cannot be written again",
            where=base,
            hint="export from the model in bfloat16 that they were made from",
        )
    name = str(config.dtype).removeprefix("torch.")
    return name if name in TOLERANCE else "float32"
