"""How is a model asked, wherever it is? One interface over weights here and endpoints elsewhere.

A `Subject` is a model that is known but not loaded: what decides its answers stands before any
weight is read, so that nothing is loaded where every answer is already there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zephyrctl import environment
from zephyrctl.config.schema.model import Model
from zephyrctl.data import template_lock
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import template_hash
from zephyrctl.data.tokens import encode_prompt
from zephyrctl.generation import vllm
from zephyrctl.generation.adapters import chain_of
from zephyrctl.generation.endpoint import Endpoint
from zephyrctl.generation.model_tokenizer import tokenizer_of
from zephyrctl.generation.remote import RemoteAnswerer
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs.digests import digest_json, digest_tree
from zephyrctl.runs.importing import importing
from zephyrctl.runs.references import ModelRef

if TYPE_CHECKING:
    from zephyrctl.generation.engine import Engine
    from zephyrctl.generation.quantized import Quantize

_NOT_WEIGHTS = ("*.md", ".*", "*.log")
FORMAT = 2
"""Raised by one when decoding changes so that the same model answers otherwise."""


Say = Callable[[str], None]


class Answerer(Protocol):
    """A model that can be asked."""

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        on_done: Callable[[int, Completion], None],
    ) -> None:
        """Answer every prompt; `on_done(index, completion)` is called as each one ends."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


@dataclass(frozen=True)
class Subject:
    """A model to be asked. `identity` decides its answers, beside prompt and sampling."""

    name: str
    target: str
    template_sha256: str | None
    """Hash of the chat template; None for an endpoint, which applies its own."""
    identity: dict[str, Any]
    load: Callable[[Say], Answerer] = field(repr=False)
    """Loads it; what happens while it answers (less memory than expected) is said."""
    notices: tuple[str, ...] = ()
    render: Callable[[Sequence[Message]], str] | None = field(default=None, repr=False)
    """A prompt as the model reads it, special tokens included; None where that is not known."""

    @property
    def digest(self) -> str:
        """SHA-256 of the identity."""
        return digest_json(self.identity)


def subject_of(
    ref: ModelRef, *, model: Model, at_once: int, engine: str = "transformers"
) -> Subject:
    """The subject that `ref` names.

    `model` holds number format, attention and the template for bases that have none of their own;
    `at_once` is the batch size, or how many requests are under way (vLLM decides itself); `engine`
    is as in `eval.engine`. DataError where a trained model's template is not the one it was
    trained with.
    """
    if ref.kind == "endpoint":
        return _remote(ref, at_once=at_once)
    located, digest = folder_of(ref), digest_of(ref)
    found = tokenizer_of(located, fallback=model.chat_template)
    template_lock.check(Path(located), found.tokenizer)
    template_sha256 = template_hash(found.tokenizer)
    name, said = vllm.choose_here(engine)
    identity = {
        "format": FORMAT,
        "engine": name,
        "model": digest,
        "template": template_sha256,
        "dtype": number_format(model.dtype, on_gpu=bool(environment.visible_gpus())),
        "attention": model.attention,
    }

    def load(say: Say) -> Answerer:
        if name == "vllm":
            return vllm.load_vllm(
                located,
                digest=digest,
                tokenizer=found.folder,
                chat_template=found.template,
                dtype=model.dtype,
                say=say,
            )
        with importing():
            from zephyrctl.generation.engine import load_engine

        loaded = load_engine(
            located, dtype=model.dtype, attention=model.attention, tokenizer=found.tokenizer
        )
        return _Local(loaded, at_once, say)

    def render(messages: Sequence[Message]) -> str:
        ids = encode_prompt(found.tokenizer, messages)
        return str(found.tokenizer.decode(ids, skip_special_tokens=False))

    notices = (*found.notices, *said)
    return Subject(ref.name, located, template_sha256, identity, load, notices, render)


def number_format(dtype: str, *, on_gpu: bool) -> str:
    """The number format as it decides answers: `auto` is another one on a GPU than elsewhere."""
    return "auto on a GPU" if dtype == "auto" and on_gpu else dtype


class _Local:
    """Weights in this process."""

    def __init__(self, engine: Engine, batch_size: int, say: Say) -> None:
        self.engine = engine
        self._batch_size = batch_size
        self._say = say
        for text in engine.notices:
            say(text)

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        on_done: Callable[[int, Completion], None],
    ) -> None:
        """See `Answerer`."""
        self.engine.answer(
            prompts,
            sampling=sampling,
            batch_size=self._batch_size,
            on_done=on_done,
            say=self._say,
            keep_going=True,
        )

    def close(self) -> None:
        """Free the weights."""
        self.engine.close()


def _remote(ref: ModelRef, *, at_once: int) -> Subject:
    endpoint = Endpoint.parse(ref.target)
    # Not the target: OPENAI_BASE_URL moves `openai:MODEL` to another service.
    identity = {"format": FORMAT, "service": endpoint.base_url, "model": endpoint.model}
    unknown = (
        "the endpoint applies a chat template of its own, which cannot be compared with training"
    )
    return Subject(
        ref.name, ref.target, None, identity, lambda say: RemoteAnswerer(endpoint, at_once),
        (unknown,),
    )  # fmt: skip


def open_engine(
    ref: ModelRef, *, model: Model, device: str = "auto", quantize: Quantize = "none"
) -> tuple[Engine, tuple[str, ...]]:
    """The engine of a model on this machine, and what is to be said of its template.

    `model` is as in `subject_of`, `quantize` as in `load_engine`. Whether the template is that of
    training is for the caller.
    """
    with importing():
        from zephyrctl.generation.engine import load_engine

    folder = folder_of(ref)
    found = tokenizer_of(folder, fallback=model.chat_template)
    engine = load_engine(
        folder,
        dtype=model.dtype,
        device=device,
        attention=model.attention,
        tokenizer=found.tokenizer,
        quantize=quantize,
    )
    return engine, found.notices


def folder_of(ref: ModelRef) -> str:
    """The folder of a model's weights on this disk; a base model is fetched where it has to be."""
    if ref.kind not in ("base", "hub"):
        return str(Path(ref.target).expanduser())
    from zephyrctl.models.resolve import locate

    return str(locate(ref.target, revision=ref.revision).path)


def digest_of(ref: ModelRef) -> str:
    """A digest of all weights that the model stands on."""
    if ref.kind in ("base", "hub"):
        from zephyrctl.models.resolve import locate

        return locate(ref.target, revision=ref.revision, say=lambda text: None).digest
    chain = chain_of(ref.target)
    parts = [*map(str, chain.adapters), chain.base]
    return digest_json(
        [
            digest_tree(Path(part), ignore=_NOT_WEIGHTS) if Path(part).is_dir() else part
            for part in parts
        ]
    )
