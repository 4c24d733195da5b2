"""What log-probabilities does the reference model give to the pairs?

It is asked at every step, or once before the first one. What was computed once is kept for other
runs, pair by pair, under a key of weights and number formats: another beta, loss or learning rate,
other steps over the same pairs, and a start after a kill find it there.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from datasets import Dataset

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Dpo
from zephyrctl.errors import ConfigError, EnvironmentProblem
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.signals import raise_if_stopping
from zephyrctl.training import fsdp2, reference_cache, sharding
from zephyrctl.training.loading import Policy
from zephyrctl.training.processes import World, from_first, gather
from zephyrctl.training.reference_cache import IDS, LogProbs, pair_names
from zephyrctl.training.rows import lengths_of

COLUMNS = (CHOSEN, REJECTED) = ("ref_chosen_logps", "ref_rejected_logps")
FORMAT = 1
"""Raised by one when code changes so that the same pairs get other numbers."""
ROUND_TOKENS = 2**19
"""Tokens per process after which results are kept, so that a kill loses little."""

Kind = Literal["none", "copy", "adapter", "precompute"]
Columns = dict[str, list[float]]
Score = Callable[[list[dict[str, Any]]], list[LogProbs]]
"""What the reference model gives to a batch of pairs."""


def kind(settings: Dpo) -> Kind:
    """How the stage gets its reference log-probs; ConfigError where it cannot get them so."""
    if not settings.has_reference:
        return "none"
    if settings.reference == "adapter" and settings.adapter.type == "none":
        raise ConfigError(
            "without an adapter the starting weights are overwritten by training: they cannot be "
            "the reference at every step",
            where="dpo.reference",
            hint="--set dpo.reference=precompute, or --set dpo.adapter.type=lora",
        )
    return "precompute" if settings.reference == "auto" else settings.reference


def key(recipe: Recipe, policy: Policy, world: World, *, longest: int) -> str:
    """Digest of what decides the log-probs beside a pair's tokens. `longest`: tokens of the
    longest sequence, which the collator cuts to `max_length`."""
    settings = recipe.dpo
    form = "plain" if policy.start.adapter is None else policy.form
    if form == "weights":
        form = "merged"  # the adapter of the starting point, into float32 weights
    # Shards are gathered as bfloat16, while autocast keeps what is between two products float32.
    gathered = {"gathered": "bfloat16"} if world.bf16 and sharding.is_sharded(policy.model) else {}
    return digest_json(
        gathered
        | {
            "format": FORMAT,
            "weights": policy.start.digest,
            "form": form,
            "load_in_4bit": recipe.model.load_in_4bit,
            "dtype": str(policy.model.dtype),
            "bf16": world.bf16,
            "device": world.device,
            "attention": policy.model.config._attn_implementation,
            "tf32": settings.trainer_args.get("tf32"),
            "ld_alpha": settings.trainer_args.get("ld_alpha"),
            "cut_to": settings.max_length if longest > settings.max_length else None,
        }
    )


@dataclass(frozen=True)
class Source:
    """Where the log-probs that are computed once come from, for one stage."""

    key: str
    tokens: int
    """Most tokens of a forward pass, padding included."""
    world: World
    reporter: Reporter
    batch_size: int | None = None
    """Pairs of a forward pass, in the place of `tokens`."""
    in_step: bool = False
    """Every process must make equally many passes, because the weights are shared out."""
    round_tokens: int = ROUND_TOKENS

    def log_probs(self, rows: Dataset, *, split: str, score: Score) -> Columns:
        """Summed log-probs of chosen and rejected, each `(N,)`, in the order of `rows`.

        Those that the cache lacks are computed, the longest first, shared among the processes;
        every process must call this.
        """
        names = pair_names(rows)
        kept: dict[bytes, LogProbs] = {}
        if self.world.is_first:
            kept = reference_cache.read(self.key, wanted=set(names), say=self._warn)
        found: dict[bytes, LogProbs] = dict(from_first(kept))
        known = sum(name in found for name in names)
        if known:
            of = f" of {len(names)}" if known < len(names) else ""
            self.reporter.notice(
                f"reference log-probs of {known}{of} pairs ({split}) are taken from the cache"
            )
        missing = {name: index for index, name in enumerate(names) if name not in found}
        for part in self._computed(rows, missing, split=split, score=score):
            found |= part
            if self.world.is_first:
                reference_cache.add(self.key, part)
        if missing and self.world.is_first:
            reference_cache.prune()
        return {name: [found[pair][side] for pair in names] for side, name in enumerate(COLUMNS)}

    def _computed(
        self, rows: Dataset, missing: dict[bytes, int], *, split: str, score: Score
    ) -> Iterator[dict[bytes, LogProbs]]:
        """The missing pairs from all processes, round by round."""
        lengths = pair_lengths(rows)
        order = sorted(missing, key=lambda name: (-lengths[missing[name]], missing[name]))
        done = 0
        for whole in _rounds(
            order,
            [2 * lengths[missing[name]] for name in order],
            tokens=self.round_tokens * self.world.size,
        ):
            part: dict[bytes, LogProbs] = {}
            mine = whole[self.world.rank :: self.world.size]
            batches = list(self._batches(mine, [lengths[missing[name]] for name in mine]))
            for batch in batches:
                raise_if_stopping()
                pairs = rows.select([missing[name] for name in batch]).to_list()
                part |= zip(batch, _scored(pairs, score, whole=self.in_step), strict=True)
                self.reporter.progress(
                    f"reference log-probs, {split}",
                    done=min(len(order), done + len(part) * self.world.size),
                    total=len(order),
                    unit="pairs",
                )
            if self.in_step:
                for _ in range(max(gather(len(batches))) - len(batches)):
                    score(rows.select([missing[whole[-1]]]).to_list())
            done += len(whole)
            yield {name: pair for share in gather(part) for name, pair in share.items()}

    def _batches(self, names: list[bytes], lengths: list[int]) -> Iterator[list[bytes]]:
        """Runs of pairs, longest first, each within the limit of tokens or of one pair."""
        start = 0
        while start < len(names):
            size = self.batch_size or max(1, self.tokens // (2 * lengths[start]))
            yield names[start : start + size]
            start += size

    def _warn(self, text: str) -> None:
        self.reporter.notice(text, level="warning")


def frozen_copy(model: Any) -> Any:
    """A second model in memory, for a reference that is asked at every step; shared out where
    `model` is."""
    if sharding.is_sharded(model):
        return fsdp2.twin(model)
    twin = copy.deepcopy(model)
    twin.requires_grad_(False)
    return twin.eval()


def pair_sizes(rows: Dataset) -> list[tuple[int, int, int]]:
    """Tokens of prompt, chosen and rejected completion of each pair, `(N,)`."""
    columns = [lengths_of(rows, name) for name in IDS]
    return list(zip(*columns, strict=True))


def pair_lengths(rows: Dataset) -> list[int]:
    """Tokens of each pair's longer sequence, which decides its padding, `(N,)`."""
    return [prompt + max(chosen, rejected) for prompt, chosen, rejected in pair_sizes(rows)]


def _rounds(order: list[bytes], costs: list[int], *, tokens: int) -> Iterator[list[bytes]]:
    """Consecutive parts, each of about so many tokens."""
    start = total = 0
    for end, cost in enumerate(costs, start=1):
        total += cost
        if total >= tokens or end == len(order):
            yield order[start:end]
            start, total = end, 0


def _scored(pairs: list[dict[str, Any]], score: Score, *, whole: bool) -> list[LogProbs]:
    """The score of a batch; where the memory is too small for it, of its halves, unless it must be
    computed `whole`."""
    try:
        return score(pairs)
    except torch.OutOfMemoryError as error:
        if whole or len(pairs) == 1:
            number = "these pairs" if len(pairs) > 1 else "one pair"
            raise EnvironmentProblem(
                f"the accelerator's memory is too small for the reference log-probs of {number}",
                where="dpo.max_length",
                hint="a smaller dpo.max_length, or --set model.load_in_4bit=true with an adapter",
            ) from error
    half = len(pairs) // 2
    return _scored(pairs[:half], score, whole=False) + _scored(pairs[half:], score, whole=False)
