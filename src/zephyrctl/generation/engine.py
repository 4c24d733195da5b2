"""How does a model in this process answer? Weights, tokenizer and template, by transformers."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from zephyrctl.data.messages import Message, check_prompt
from zephyrctl.data.tokenizers import load_tokenizer, template_hash
from zephyrctl.data.tokens import encode_dialogue, encode_prompt, encode_prompts
from zephyrctl.errors import DataError, JobFailed, UsageError, quoted
from zephyrctl.generation import quantized
from zephyrctl.generation.adapters import Chain, chain_of
from zephyrctl.generation.choosing import unused_settings
from zephyrctl.generation.decoding import Decoder, Reader
from zephyrctl.generation.detokenize import Detokenizer, decode
from zephyrctl.generation.model_tokenizer import tokenizer_folder
from zephyrctl.generation.plain_text import as_text
from zephyrctl.generation.rows import Row
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.generation.weights import cast, load_base, merged, quiet, side_by_side

_LONGEST_CONTEXT = 10**9
"""Tokenizers write 1e30 where they know no limit."""


class Engine:
    """A loaded model with its tokenizer and template."""

    def __init__(self, model: Any, tokenizer: Any, *, path: str) -> None:
        self._model = model
        self.tokenizer = tokenizer
        self.path = path
        self.device: torch.device = model.device
        self.dtype = _format_of(model)
        self.template_sha256 = template_hash(tokenizer)
        self.context = context_length(model.config, tokenizer)
        ends = stop_ids(model.generation_config, tokenizer)
        reader = Reader(model, tokenizer.pad_token_id, stop_ids=ends, path=path)
        self._decoder: Decoder | None = Decoder(reader)

    @property
    def model(self) -> Any:
        """The weights; JobFailed after `close`, as for everything that needs them."""
        if self._model is None:
            raise _freed(self.path)
        return self._model

    @property
    def decoder(self) -> Decoder:
        """What reads and writes tokens with the weights; as `model` after `close`."""
        if self._decoder is None:
            raise _freed(self.path)
        return self._decoder

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return self.decoder.reader.stop_ids

    @property
    def notices(self) -> list[str]:
        """Settings of the model's own `generation_config.json` that decoding here leaves out."""
        ignored = unused_settings(self.model.generation_config)
        return [f"the model's generation setting {name} is not applied" for name in ignored]

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a prompt, as data preparation and training make them."""
        return encode_prompt(self.tokenizer, messages)

    def as_text(self, messages: Sequence[Message]) -> list[Message]:
        """A conversation in which pasted control tokens are text (`plain_text`)."""
        return as_text(messages, self.tokenizer)

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        batch_size: int,
        on_done: Callable[[int, Completion], None] = lambda index, completion: None,
        say: Callable[[str], None] = lambda text: None,
        keep_going: bool = False,
    ) -> list[Completion]:
        """Answers in the order of `prompts`, at most `batch_size` at once.

        The longest prompts come first, so that too large a batch is found out at once; `say` is
        told where fewer had to do. `on_done(index, completion)` is called as each answer ends, in
        any order. A prompt that is longer than the model reads is a DataError, or with
        `keep_going` a completion that says so.
        """
        rows, done = self._rows(prompts, sampling, keep_going=keep_going)
        for index, completion in done.items():
            on_done(index, completion)
        rows.sort(key=lambda row: (-len(row.prompt), row.index))
        try:
            for row in self.decoder.decode(rows, at_once=batch_size, say=say):
                if row.is_done:
                    done[row.index] = self._completion(row)
                    on_done(row.index, done[row.index])
        finally:
            self.forget()
        return [done[index] for index in range(len(prompts))]

    def stream(
        self,
        messages: Sequence[Message],
        *,
        sampling: Sampling,
        stop: Callable[[], bool] = lambda: False,
    ) -> Stream:
        """The pieces of one answer as they come; `stop()` is asked after every token."""
        began = time.perf_counter()
        (row,), _ = self._rows([messages], sampling)
        steps = self.decoder.decode([row], at_once=1, reuse=True)
        return Stream(self, row, steps, stop, began=began)

    def forget(self) -> None:
        """Free what the last answer left for the next turn of its conversation."""
        if self._decoder is not None:
            self._decoder.last = None

    @property
    def weight_bytes(self) -> int:
        """Memory that the weights take on their device."""
        return sum(tensor.nbytes for tensor in self.model.parameters())

    def close(self) -> None:
        """Free the weights. To ask afterwards is a JobFailed, to close again does nothing."""
        if self._model is None:
            return
        self._model = self._decoder = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _rows(
        self,
        prompts: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        keep_going: bool = False,
    ) -> tuple[list[Row], dict[int, Completion]]:
        """Rows to be decoded, and completions for prompts that leave no room for an answer."""
        for prompt in prompts:
            check_prompt(prompt)
        rows: list[Row] = []
        too_long: dict[int, Completion] = {}
        encoded = encode_prompts(self.tokenizer, prompts)
        for index, ids in enumerate(encoded):
            room = (self.context or _LONGEST_CONTEXT) - len(ids)
            if room >= 1:
                limit = min(sampling.max_new_tokens, room)
                rows.append(Row(index, ids, limit, sampling))
                continue
            problem = f"the prompt has {len(ids)} tokens, and the model reads {self.context}"
            if not keep_going:
                raise DataError(problem, where=f"prompt {index + 1} of {len(encoded)}")
            too_long[index] = Completion("", 0, len(ids), False, 0.0, problem)
        return rows, too_long

    def _completion(self, row: Row) -> Completion:
        text = decode(self.tokenizer, row.tokens)
        return Completion(
            text,
            len(row.tokens),
            len(row.prompt),
            row.stopped,
            row.seconds,
            cached=row.cached,
        )


def _freed(path: str) -> JobFailed:
    return JobFailed(
        "the model is not in memory any more", where=path, hint=f"zephyrctl chat {quoted(path)}"
    )


class Stream:
    """The pieces of one answer; `completion` stands once they are through, or were stopped."""

    def __init__(
        self,
        engine: Engine,
        row: Row,
        steps: Iterator[Row],
        stop: Callable[[], bool],
        *,
        began: float,
    ) -> None:
        self._engine = engine
        self._row = row
        self._began = began
        self._first_s: float | None = None
        self._pieces = self._run(steps, stop)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def completion(self) -> Completion:
        """What has been generated so far; `stopped` is false where it was broken off."""
        return replace(self._engine._completion(self._row), first_s=self._first_s)

    def _run(self, steps: Iterator[Row], stop: Callable[[], bool]) -> Iterator[str]:
        text = Detokenizer(self._engine.tokenizer)
        for row in steps:
            if self._first_s is None:
                self._first_s = time.perf_counter() - self._began
            if piece := text.feed(row.tokens[-1]):
                yield piece
            if stop():
                break
        if piece := text.close():
            yield piece


def load_engine(
    path: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "auto",
    chat_template: str | None = None,
    revision: str | None = None,
    quantize: quantized.Quantize = "none",
    tokenizer: Any = None,
) -> Engine:
    """Load a model folder, an adapter folder with all that it stands on, or a Hub id.

    `chat_template` is as in `load_tokenizer`; None is the model's own. `tokenizer` is one that was
    loaded already, with its template. Adapters are merged in
    float32 and the result cast to `dtype` once. `auto` is bfloat16 where the device computes in
    it and float32 elsewhere. With `quantize` the base's weights are rounded to 8 or 4 bits and
    computed with in `dtype`, its adapters beside it unmerged; EnvironmentProblem where this
    machine cannot do that.
    """
    chain = chain_of(path)
    where = _device(device)
    number_format = _dtype(dtype, where)
    with quiet():
        if tokenizer is None:
            tokenizer = load_tokenizer(
                tokenizer_folder(path), revision=revision, chat_template=chat_template
            )
        if quantize != "none":
            model = _few_bits(chain, quantize, where, number_format, attention, revision)
            return Engine(model.eval(), tokenizer, path=path)
        model = load_base(
            chain.base,
            dtype=torch.float32 if chain.adapters else number_format,
            attention=attention,
            revision=revision,
            **({} if chain.adapters else _straight_to(where)),
        )
        for adapter in chain.adapters:
            model = merged(model, adapter)
    cast(model, number_format)
    return Engine(model.to(where).eval(), tokenizer, path=path)


def _straight_to(where: torch.device) -> dict[str, Any]:
    """Have weights read into an accelerator's memory tensor by tensor, never whole into this one.

    With adapters they are merged in float32 first, for which the accelerator may be too small.
    """
    return {} if where.type == "cpu" else {"device_map": {"": where}}


def _few_bits(
    chain: Chain,
    bits: quantized.Bits,
    where: torch.device,
    compute: torch.dtype,
    attention: str,
    revision: str | None,
) -> Any:
    """A quantized base with its adapters beside it, unmerged."""
    quantized.require(bits, device=where.type)
    quantized.require_sum(chain)
    from transformers import BitsAndBytesConfig

    name = str(compute).removeprefix("torch.")
    model = load_base(
        chain.base,
        dtype=compute,
        attention=attention,
        revision=revision,
        quantization_config=BitsAndBytesConfig(**quantized.arguments(bits, compute_dtype=name)),
        device_map={"": where},
    )
    if not chain.adapters:
        return model
    # PEFT's wrapper hides which arguments the model takes; its layers are inside already.
    return side_by_side(model, chain.adapters).get_base_model()


def stop_ids(settings: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: the model's own, the tokenizer's EOS, and the template's end token.

    The last is what the template puts right after an assistant's words; a base model's
    configuration often lacks it (`<|eot_id|>`, `<|im_end|>`).
    """
    own = settings.eos_token_id
    found = set(own) if isinstance(own, list) else {own}
    found.add(tokenizer.eos_token_id)
    try:
        encoded = encode_dialogue(tokenizer, [Message("user", "a"), Message("assistant", "b")])
    except DataError:  # a template whose assistant turns cannot be told apart: EOS must do
        return frozenset(found - {None})
    trained = [
        token
        for token, is_trained in zip(encoded.input_ids, encoded.assistant_mask, strict=True)
        if is_trained
    ]
    if trained and trained[-1] in tokenizer.all_special_ids:
        found.add(trained[-1])
    return frozenset(found - {None})


def _device(name: str) -> torch.device:
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"device '{name}' cannot be used: {reason}", hint="--device cpu, cuda, cuda:1 or mps"
        ) from error
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        computes_in_it = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if computes_in_it else torch.float32
    return getattr(torch, name)


def _format_of(model: Any) -> str:
    """The number format of the weights, in words."""
    name = str(model.dtype).removeprefix("torch.")
    bits = [n for n in (4, 8) if getattr(model, f"is_loaded_in_{n}bit", False)]
    return f"{bits[0]}-bit weights in {name}" if bits else name


def context_length(config: Any, tokenizer: Any) -> int | None:
    """How many tokens the model reads, or None where nothing says so."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    # The tokenizer's own limit is often that of its training data; it only fills a gap.
    limit = positions or tokenizer.model_max_length
    return int(limit) if limit and limit < _LONGEST_CONTEXT else None
