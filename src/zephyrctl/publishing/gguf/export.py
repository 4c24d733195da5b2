"""How does a trained model become a GGUF file that is known to say the same?

Each weight is summed with its adapters in float32 as it is written, and the file is read again by
code of its own into a plain transformers model. Its log-probabilities are compared with those of
the unmerged chain (`checking`), and the ids that llama.cpp makes of chats by the file with those
that the model was trained on; a file that says something else is not published.
"""

from __future__ import annotations

import gc
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from zephyrctl.config.schema import Recipe
from zephyrctl.data import template_lock
from zephyrctl.data.messages import Message
from zephyrctl.data.template_lock import TemplateLock
from zephyrctl.data.tokens import encode_prompt
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.generation.adapters import Chain, chain_of
from zephyrctl.generation.answerer import folder_of
from zephyrctl.generation.engine import stop_ids
from zephyrctl.generation.model_tokenizer import tokenizer_of
from zephyrctl.generation.weights import quiet
from zephyrctl.models import remote_code
from zephyrctl.publishing import agreement, chains, files, room, standing
from zephyrctl.publishing.card import CARD, Facts, model_card
from zephyrctl.publishing.card_metadata import base_of, licence
from zephyrctl.publishing.gguf.architecture import Architecture, architecture_of
from zephyrctl.publishing.gguf.checking import (
    TOLERANCE,
    UNEXPLAINED,
    Before,
    as_rounded,
    asked_before,
    compare_ids,
    compared,
)
from zephyrctl.publishing.gguf.modelfile import Usage, how_to_use, modelfile
from zephyrctl.publishing.gguf.turns import portable, turn_form
from zephyrctl.publishing.gguf.vocabulary import Vocabulary, vocabulary_of
from zephyrctl.publishing.gguf.writing import About, FileType, write_file
from zephyrctl.publishing.merge import Say
from zephyrctl.publishing.staging import staged_export
from zephyrctl.publishing.target import refuse_endpoint, refuse_sources, refuse_to_replace
from zephyrctl.runs.atomic import make_readable, write_text
from zephyrctl.runs.references import ModelRef


@dataclass(frozen=True)
class ExportedGguf:
    """A published file. `difference` is the mean over `tokens` tokens, in nats, `largest` the
    largest one, `unexplained` the largest one that rounding does not explain; `same_text` of
    `texts` greedy continuations were the chain's to the letter."""

    folder: Path
    file: str
    type: FileType
    architecture: str
    pre_tokenizer: str
    parameters: int
    bytes: int
    adapters: int
    checked_on: str
    tokens: int
    difference: float
    largest: float
    tolerance: float
    unexplained: float
    unexplained_tolerance: float
    texts: int
    same_text: int
    peak_memory: int
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """What is exported: its chain of weights, tokenizer, and what llama.cpp has to be told."""

    chain: Chain
    tokenizer: Any
    architecture: Architecture
    vocabulary: Vocabulary
    about: About
    stops: tuple[str, ...]
    notices: tuple[str, ...]
    template: str
    lock: TemplateLock | None


def export_gguf(
    ref: ModelRef, *, out: Path, file_type: FileType, recipe: Recipe, force: bool, say: Say
) -> ExportedGguf:
    """Write the model that `ref` names into the folder `out`: file, Modelfile, README, manifest.

    `recipe` gives the template for a base model that has none, and how chats are sampled.
    UsageError for a model that llama.cpp would compute in another way, JobFailed where the file
    does not say the same as the chain.
    """
    refuse_endpoint(ref)
    out = out.expanduser()
    if not (force and _is_ours(out)):
        refuse_to_replace(out, force=force)
    with quiet():
        source = _source(ref, out, recipe)
    held = chains.held_in(source.chain).itemsize
    room.require(room.need_of(source.chain, held=held, written=file_type), out, say=say)
    usage = _usage(source, f"{_file_safe(source.about.name)}-{file_type}.gguf", recipe)
    with staged_export(out) as folder, quiet():
        path = folder / usage.file
        rows, checked_on = agreement.texts_to_compare(ref, source.tokenizer)
        before, expected, parameters, kept = _written(source, path, rows, file_type, say)
        gc.collect()  # a PEFT model holds itself, and two of 14 GB need not be here at once
        say("reading the file again …")
        apart = compared(path, before, expected, file_type=file_type, where=out)
        compare_ids(path, source.tokenizer)
        ollama, said = modelfile(usage, turn_form(source.tokenizer))
        notices = (*source.notices, *kept, *said)
        write_text(folder / "Modelfile", ollama)
        facts = Facts(
            file_type, parameters, len(source.chain.adapters), before.log_probs.numel(),
            checked_on, apart.difference,
        )  # fmt: skip
        card = model_card(
            ref, facts, lock=source.lock, template=source.template, form="gguf",
            usage=how_to_use(usage, notices=notices),
        )  # fmt: skip
        write_text(folder / CARD, card)
        exported = ExportedGguf(
            out, usage.file, file_type, source.architecture.family.name, source.vocabulary.pre,
            parameters, path.stat().st_size, len(source.chain.adapters), checked_on,
            before.log_probs.numel(), apart.difference, apart.largest, TOLERANCE[file_type],
            apart.unexplained, UNEXPLAINED, len(before.texts), apart.same_text, _peak_memory(),
            notices,
        )  # fmt: skip
        made_from = standing.made_from(ref, source.chain, type=file_type)
        files.write_record(folder, made_from=made_from, facts=_recorded(exported))
        make_readable(folder)
    return exported


def _recorded(exported: ExportedGguf) -> dict[str, Any]:
    """What `export.json` says: nothing of this machine."""
    left_out = ("folder", "peak_memory")
    return {name: value for name, value in vars(exported).items() if name not in left_out}


def _is_ours(out: Path) -> bool:
    """Whether a folder holds nothing but what an earlier export of this kind wrote there."""
    record = files.read_record(out)
    return (
        record is not None
        and str(record.facts.get("file", "")).endswith(".gguf")
        and {path.name for path in out.iterdir()} == {files.MANIFEST, *record.sha256}
    )


def _source(ref: ModelRef, out: Path, recipe: Recipe) -> _Source:
    """Everything about the model that needs no weights, or the reason why it cannot be written."""
    folder = folder_of(ref)
    chain = chain_of(folder)
    refuse_sources(out, folder, chain)
    config = _config(chain.base)
    architecture = architecture_of(config, where=chain.base)
    found = tokenizer_of(folder, fallback=recipe.model.chat_template)
    tokenizer = found.tokenizer
    lock = template_lock.check(Path(folder), tokenizer)
    ends = _ends(tokenizer, folder, chain.base)
    first = encode_prompt(tokenizer, [Message("user", "a")])[0]
    vocabulary = vocabulary_of(
        tokenizer, size=config.vocab_size, ends=ends,
        begins_with_special=first in tokenizer.all_special_ids, where=found.folder,
    )  # fmt: skip
    name = f"{ref.run.name}-{ref.stage}" if ref.run is not None else ref.name
    own = ref.run.recipe() if ref.run is not None else None
    about = About(name, licence(base_of(ref, own, lock), own).name, ref.stage, portable(tokenizer))
    return _Source(
        chain, tokenizer, architecture, vocabulary, about,
        tuple(vocabulary.tokens[number] for number in ends),
        (*found.notices, *architecture.notices, *vocabulary.notices), found.template, lock,
    )  # fmt: skip


def _config(base: str) -> Any:
    try:
        own_code = remote_code.may_run(base)
        return AutoConfig.from_pretrained(base, trust_remote_code=own_code)
    except (OSError, ValueError) as error:
        if remote_code.is_about_code(error):
            raise remote_code.needed(base) from None
        reason = str(error).strip().splitlines()[0]
        raise EnvironmentProblem(f"the model cannot be read: {reason}", where=base) from error


def _ends(tokenizer: Any, folder: str, base: str) -> list[int]:
    """Ids that end an answer, as decoding here has them; the tokenizer's EOS first."""
    places = [place for place in (folder, base) if (Path(place) / _GENERATION).is_file()]
    settings = GenerationConfig.from_pretrained(places[0]) if places else GenerationConfig()
    own = tokenizer.eos_token_id
    return [own, *sorted(stop_ids(settings, tokenizer) - {own})]


_GENERATION = "generation_config.json"


def _usage(source: _Source, file: str, recipe: Recipe) -> Usage:
    chat = recipe.chat
    return Usage(
        file, source.about.name, source.architecture.context, source.stops,
        chat.temperature, chat.top_p, chat.top_k, chat.system,
    )  # fmt: skip


def _written(
    source: _Source, path: Path, rows: list[list[int]], file_type: FileType, say: Say
) -> tuple[Before, torch.Tensor, int, tuple[str, ...]]:
    """Merge and write; returns what the chain said before, what the file is expected to say, the
    number of parameters and what has to be said of the file."""
    live = chains.unmerged(source.chain)
    before = asked_before(live, rows)
    summed = live.summed()
    parameters = sum(weight.numel() for weight in summed.model.parameters())
    say(f"writing {parameters:,} parameters as {file_type} …")
    kept = write_file(
        path, summed, architecture=source.architecture, vocabulary=source.vocabulary,
        about=source.about, file_type=file_type,
    )  # fmt: skip
    return before, as_rounded(summed, rows, file_type), parameters, kept


def _file_safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
