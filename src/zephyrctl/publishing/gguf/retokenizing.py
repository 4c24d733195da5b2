"""Which token ids does llama.cpp make of a text, by nothing but a file's keys?

Its two algorithms are done again in small, after `src/llama-vocab.cpp` of
github.com/ggml-org/llama.cpp: a text is cut at its special tokens first, and every piece between
them goes through byte-level BPE or SentencePiece's merging by score.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping
from typing import Any

import gguf
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from zephyrctl.publishing.gguf.pre_tokenizers import LLAMA_3, QWEN_2

_SPECIAL = (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)
_PATTERNS = {"llama-bpe": LLAMA_3, "smaug-bpe": LLAMA_3, "qwen2": QWEN_2}
Encoder = Callable[[str], list[int]]


def encoder_of(keys: Mapping[str, Any]) -> Encoder:
    """What makes ids of a text as llama.cpp does with a file of these keys; no BOS is added."""
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    ids = {token: number for number, token in enumerate(tokens)}
    special = sorted(
        (token for token, kind in zip(tokens, types, strict=True) if kind in _SPECIAL),
        key=len,
        reverse=True,
    )
    cut = re.compile(f"({'|'.join(map(re.escape, special))})") if special else None
    by_score = keys["tokenizer.ggml.model"] == "llama"
    inner = _by_score(keys, ids) if by_score else _byte_level(keys, ids)
    known = frozenset(special)

    def encode(text: str) -> list[int]:
        pieces = cut.split(text) if cut is not None else [text]
        return [
            number
            for piece in pieces
            if piece
            for number in ([ids[piece]] if piece in known else inner(piece))
        ]

    return encode


def _byte_level(keys: Mapping[str, Any], ids: dict[str, int]) -> Encoder:
    pre = keys["tokenizer.ggml.pre"]
    pairs = [tuple(merge.split(" ")) for merge in keys["tokenizer.ggml.merges"]]
    backend = Tokenizer(models.BPE(ids, pairs, ignore_merges=pre == "llama-bpe"))
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if pre in _PATTERNS:
        steps = [
            pre_tokenizers.Split(Regex(_PATTERNS[pre]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    elif pre == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return lambda text: backend.encode(text, add_special_tokens=False).ids


def _by_score(keys: Mapping[str, Any], ids: dict[str, int]) -> Encoder:
    scores = keys["tokenizer.ggml.scores"]
    space_before = keys["tokenizer.ggml.add_space_prefix"]

    def encode(text: str) -> list[int]:
        parts = _joined(f" {text}" if space_before else text, ids, scores)
        return [
            number
            for part in parts
            for number in (
                [ids[part]] if part in ids else [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
            )
        ]

    return encode


def _joined(text: str, ids: dict[str, int], scores: list[float]) -> list[str]:
    """The text in tokens and letters: of all neighbours that make a token, the best score is joined
    first, the leftmost of equals."""
    parts: list[str | None] = list(text.replace(" ", "▁"))
    after = list(range(1, len(parts) + 1))
    before = list(range(-1, len(parts) - 1))
    waiting: list[tuple[float, int, str]] = []

    def look(left: int) -> None:
        right = after[left] if left >= 0 else len(parts)
        if right < len(parts):
            made = f"{parts[left]}{parts[right]}"
            if made in ids:
                heapq.heappush(waiting, (-scores[ids[made]], left, made))

    for place in range(len(parts) - 1):
        look(place)
    while waiting:
        _, left, made = heapq.heappop(waiting)
        right = after[left]
        if parts[left] is None or right >= len(parts) or f"{parts[left]}{parts[right]}" != made:
            continue  # one of the two was joined with something else meanwhile
        parts[left], parts[right] = made, None
        after[left] = after[right]
        if after[left] < len(parts):
            before[after[left]] = left
        look(before[left])
        look(left)
    return [part for part in parts if part is not None]
