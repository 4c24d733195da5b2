"""How does a model in this process answer? Batched and streamed decoding with transformers.

One loop decodes everything, so that a streamed answer, a single one and one of a batch are the same
tokens. Legend: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import gc
import inspect
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from zephyrctl.data.messages import Message, check_prompt
from zephyrctl.data.tokenizers import load_tokenizer, template_hash
from zephyrctl.data.tokens import encode_dialogue, encode_prompt, encode_prompts
from zephyrctl.errors import DataError, EnvironmentProblem, TrainingDiverged, UsageError
from zephyrctl.generation.adapters import chain_of
from zephyrctl.generation.detokenize import Detokenizer, decode
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.generation.weights import cast, load_base, merged, quiet
from zephyrctl.runs.signals import raise_if_stopping

_COMPACT_AT = 0.75
"""Finished rows leave the batch once the others are at most this share of it."""
_LONGEST_CONTEXT = 10**9
"""Tokenizers write 1e30 where they know no limit."""
_UNUSED_SETTINGS = {
    "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "min_new_tokens": None,
    "min_length": 0, "bad_words_ids": None, "sequence_bias": None, "num_beams": 1,
    "guidance_scale": None, "exponential_decay_length_penalty": None,
}  # fmt: skip
"""Settings of `generation_config.json` that change answers and are not applied, with the value
that means off."""


@dataclass
class _Row:
    """One answer under way. `limit` is the largest number of new tokens."""

    index: int
    prompt: list[int]
    limit: int
    draws: random.Random
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        return self.stopped or len(self.tokens) >= self.limit


class Engine:
    """A loaded model with its tokenizer and template."""

    def __init__(self, model: Any, tokenizer: Any, *, path: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.path = path
        self.device: torch.device = model.device
        self.dtype = str(model.dtype).removeprefix("torch.")
        self.template_sha256 = template_hash(tokenizer)
        self.stop_ids = stop_ids(model, tokenizer)
        self.context = _context_length(model, tokenizer)
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_logits_to_keep = "logits_to_keep" in accepted
        self._settings = model.generation_config
        self._seen: tuple[list[int], Any] | None = None

    @property
    def notices(self) -> list[str]:
        """Settings of the model's own `generation_config.json` that decoding here leaves out."""
        ignored = [
            name
            for name, off in _UNUSED_SETTINGS.items()
            if getattr(self._settings, name, off) not in (off, None)
        ]
        return [f"the model's generation setting {name} is not applied" for name in ignored]

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a prompt, as data preparation and training make them."""
        return encode_prompt(self.tokenizer, messages)

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        batch_size: int,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Answers in the order of `prompts`.

        Prompts of like length share a batch, the longest first, so that too large a batch fails
        at once. `on_done(index, completion)` is called as each answer ends, in any order.
        """
        rows = self._rows(prompts, sampling)
        rows.sort(key=lambda row: (-len(row.prompt), row.index))
        done: dict[int, Completion] = {}
        for start in range(0, len(rows), batch_size):
            for row in self._decode(rows[start : start + batch_size], sampling):
                if not row.is_done:
                    continue
                done[row.index] = self._completion(row)
                if on_done is not None:
                    on_done(row.index, done[row.index])
        return [done[index] for index in range(len(rows))]

    def stream(
        self,
        messages: Sequence[Message],
        *,
        sampling: Sampling,
        stop: Callable[[], bool] = lambda: False,
    ) -> Stream:
        """The pieces of one answer as they come; `stop()` is asked after every token."""
        (row,) = self._rows([messages], sampling)
        return Stream(self, row, self._decode([row], sampling, keep_cache=True), stop)

    def close(self) -> None:
        """Free the weights; the engine cannot be used afterwards."""
        self._seen = None
        del self.model
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _rows(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[_Row]:
        for prompt in prompts:
            check_prompt(prompt)
        encoded = encode_prompts(self.tokenizer, prompts)
        rows = []
        for index, ids in enumerate(encoded):
            room = (self.context or _LONGEST_CONTEXT) - len(ids)
            if room < 1:
                raise DataError(
                    f"the prompt has {len(ids)} tokens, and the model reads {self.context}",
                    where=f"prompt {index + 1} of {len(encoded)}",
                )
            limit = min(sampling.max_new_tokens, room)
            rows.append(_Row(index, ids, limit, sampling.draws(ids)))
        return rows

    def _completion(self, row: _Row) -> Completion:
        text = decode(self.tokenizer, row.tokens)
        return Completion(text, len(row.tokens), len(row.prompt), row.stopped, row.seconds)

    # The decorator, unlike a `with` block, lets go of the mode while the generator is suspended.
    @torch.inference_mode()
    def _decode(
        self, rows: list[_Row], sampling: Sampling, *, keep_cache: bool = False
    ) -> Iterator[_Row]:
        """Decode `rows` together; yields each row after each of its new tokens."""
        began = time.perf_counter()
        cache, known = self._start_cache(rows, reuse=keep_cache)
        ids, mask = self._padded([row.prompt for row in rows])
        ids = ids[:, known:]
        alive = rows
        while True:
            raise_if_stopping()
            self._seen = None  # a forward pass that is broken off leaves the cache half written
            logits = self._forward(ids, mask, cache)
            for row, token in zip(alive, self._choose(logits, alive, sampling), strict=True):
                if row.is_done:
                    continue
                row.tokens.append(token)
                row.stopped = token in self.stop_ids
                row.seconds = time.perf_counter() - began
                if keep_cache:
                    self._seen = (row.prompt + row.tokens[:-1], cache)
                yield row
            kept = [place for place, row in enumerate(alive) if not row.is_done]
            if not kept:
                return
            if len(kept) <= _COMPACT_AT * len(alive):
                chosen = torch.tensor(kept, device=self.device)
                cache.reorder_cache(chosen)
                mask = mask[chosen]
                alive = [alive[place] for place in kept]
            ids = torch.tensor([[row.tokens[-1]] for row in alive], device=self.device)
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits (B, V) in float32 after the last of the new `ids` (B, T'); `mask` is (B, T)."""
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if self._takes_positions:
            # Left padding: without these a row would be read at other positions than alone.
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
            arguments["position_ids"] = positions[:, -ids.shape[1] :]
        if self._takes_logits_to_keep:
            arguments["logits_to_keep"] = 1
        try:
            out = self.model(**arguments, past_key_values=cache, use_cache=True)
        except torch.OutOfMemoryError as error:
            raise EnvironmentProblem(
                f"the accelerator's memory is too small for {len(ids)} answers at once",
                hint="--set eval.batch_size=1, or a smaller max_new_tokens",
            ) from error
        logits = out.logits[:, -1].float()
        if torch.isnan(logits).any():
            raise TrainingDiverged(
                "the model's output is not a number", where=self.path, hint="train it again"
            )
        return logits

    def _choose(self, logits: torch.Tensor, alive: Sequence[_Row], sampling: Sampling) -> list[int]:
        """The next token of each row, from logits (B, V)."""
        penalty = getattr(self._settings, "repetition_penalty", None)
        if penalty not in (None, 1.0):
            logits = _penalised(logits, alive, penalty)
        suppressed = getattr(self._settings, "suppress_tokens", None)
        if suppressed:
            logits[:, list(suppressed)] = -torch.inf
        if sampling.is_greedy:
            return logits.argmax(dim=-1).tolist()
        draws = [row.draws.random() for row in alive]
        return draw(logits, draws, sampling).tolist()

    def _padded(self, prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask (B, T), padded on the left so that every row ends at the same column."""
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        ids = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        return (
            torch.tensor(ids, device=self.device),
            torch.tensor(mask, device=self.device),
        )

    def _start_cache(self, rows: list[_Row], *, reuse: bool) -> tuple[Any, int]:
        """A key-value cache and how many tokens of the prompt it already holds.

        A conversation's next prompt mostly begins with what was read before; only the rest is
        read. Caches that forget (sliding windows, linear attention) start anew.
        """
        cache = DynamicCache(config=self.model.config)
        seen, self._seen = self._seen, None
        if not reuse or seen is None or not _can_crop(seen[1]):
            return cache, 0
        old_ids, old_cache = seen
        prompt = rows[0].prompt
        pairs = zip(old_ids, prompt, strict=False)
        same = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
        known = min(len(old_ids), len(prompt)) if same is None else same
        known = min(known, len(prompt) - 1)
        surplus = old_cache.get_seq_length() - known
        if known < 1 or surplus < 0:
            return cache, 0
        old_cache.crop(-surplus)
        return old_cache, known


class Stream:
    """The pieces of one answer; `completion` stands once they are through, or were stopped."""

    def __init__(
        self, engine: Engine, row: _Row, steps: Iterator[_Row], stop: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._row = row
        self._pieces = self._run(steps, stop)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def completion(self) -> Completion:
        """What has been generated so far; `stopped` is false where it was broken off."""
        return self._engine._completion(self._row)

    def _run(self, steps: Iterator[_Row], stop: Callable[[], bool]) -> Iterator[str]:
        text = Detokenizer(self._engine.tokenizer)
        for row in steps:
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
) -> Engine:
    """Load a model folder, an adapter folder with all that it stands on, or a Hub id.

    `chat_template` is as in `load_tokenizer`; None is the model's own. Adapters are merged in
    float32 and the result cast to `dtype` once. `auto` is bfloat16 where the device computes in
    it and float32 elsewhere.
    """
    chain = chain_of(path)
    where = _device(device)
    number_format = _dtype(dtype, where)
    with quiet():
        tokenizer = _tokenizer(path, chain.base, revision=revision, chat_template=chat_template)
        model = load_base(
            chain.base,
            dtype=torch.float32 if chain.adapters else number_format,
            attention=attention,
            revision=revision,
        )
        for adapter in chain.adapters:
            model = merged(model, adapter)
    cast(model, number_format)
    return Engine(model.to(where).eval(), tokenizer, path=path)


def draw(logits: torch.Tensor, draws: Sequence[float], sampling: Sampling) -> torch.Tensor:
    """One token (B,) per row of `logits` (B, V), by the inverse of the cumulative distribution.

    `draws` holds one number in [0, 1) per row. Temperature, then top-k, then top-p, in the order
    of transformers' logits warpers.
    """
    scores = logits / sampling.temperature
    count = min(sampling.top_k or scores.shape[-1], scores.shape[-1])
    ranked, order = torch.topk(scores, count, dim=-1)  # (B, K), best first
    probabilities = torch.softmax(ranked.double(), dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    at = torch.tensor(draws, dtype=torch.float64, device=logits.device)[:, None]
    place = torch.searchsorted(cumulative, at * cumulative[:, -1:], right=True)
    last = (probabilities > 0).sum(dim=-1, keepdim=True) - 1
    return order.gather(1, torch.minimum(place, last))[:, 0]


def stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: the model's own, the tokenizer's EOS, and the template's end token.

    The last is what the template puts right after an assistant's words; a base model's
    configuration often lacks it (`<|eot_id|>`, `<|im_end|>`).
    """
    own = model.generation_config.eos_token_id
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


def _penalised(logits: torch.Tensor, alive: Sequence[_Row], penalty: float) -> torch.Tensor:
    """CTRL's repetition penalty over the row's own tokens; padding is never penalised."""
    for place, row in enumerate(alive):
        seen = torch.tensor(sorted({*row.prompt, *row.tokens}), device=logits.device)
        scores = logits[place, seen]
        logits[place, seen] = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits


def _tokenizer(path: str, base: str, *, revision: str | None, chat_template: str | None) -> Any:
    """The tokenizer of the folder itself, or of its base where an adapter folder has none."""
    folder = Path(path).expanduser()
    has_own = not folder.is_dir() or (folder / "tokenizer_config.json").is_file()
    source = path if has_own else base
    return load_tokenizer(source, revision=revision, chat_template=chat_template or "tokenizer")


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


def _context_length(model: Any, tokenizer: Any) -> int | None:
    """How many tokens the model reads, or None where nothing says so."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    # The tokenizer's own limit is often that of its training data; it only fills a gap.
    limit = positions or tokenizer.model_max_length
    return int(limit) if limit and limit < _LONGEST_CONTEXT else None


def _can_crop(cache: Any) -> bool:
    layers = getattr(cache, "layers", [])
    return bool(layers) and all(
        getattr(layer, "is_croppable", False) and not getattr(layer, "is_sliding", True)
        for layer in layers
    )
