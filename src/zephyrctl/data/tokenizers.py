"""Which tokenizer and chat template does a model use, and what is the template's hash?

Padding: a tokenizer without a padding token pads with its EOS token. That is safe here, because
what is trained is decided by masks and never by comparing ids with the padding id.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zephyrctl import templates
from zephyrctl.data import template_trial
from zephyrctl.errors import DataError, EnvironmentProblem, UsageError
from zephyrctl.models import remote_code
from zephyrctl.registry import did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OWN_TEMPLATE = "tokenizer"


def load_tokenizer(
    path: str, *, revision: str | None = None, chat_template: str | None = OWN_TEMPLATE
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder or Hub id, with the template it is to use.

    `chat_template` is a packaged name (`zephyr`), `tokenizer` or None for the tokenizer's own, or
    a `.jinja` file. DataError where the tokenizer has no EOS token, or no template of its own
    although that is what is wanted.
    """
    return _ready(_read(path, revision), chat_template or OWN_TEMPLATE, where=path)


def load_with_fallback(path: str, *, fallback: str) -> tuple[PreTrainedTokenizerBase, str]:
    """The tokenizer of a model folder with its own template, or with `fallback` (as in
    `load_tokenizer`) where it has none; and which of both it is."""
    tokenizer = _read(path, None)
    template = OWN_TEMPLATE if tokenizer.chat_template else fallback
    return _ready(tokenizer, template, where=path), template


def _read(path: str, revision: str | None) -> Any:
    """The tokenizer as its files have it."""
    from transformers import AutoTokenizer

    # Left out, it would ask on stdin whether code of the repository may be run.
    own_code = remote_code.may_run(path)
    try:
        return AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=own_code)
    except (OSError, ValueError, KeyError) as error:
        if remote_code.is_about_code(error):
            raise remote_code.needed(path) from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EnvironmentProblem(
            f"the tokenizer of '{path}' cannot be loaded: {reason}",
            hint="zephyrctl models list shows the bases that need no Hub",
        ) from error


def _ready(tokenizer: Any, chat_template: str, *, where: str) -> PreTrainedTokenizerBase:
    """`tokenizer` with its template and what else has to be there."""
    if tokenizer.eos_token is None:
        raise DataError(
            "the tokenizer has no EOS token, so no model could learn to stop",
            where=where,
            hint="set eos_token in the model's tokenizer_config.json",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    set_template(tokenizer, chat_template, where=where)
    template_trial.require_harmless(tokenizer.chat_template, where=where)
    # Long rows are cut and counted in data preparation; the library's warning would only alarm.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def special_tokens(tokenizer: Any) -> frozenset[str]:
    """The tokenizer's special tokens; one-letter oddities would drop half of all texts."""
    return frozenset(token for token in tokenizer.all_special_tokens if len(token) > 2)


def set_template(tokenizer: Any, chat_template: str, *, where: str) -> None:
    """Give `tokenizer` the template named by `chat_template`; `where` is named in an error."""
    if chat_template == OWN_TEMPLATE:
        if not tokenizer.chat_template:
            raise DataError(
                "the tokenizer has no chat template of its own",
                where=where,
                hint="--set model.chat_template=zephyr",
            )
        return
    tokenizer.chat_template = read_template(chat_template)


def read_template(name: str) -> str:
    """The text of a packaged template or of a `.jinja` file."""
    if name in templates.names():
        return templates.read(name)
    if name.endswith(".jinja"):
        try:
            return Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError("the chat template cannot be read", where=f"{name}: {error}") from error
    known = [*templates.names(), OWN_TEMPLATE]
    raise UsageError(
        f"unknown chat template '{name}'{did_you_mean(name, known)}",
        hint=f"known: {', '.join(known)}, or a .jinja file",
    )


def template_text(tokenizer: Any) -> str:
    """The template the tokenizer applies when nothing else is asked of it."""
    return tokenizer.get_chat_template()


def template_hash(tokenizer: Any) -> str:
    """SHA-256 of the template's text: what `sha256sum chat_template.jinja` prints."""
    return hashlib.sha256(template_text(tokenizer).encode()).hexdigest()
