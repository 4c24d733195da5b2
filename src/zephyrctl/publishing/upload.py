"""What is sent to the Hub: an export that stands, or a new one, and nothing else?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl import __version__
from zephyrctl.config.schema.model import Model
from zephyrctl.data import template_lock
from zephyrctl.errors import DataError, UsageError
from zephyrctl.generation.answerer import folder_of
from zephyrctl.generation.model_tokenizer import tokenizer_of
from zephyrctl.publishing import adapter, files, merge, standing
from zephyrctl.publishing.card import Facts, model_card
from zephyrctl.publishing.leaks import refuse_secrets
from zephyrctl.publishing.merge import DType
from zephyrctl.publishing.target import refuse_to_replace
from zephyrctl.runs.references import ModelRef

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Say = Callable[[str], None]
_OF_A_TRAINING = (
    "trainer_state.json", "optimizer.pt", "optimizer.bin", "scheduler.pt", "training_args.bin",
    "optimizer.safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class Wishes:
    """How the folder is written that is sent."""

    out: Path
    dtype: DType = "auto"
    adapter: bool = False
    force: bool = False


@dataclass(frozen=True)
class Prepared:
    """A folder that may be published, and its card."""

    folder: Path
    files: tuple[files.File, ...]
    card: str


def connect(token: str) -> HfApi:
    """The Hub's client."""
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="zephyrctl", library_version=__version__)


def prepare(
    ref: ModelRef, wishes: Wishes, repo_id: str, *, model: Model, token: str, say: Say
) -> Prepared:
    """The folder to be sent: one that stands and is this very export, else a new one.

    UsageError where it holds what is not published, or a secret.
    """
    source = Path(folder_of(ref))
    _refuse_training_state(source)
    out = wishes.out.expanduser()
    if not wishes.force and files.read_record(out) is None:
        refuse_to_replace(out, force=False)  # before gigabytes are digested
    identity = adapter.identity(ref) if wishes.adapter else merge.identity(ref, dtype=wishes.dtype)
    found = None if wishes.force else standing.found(out, made_from=identity)
    if found is not None:
        say(f"{out} stands already and is unchanged; nothing has to be merged")
        known = {field.name: found[field.name] for field in fields(Facts)}
        facts = Facts(**known)
    else:
        say(f"exporting {ref.name} to {out} …")
        facts = _export(ref, wishes, model, say)
    card = model_card(
        ref, facts, lock=template_lock.read(source), template=_template(source, model),
        form="adapter" if wishes.adapter else "merged", name=repo_id,
    )  # fmt: skip
    if not standing.refresh(out, card):
        say(
            f"! {out / files.CARD} was edited by hand and is sent as it is (--force writes it anew)"
        )
    sent = files.listed(out)
    refuse_secrets(out, [file.name for file in sent], token=token)
    return Prepared(out, sent, (out / files.CARD).read_text(encoding="utf-8"))


def _export(ref: ModelRef, wishes: Wishes, model: Model, say: Say) -> Facts:
    if wishes.adapter:
        facts = adapter.export_adapter(
            ref, out=wishes.out, model=model, force=wishes.force, say=say
        )
        tolerance = merge.TOLERANCE["float32"]
    else:
        exported = merge.export_merged(
            ref, out=wishes.out, dtype=wishes.dtype, model=model, force=wishes.force, say=say
        )
        for text in exported.notices:
            say(f"! {text}")
        facts, tolerance = exported.facts, exported.tolerance
    say(f"log-probs differ by {facts.difference:.2g} nats per token on average ({tolerance} "
        f"allowed; {facts.tokens} tokens of {facts.checked_on})")  # fmt: skip
    return facts


def _template(source: Path, model: Model) -> str:
    try:
        return tokenizer_of(str(source), fallback=model.chat_template).template
    except DataError:
        return model.chat_template


def _refuse_training_state(source: Path) -> None:
    found = [name for name in _OF_A_TRAINING if (source / name).exists()]
    if found:
        raise UsageError(
            f"this is the state of a training ({', '.join(found)}), not its result",
            where=str(source),
            hint="finish the stage, then name RUN/sft or RUN/dpo; or: zephyrctl export merged",
        )
