"""How is an adapter published by itself, so that anybody can put it on its base?

Only where one adapter stands on a model of the Hub: its configuration then names that model and
the very commit of it. A chain of adapters, or an adapter on a local model, has to be merged.
"""

from __future__ import annotations

import gc
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from zephyrctl.config.schema.model import Model
from zephyrctl.data import template_lock
from zephyrctl.errors import UsageError
from zephyrctl.generation.adapters import ADAPTER_CONFIG, Chain, chain_of
from zephyrctl.generation.answerer import folder_of
from zephyrctl.generation.model_tokenizer import tokenizer_of
from zephyrctl.generation.weights import quiet
from zephyrctl.publishing import chains, room, standing
from zephyrctl.publishing.agreement import compared, log_probs, texts_to_compare
from zephyrctl.publishing.card import Facts, model_card, public_lock
from zephyrctl.publishing.merge import save_tokenizer as save
from zephyrctl.publishing.staging import staged_export
from zephyrctl.publishing.target import refuse_endpoint, refuse_sources, refuse_to_replace
from zephyrctl.runs.atomic import make_readable, write_json
from zephyrctl.runs.references import ModelRef

WEIGHTS = "adapter_model.safetensors"
_SNAPSHOT = re.compile(r"models--(.+?)--(.+)/snapshots/([0-9a-f]{40})")


def export_adapter(
    ref: ModelRef, *, out: Path, model: Model, force: bool, say: Callable[[str], None]
) -> Facts:
    """Write the adapter that `ref` names into the folder `out`; UsageError where it cannot be
    published by itself, JobFailed where base and folder do not say what the model says."""
    refuse_endpoint(ref)
    out = out.expanduser()
    refuse_to_replace(out, force=force)
    source = folder_of(ref)
    chain = chain_of(source)
    refuse_sources(out, source, chain)
    base, commit = base_on_the_hub(chain)
    found = tokenizer_of(source, fallback=model.chat_template)
    tokenizer = found.tokenizer
    lock = template_lock.check(Path(source), tokenizer)
    need = room.need_of(chain, held=chains.held_in(chain).itemsize, written="float32")
    room.require(replace(need, disk=2 * _size(chain.adapters[0])), out, say=say)
    with staged_export(out) as folder, quiet():
        shutil.copyfile(chain.adapters[0] / WEIGHTS, folder / WEIGHTS)
        settings = json.loads((chain.adapters[0] / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        write_json(
            folder / ADAPTER_CONFIG,
            settings | {"base_model_name_or_path": base, "revision": commit},
        )
        save(tokenizer, folder, lock=public_lock(lock, ref))
        facts = _checked(ref, chain, folder, tokenizer, out)
        card = model_card(ref, facts, lock=lock, template=found.template, form="adapter")
        standing.close(folder, card, made_from=identity(ref), facts=vars(facts))
        make_readable(folder)
    return facts


def identity(ref: ModelRef) -> str:
    """What `export.json` of this adapter says that it was made from."""
    return standing.made_from(ref, chain_of(folder_of(ref)), form="adapter")


def base_on_the_hub(chain: Chain) -> tuple[str, str]:
    """Id and commit of the Hub model that a single adapter stands on, by where it lies in the
    Hub's cache; UsageError where it is no such adapter."""
    if len(chain.adapters) != 1:
        many = "stands on another one" if chain.adapters else "is a full model"
        raise UsageError(
            f"the model is no single adapter: it {many}",
            where="--adapter",
            hint="leave out --adapter; the merged model is published then",
        )
    found = _SNAPSHOT.search(Path(chain.base).expanduser().absolute().as_posix())
    if found is None:
        raise UsageError(
            "the adapter's base is no model of the Hub, so nobody else could use the adapter",
            where=chain.base,
            hint="leave out --adapter; the merged model is published then",
        )
    return f"{found[1]}/{found[2]}", found[3]


def _size(adapter: Path) -> int:
    return (adapter / WEIGHTS).stat().st_size


def _checked(ref: ModelRef, chain: Chain, folder: Path, tokenizer: Any, out: Path) -> Facts:
    """What the folder holds; JobFailed where the base with it does not say what the model says."""
    rows, checked_on = texts_to_compare(ref, tokenizer)
    before = log_probs(chains.unmerged(chain).model, rows)
    gc.collect()  # a PEFT model holds itself, and two bases need not be here at once
    written = Chain(chain.base, (folder,))
    after = log_probs(chains.unmerged(written).model, rows)
    difference = compared(before, after, "float32", out)
    parameters, formats = _weights(folder)
    return Facts(formats, parameters, 1, before.numel(), checked_on, difference)


def _weights(adapter: Path) -> tuple[int, str]:
    """How many numbers an adapter has, and their formats."""
    total, formats = 0, set[str]()
    with safe_open(adapter / WEIGHTS, framework="pt") as weights:
        names: Any = weights.keys()
        for name in names:
            tensor: Any = weights.get_tensor(name)
            total += tensor.numel()
            formats.add(str(tensor.dtype).removeprefix("torch."))
    return total, "/".join(sorted(formats))
