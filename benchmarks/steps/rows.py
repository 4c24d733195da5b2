"""Which rows are raced over, and how long are they?

Lengths come from a seed and are fitted to published medians (Wang and Hegde 2024, arXiv 2410.20305,
and the prefix-sharing repository's README for pairs; the training log of `zephyr-7b-sft-full` for
dialogues: 285.7 M tokens of 207,865 conversations). The spreads are not published: they were
chosen so that eight random pairs hold 1.8 slots per token and sharing the prompt saves a sixth,
which is what that README reports. Tokens are drawn evenly: no kernel's time depends on them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

SEED = 20_261_123
EOS, FIRST_WORD = 1, 3
"""Token ids of the tokenizer of `models.py`: the end of a text, and the first plain word."""

PairList = Literal["ultrafeedback", "multi-turn", "short"]
DialogueList = Literal["ultrachat", "short"]


@dataclass(frozen=True)
class Shape:
    """Log-normal lengths: medians and spreads of the logarithm, and the longest allowed."""

    prompt: float
    prompt_spread: float
    completion: float
    completion_spread: float
    longest_prompt: int
    longest: int


PAIRS: dict[str, Shape] = {
    "ultrafeedback": Shape(121, 0.75, 288, 0.5, 512, 1024),
    "multi-turn": Shape(713, 0.5, 447, 0.6, 1536, 2048),  # 1,160 tokens, 1.6 prompt : completion
    "short": Shape(12, 0.5, 16, 0.5, 24, 48),
}
DIALOGUES: dict[str, Shape] = {
    "ultrachat": Shape(0, 0.0, 1243, 0.45, 0, 2048),  # mean 1,375
    "short": Shape(0, 0.0, 24, 0.5, 0, 48),
}
TOGETHER = 0.5
"""Correlation of the logarithms of a pair's two completions: a prompt that asks for much gets it
twice."""


@dataclass(frozen=True)
class Row:
    """Token ids of one example: a pair, or a dialogue whose `chosen` holds everything."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def tokens(self) -> int:
        """Real tokens: a pair's prompt stands before each of its completions."""
        sequences = 2 if self.rejected else 1
        return sequences * len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def longest(self) -> int:
        """Tokens of the longer sequence, which decides the padding."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))

    @property
    def context(self) -> float:
        """Sum over all real tokens of the tokens that each one sees, itself included."""
        ends = (self.chosen, self.rejected) if self.rejected else (self.chosen,)
        return sum(n * (n + 1) / 2 for end in ends for n in [len(self.prompt) + len(end)])


def draw_pairs(kind: str, count: int, *, vocabulary: int, seed: int = SEED) -> list[Row]:
    """Preference pairs; both completions end with EOS."""
    shape, rng = PAIRS[kind], np.random.default_rng(seed)
    spread = shape.prompt_spread * rng.standard_normal(count)
    prompts = np.clip(shape.prompt * np.exp(spread), 4, shape.longest_prompt).astype(int)
    shared = np.sqrt(TOGETHER) * rng.standard_normal((count, 1))
    own = np.sqrt(1 - TOGETHER) * rng.standard_normal((count, 2))
    ends = shape.completion * np.exp(shape.completion_spread * (shared + own))
    ends = np.clip(ends, 4, shape.longest - prompts[:, None]).astype(int)
    return [
        Row(_words(rng, prompt, vocabulary), *(_text(rng, end, vocabulary) for end in both))
        for prompt, both in zip(prompts.tolist(), ends.tolist(), strict=True)
    ]


def draw_dialogues(kind: str, count: int, *, vocabulary: int, seed: int = SEED) -> list[Row]:
    """Dialogues of which every token is trained, with EOS at their end."""
    shape, rng = DIALOGUES[kind], np.random.default_rng(seed)
    sizes = shape.completion * np.exp(shape.completion_spread * rng.standard_normal(count))
    sizes = np.clip(sizes, 8, shape.longest).astype(int)
    return [Row([], _text(rng, size, vocabulary), []) for size in sizes.tolist()]


def _words(rng: np.random.Generator, count: int, vocabulary: int) -> list[int]:
    return rng.integers(FIRST_WORD, vocabulary, size=count).tolist()


def _text(rng: np.random.Generator, count: int, vocabulary: int) -> list[int]:
    return [*_words(rng, count - 1, vocabulary), EOS]
