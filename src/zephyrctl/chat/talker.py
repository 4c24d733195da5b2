"""Who answers in a chat: weights on this machine, or an endpoint?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zephyrctl.chat import loading
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError, ZephyrctlError
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs.importing import importing
from zephyrctl.sizes import size_words

if TYPE_CHECKING:
    from zephyrctl.generation.endpoint import Asked, Endpoint, Streamed
    from zephyrctl.generation.engine import Engine
    from zephyrctl.generation.quantized import Quantize
    from zephyrctl.runs.references import ModelRef


class Reply(Protocol):
    """Pieces of a reply; `completion` is what came so far."""

    def __iter__(self) -> Iterator[str]: ...

    @property
    def completion(self) -> Completion: ...


class Talker(Protocol):
    """A model to talk with."""

    name: str
    ref_name: str
    """What opens the same model again: a run's stage, a folder, a Hub id or an endpoint."""
    weight_bytes: int | None
    """Memory that the weights take here; None for a model elsewhere."""
    template_sha256: str | None
    """Of the chat template; None where a service applies its own."""
    facts: list[tuple[str, str]]
    """Label and value of what /status shows."""
    notices: list[str]
    """What the user should know: before the first word, and what the first reply has shown."""

    @property
    def context(self) -> int | None:
        """Tokens the model reads, None where unknown."""
        ...

    def count(self, messages: list[Message]) -> int | None:
        """Tokens of a prompt, None where they cannot be counted here."""
        ...

    def reply(
        self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
    ) -> Reply:
        """Start a reply; `stop()` is asked after each piece."""
        ...

    def answer(self, messages: list[Message], *, sampling: Sampling) -> Completion:
        """A whole reply at once."""
        ...

    def rendered(self, messages: list[Message]) -> str:
        """The prompt exactly as the model reads it."""
        ...

    def close(self) -> None:
        """Free what it holds; it cannot be asked afterwards."""
        ...


class LocalTalker:
    """Weights on this machine."""

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        template: str,
        notices: list[str],
        ref_name: str | None = None,
    ) -> None:
        self.engine = engine
        self.name = name
        self.ref_name = ref_name or engine.path
        self.weight_bytes: int | None = engine.weight_bytes
        self.template_sha256: str | None = engine.template_sha256
        self.context = engine.context
        self.facts = [
            ("folder", engine.path),
            ("device", f"{engine.device}, {engine.dtype}"),
            ("template", f"{template} {engine.template_sha256[:12]}"),
            ("context", f"{engine.context or 'unknown'} tokens"),
        ]
        self.notices = [*notices, *engine.notices]
        self._told = False

    def count(self, messages: list[Message]) -> int:
        """See `Talker`."""
        return len(self.engine.encode(self._read(messages)))

    def reply(
        self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
    ) -> Reply:
        """See `Talker`."""
        return self.engine.stream(self._read(messages), sampling=sampling, stop=stop)

    def answer(self, messages: list[Message], *, sampling: Sampling) -> Completion:
        """See `Talker`."""
        read = self._read(messages)
        return self.engine.answer([read], sampling=sampling, batch_size=1)[0]

    def rendered(self, messages: list[Message]) -> str:
        """See `Talker`."""
        return self.engine.tokenizer.decode(self.engine.encode(self._read(messages)))

    def close(self) -> None:
        """See `Talker`."""
        self.engine.close()

    def _read(self, messages: list[Message]) -> list[Message]:
        """The conversation as the model gets it: text that was pasted in cannot end a turn."""
        read = self.engine.as_text(messages)
        changed = sum(one != other for one, other in zip(read, messages, strict=True))
        if changed and not self._told:
            self._told = True
            say_wrapped(
                f"{changed} of {len(read)} messages hold control tokens of the model, which it is "
                "given as plain text",
                head="! ",
            )
        return read


class EndpointTalker:
    """A model at an OpenAI-compatible service."""

    weight_bytes: int | None = None
    template_sha256: str | None = None

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.name = endpoint.model
        self.ref_name = f"openai+{endpoint.base_url}:{endpoint.model}"
        self.facts = [
            ("endpoint", endpoint.base_url),
            ("key", "sent" if endpoint.api_key else "none"),
            ("template", "the service's own"),
        ]
        self.notices: list[str] = []

    @property
    def context(self) -> int | None:
        """See `Talker`; asked of the service when it is first wanted."""
        return self._listed_context

    @cached_property
    def _listed_context(self) -> int | None:
        """What the service says of the context. A list of models without this one becomes a
        notice: some services answer to more names than they list."""
        try:
            found = {one.name: one.context for one in self.endpoint.listed()}
        except ZephyrctlError:  # a reply will tell what is wrong
            return None
        if found and self.name not in found:
            names = ", ".join(list(found)[:5]) + (", …" if len(found) > 5 else "")
            self.notices.append(f"the service lists no model '{self.name}'; it lists {names}")
        return found.get(self.name)

    def count(self, messages: list[Message]) -> None:
        """See `Talker`."""
        del messages

    def reply(
        self, messages: list[Message], *, sampling: Sampling, stop: Callable[[], bool]
    ) -> Reply:
        """See `Talker`."""
        from zephyrctl.generation.endpoint import Streamed

        told = Streamed()
        pieces = self.endpoint.stream(_asked(messages, sampling), told)
        return _EndpointReply(pieces, told, stop, lambda: self._note(sampling))

    def answer(self, messages: list[Message], *, sampling: Sampling) -> Completion:
        """See `Talker`."""
        from zephyrctl.generation.remote import completion_of

        began = time.perf_counter()

        async def once() -> Any:
            try:
                return await self.endpoint.chat(_asked(messages, sampling))
            finally:
                await self.endpoint.aclose()

        reply = asyncio.run(once())
        self._note(sampling)
        return completion_of(reply, seconds=time.perf_counter() - began)

    def rendered(self, messages: list[Message]) -> str:
        """See `Talker`."""
        raise DataError("the endpoint applies its own template and does not show it")

    def close(self) -> None:
        """See `Talker`: every reply closes its own connection."""

    def _note(self, sampling: Sampling) -> None:
        """Note what of the settings the service does not apply, as its answers have shown."""
        found = list(self.endpoint.notices)
        if sampling.top_k and not sampling.is_greedy:
            found.append("top_k is not sent: the protocol of the service has none")
        self.notices += [text for text in found if text not in self.notices]


def _asked(messages: list[Message], sampling: Sampling) -> Asked:
    from zephyrctl.generation.endpoint import Asked

    return Asked(
        messages,
        sampling.max_new_tokens,
        temperature=sampling.temperature,
        seed=sampling.seed,
        top_p=None if sampling.is_greedy else sampling.top_p,
    )


@dataclass
class _EndpointReply:
    """`tokens` counts pieces, which most services send one token at a time, until the service
    tells its own count at the end."""

    pieces: Iterator[str]
    told: Streamed
    stop: Callable[[], bool]
    has_begun: Callable[[], None]
    """Called once, with the first piece."""
    text: str = ""
    tokens: int = 0
    ended: bool = False
    began: float = 0.0
    seconds: float = 0.0
    first_s: float | None = None

    def __iter__(self) -> Iterator[str]:
        self.began = time.perf_counter()
        for piece in self.pieces:
            self.text += piece
            self.tokens += 1
            self.seconds = time.perf_counter() - self.began
            if self.first_s is None:
                self.first_s = self.seconds
                self.has_begun()
            yield piece
            if self.stop():
                return
        self.ended = True

    @property
    def completion(self) -> Completion:
        from zephyrctl.generation.remote import ended_by

        reason = self.told.finish_reason if self.ended else None
        return Completion(
            self.text.strip(),
            self.told.completion_tokens or self.tokens,
            self.told.prompt_tokens or 0,
            reason == "stop",
            self.seconds,
            first_s=self.first_s,
            ended_by=reason and ended_by(reason),
        )


def open_local(
    ref: ModelRef, *, recipe: Recipe, device: str, quantize: Quantize = "none"
) -> LocalTalker:
    """Load the model that `ref` names, in the template it was trained with.

    A template that is not the one of its training is used all the same, and said.
    """
    from zephyrctl.data import template_lock
    from zephyrctl.generation.answerer import folder_of, open_engine

    if ref.kind in ("base", "hub"):
        with loading.hidden():  # a download shows itself
            folder_of(ref)
    loading.doing("importing PyTorch")
    with importing():
        import_module("zephyrctl.generation.engine")
    loading.doing(_weights_of(folder_of(ref)))
    engine, said = open_engine(ref, model=recipe.model, device=device, quantize=quantize)
    notices = list(said)
    try:
        lock = template_lock.check(Path(engine.path), engine.tokenizer)
    except DataError as error:
        notices.append(f"{error.message}; its answers may be much worse for it")
        lock = None
    if changed := template_lock.changed_tokenizer(Path(engine.path), lock):
        notices.append(changed)
    name = f"{ref.run.name}/{ref.stage}" if ref.run and ref.stage else ref.name
    label = lock.template if lock else recipe.model.chat_template if said else "the model's own"
    return LocalTalker(engine, name=name, template=label, notices=notices, ref_name=_again(ref))


def _weights_of(folder: str) -> str:
    """How much is read from the disk to load the model."""
    from zephyrctl.generation.adapters import chain_of

    chain = chain_of(folder)
    parts = [Path(part) for part in (chain.base, *chain.adapters)]
    files = [file for part in parts for file in part.glob("*.safetensors") if file.is_file()]
    return f"{size_words(sum(file.stat().st_size for file in files))} of weights"


def _again(ref: ModelRef) -> str:
    """A reference that opens the model of `ref` again wherever references are read.

    A relative path would be a name at the service of `--url`; a revision stands in the
    configuration alone, whose base is `base`.
    """
    if ref.kind in ("base", "hub"):
        return ref.target if ref.revision is None else "base"
    target = ref.run.root / ref.stage if ref.run and ref.stage else Path(ref.target)
    return str(target.expanduser().absolute())


def open_endpoint(
    spec: str, *, api_key_file: str | None = None, key_option: str | None = None
) -> EndpointTalker:
    """A talker at `openai:MODEL` or `openai+http://host/v1:MODEL`, with a key as in
    `Endpoint.parse`."""
    from zephyrctl.generation.endpoint import Endpoint

    endpoint = Endpoint.parse(spec, api_key_file=api_key_file, key_option=key_option)
    return EndpointTalker(endpoint)
