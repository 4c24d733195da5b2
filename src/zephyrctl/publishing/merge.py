"""How does a model, with all adapters that it stands on, become one plain transformers folder?

The adapters are merged in float32 and the sum is cast once. The folder is loaded again before it
gets its name, and its log-probabilities are compared with those of the unmerged chain; a folder
that says something else is not published.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, GenerationConfig

from zephyrctl.config.schema.model import Model
from zephyrctl.data import template_lock
from zephyrctl.data.load import split_file
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.data.tokens import encode_prompt
from zephyrctl.errors import DataError, EnvironmentProblem, JobFailed, UsageError
from zephyrctl.generation.adapters import ADAPTER_CONFIG, Chain, chain_of
from zephyrctl.generation.answerer import folder_of, template_of, tokenizer_folder
from zephyrctl.generation.engine import stop_ids
from zephyrctl.generation.weights import cast, load_base, merged, put_on, quiet
from zephyrctl.models import remote_code
from zephyrctl.publishing.card import CARD, Facts, model_card
from zephyrctl.runs.atomic import make_readable, staged_directory, write_text
from zephyrctl.runs.references import ModelRef

DType = Literal["auto", "bfloat16", "float16", "float32"]
Say = Callable[[str], None]

TOLERANCE = {"float32": 0.001, "float16": 0.01, "bfloat16": 0.05}
"""Largest mean difference of a token's log-probability, in nats, between the unmerged chain and
the published weights, both computed in float32. What rounding a weight to 11 or 8 bits moves."""
_TEXTS = 4
_LONGEST = 512
_FIXED = (
    "What is the capital of France?",
    "Write two sentences about the sea, then list three colours.",
    "Explain to a child why the sky is blue.",
)


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


def export_merged(
    ref: ModelRef, *, out: Path, dtype: DType, model: Model, force: bool, say: Say
) -> Exported:
    """Write the model that `ref` names into the folder `out`.

    `dtype` auto keeps the number format in which the base's weights are stored. `model` names the
    template for a base model that has none of its own. JobFailed where the folder does not say
    the same as the chain.
    """
    if ref.kind == "endpoint":
        raise UsageError(f"'{ref.target}' is an endpoint; its weights are not here")
    out = out.expanduser()
    refuse_to_replace(out, force=force)
    source = folder_of(ref)
    chain = chain_of(source)
    refuse_sources(out, source, chain)
    number_format = _stored_format(chain.base) if dtype == "auto" else dtype
    template, notices = template_of(source, fallback=model.chat_template)
    tokenizer = load_tokenizer(tokenizer_folder(source), chat_template=template)
    lock = template_lock.check(Path(source), tokenizer)
    with staged_directory(out) as folder, quiet():
        rows, checked_on = texts_to_compare(ref, tokenizer)
        before, parameters = _write_weights(chain, source, tokenizer, folder, number_format, rows)
        tokenizer.save_pretrained(folder)
        if lock is not None:
            shutil.copyfile(
                Path(source) / template_lock.LOCK_FILE, folder / template_lock.LOCK_FILE
            )
        say("loading the folder again …")
        after = _of_published(folder, rows)
        difference = _compared(before, after, number_format, out)
        exported = Exported(
            out, number_format, parameters, len(chain.adapters), checked_on, before.numel(),
            difference, TOLERANCE[number_format], notices,
        )  # fmt: skip
        write_text(folder / CARD, model_card(ref, _facts(exported), lock=lock, template=template))
        make_readable(folder)
    return exported


def _facts(exported: Exported) -> Facts:
    return Facts(
        exported.dtype, exported.parameters, exported.adapters, exported.tokens,
        exported.checked_on, exported.difference,
    )  # fmt: skip


def _write_weights(
    chain: Chain,
    source: str,
    tokenizer: Any,
    folder: Path,
    number_format: str,
    rows: list[list[int]],
) -> tuple[torch.Tensor, int]:
    """Merge, cast and save; returns the unmerged chain's log-probs (N,) and the parameters."""
    model, before = merge_chain(chain, rows)
    cast(model, getattr(torch, number_format))
    _set_generation(model, tokenizer, Path(source))
    model.config.use_cache = True  # training turns it off, and it would be saved so
    model.save_pretrained(folder)
    return before, sum(weight.numel() for weight in model.parameters())


def merge_chain(chain: Chain, rows: list[list[int]]) -> tuple[Any, torch.Tensor]:
    """The chain's model merged in float32, and the unmerged chain's log-probs (N,) of `rows`."""
    model = load_base(chain.base, dtype=torch.float32)
    live = _live(model, chain)
    before = log_probs(live, rows)
    if chain.adapters:
        model = live.unload() if _adds_up(chain) else load_base(chain.base, dtype=torch.float32)
        del live
        for adapter in chain.adapters:
            model = merged(model, adapter)
    return model, before


def _live(model: Any, chain: Chain) -> Any:
    """The chain unmerged: every adapter at work beside the base's weights.

    LoRA adapters add up, so all of them run side by side. Where one does not (DoRA scales by the
    weights below it), those below the last are merged in float32 and the last one runs live.
    """
    if not _adds_up(chain):
        for adapter in chain.adapters[:-1]:
            model = merged(model, adapter)
        return put_on(model, chain.adapters[-1])
    names = [f"link{place}" for place in range(len(chain.adapters))]
    for name, adapter in zip(names, chain.adapters, strict=True):
        model = put_on(model, adapter, name=name)
    if len(names) > 1:
        model.base_model.set_adapter(names)
    return model


def _adds_up(chain: Chain) -> bool:
    settings = [
        json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        for adapter in chain.adapters
    ]
    return len(settings) < 2 or all(
        one.get("peft_type") == "LORA"
        and not one.get("use_dora")
        and not one.get("modules_to_save")
        for one in settings
    )


@torch.inference_mode()
def log_probs(model: Any, rows: list[list[int]]) -> torch.Tensor:
    """Log-probability of every token after the first of each row, one after the other (N,).

    Computed in float32 whatever the weights are stored in.
    """
    model.eval()
    found = []
    for row in rows:
        ids = torch.tensor([row], device=model.device)  # (1, T)
        scores = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(dim=-1)
        found.append(scores.gather(1, ids[0, 1:, None])[:, 0])
    return torch.cat(found)


def _of_published(folder: Path, rows: list[list[int]]) -> torch.Tensor:
    """Log-probs (N,) of the folder as any reader loads it."""
    tokenizer = load_tokenizer(str(folder))
    template_lock.check(folder, tokenizer)
    return log_probs(load_base(str(folder), dtype=torch.float32), rows)


def _compared(before: torch.Tensor, after: torch.Tensor, number_format: str, where: Path) -> float:
    """The mean absolute difference; JobFailed where it is over the tolerance, or not a number."""
    difference = float((after - before).abs().mean())
    tolerance = TOLERANCE[number_format]
    if difference <= tolerance:
        return difference
    wider = "float32" if number_format == "bfloat16" else "bfloat16"
    raise JobFailed(
        f"the exported weights do not say what the model says: a token's log-probability moves by "
        f"{difference:.4f} nats on average, and {tolerance} is allowed in {number_format}",
        where=str(where),
        hint=f"--dtype {wider}" if number_format != "float32" else "please report this",
    )


def texts_to_compare(ref: ModelRef, tokenizer: Any) -> tuple[list[list[int]], str]:
    """Token ids to compare on, and what they are: held-out prompts of the run, else fixed ones."""
    if ref.run is not None:
        for stage in ("dpo", "sft"):
            try:
                rows = _held_out(split_file(ref.run, stage, "test"))
            except DataError:  # this run did not prepare data for that stage
                continue
            if rows:
                return rows, "held-out rows of the run"
    rows = [encode_prompt(tokenizer, [Message("user", text)])[:_LONGEST] for text in _FIXED]
    return rows, "fixed prompts"


def _held_out(path: Path) -> list[list[int]]:
    from pyarrow.parquet import ParquetFile

    batch = next(ParquetFile(path).iter_batches(batch_size=_TEXTS), None)
    records = batch.to_pylist() if batch is not None else []
    rows = [
        record["input_ids"]
        if "input_ids" in record
        else record["prompt_ids"] + record["chosen_ids"]
        for record in records
    ]
    return [row[:_LONGEST] for row in rows if len(row) > 1]


def _set_generation(model: Any, tokenizer: Any, source: Path) -> None:
    """End tokens: all that decoding here stops at, the tokenizer's EOS first."""
    if (source / "generation_config.json").is_file():  # an adapter folder's own, over its base's
        model.generation_config = GenerationConfig.from_pretrained(str(source))
    config = model.generation_config
    own = tokenizer.eos_token_id
    ends = [own, *sorted(stop_ids(model.generation_config, tokenizer) - {own})]
    config.eos_token_id = ends if len(ends) > 1 else own
    config.pad_token_id = tokenizer.pad_token_id
    config.use_cache = True


def _stored_format(base: str) -> str:
    """The number format in which the base's weights are stored."""
    try:
        own_code = remote_code.may_run(base)
        stored = AutoConfig.from_pretrained(base, trust_remote_code=own_code).dtype
    except (OSError, ValueError) as error:
        if remote_code.is_about_code(error):
            raise remote_code.needed(base) from None
        reason = str(error).strip().splitlines()[0]
        raise EnvironmentProblem(f"the model cannot be read: {reason}", where=base) from error
    name = str(stored).removeprefix("torch.")
    return name if name in TOLERANCE else "float32"


def refuse_to_replace(out: Path, *, force: bool, sign: str = "config.json") -> None:
    """Refuse a file, and a folder with something in it that is not surely an older model: one
    without folders, with the file `sign`."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    where = str(out)
    if not out.is_dir():
        raise UsageError("there is a file of this name", where=where, hint="--out ANOTHER_FOLDER")
    if not force:
        raise UsageError(
            "the folder is not empty", where=where, hint="--force replaces an older model there"
        )
    is_model = (out / sign).is_file() and not any(path.is_dir() for path in out.iterdir())
    if not is_model:
        raise UsageError(
            "the folder holds something else than a model, and --force would delete it",
            where=where,
            hint="--out ANOTHER_FOLDER",
        )


def refuse_sources(out: Path, source: str, chain: Chain) -> None:
    """The folder must not be a part of what is exported, nor lie within or around it."""
    target = out.resolve()
    for part in (source, chain.base, *map(str, chain.adapters)):
        folder = Path(part).expanduser().resolve()
        if folder.is_dir() and (
            folder == target or folder in target.parents or target in folder.parents
        ):
            raise UsageError(
                "the model that is exported lies there", where=str(out), hint="--out ANOTHER_FOLDER"
            )
