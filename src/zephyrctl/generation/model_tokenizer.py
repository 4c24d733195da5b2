"""Which tokenizer has a model, and with which chat template?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zephyrctl.data.tokenizers import OWN_TEMPLATE, load_with_fallback
from zephyrctl.generation.adapters import chain_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Found:
    """A model's tokenizer, loaded from `folder` with the template named `template` (as in
    `load_tokenizer`); `notices` tell where that is not the model's own."""

    tokenizer: PreTrainedTokenizerBase
    folder: str
    template: str
    notices: tuple[str, ...] = ()


def tokenizer_of(path: str, *, fallback: str) -> Found:
    """The tokenizer of a model's folder, with the model's own template; `fallback` for a base model
    without one, which is said."""
    folder = tokenizer_folder(path)
    tokenizer, template = load_with_fallback(folder, fallback=fallback)
    if template == OWN_TEMPLATE:
        return Found(tokenizer, folder, template)
    text = f"the model has no chat template of its own; '{template}' is used"
    return Found(tokenizer, folder, template, (text,))


def tokenizer_folder(path: str) -> str:
    """Where a model's tokenizer is: in its own folder (or Hub id), or for a bare adapter with its
    base."""
    folder = Path(path).expanduser()
    has_own = not folder.is_dir() or (folder / "tokenizer_config.json").is_file()
    return path if has_own else chain_of(path).base
