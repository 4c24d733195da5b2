"""What does llama.cpp have to know to make the same token ids?

Two kinds of tokenizer are known: byte-level BPE with one of llama.cpp's rules for words, and the
BPE of SentencePiece with bytes for unknown letters, which llama.cpp runs by the rank of the result
instead of a list of merges. What they cannot say is refused, or said where it is no part of a chat.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gguf

from zephyrctl.errors import DataError, UsageError
from zephyrctl.publishing.gguf.pre_tokenizers import pre_tokenizer

_SPACE = "▁"
_NOT_MERGED = -1000.0
"""Score of tokens that no merge makes; upstream's converter gives them the same."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer's part of a file; `tokens[i]` is that of id i.

    `special` holds ids by llama.cpp's word for them (bos, eos, eot, eom, unk, pad). `space_before`
    says whether every text gets a space before it; None where the kind has no such thing.
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...] | None
    scores: tuple[float, ...] | None
    special: dict[str, int]
    space_before: bool | None
    notices: tuple[str, ...]


def vocabulary_of(
    tokenizer: Any, *, size: int, ends: Sequence[int], begins_with_special: bool, where: str
) -> Vocabulary:
    """The vocabulary of a tokenizer for a model with `size` rows of embeddings.

    `ends` are the ids that end an answer, the tokenizer's EOS first; `begins_with_special` says
    whether the chat template opens every chat with a special token. UsageError where llama.cpp
    would make other ids.
    """
    backend = _backend(tokenizer, where)
    tokens, types = _tokens(backend, size, where)
    _refuse_odd_tokens(backend, tokenizer.backend_tokenizer.normalizer, where)
    special, notices = _special(tokenizer, tokens, ends)
    if backend["model"].get("byte_fallback"):
        space_before, said = _space_before(backend, begins_with_special, where)
        return Vocabulary(
            "llama", "default", tokens, _with_bytes(tokens, types, special), None,
            _scores(backend, tokens, where), special, space_before, (*notices, *said),
        )  # fmt: skip
    pre = pre_tokenizer(backend, where=where)
    said = _normalizer(backend["normalizer"], where)
    merges = tuple(" ".join(_pair(merge)) for merge in backend["model"]["merges"])
    return Vocabulary("gpt2", pre, tokens, types, merges, None, special, None, (*notices, *said))


def _backend(tokenizer: Any, where: str) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UsageError("the tokenizer has no tokenizer.json to read", where=where)
    found = json.loads(backend.to_str())
    model = found["model"]
    if model["type"] != "BPE":
        raise UsageError(
            f"the tokenizer is of the kind {model['type']}; only BPE can be written", where=where
        )
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            raise UsageError(f"llama.cpp's BPE does not know '{setting}'", where=where)
    return found


def _tokens(
    backend: dict[str, Any], size: int, where: str
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Text and type of every id. Rows of the embeddings that no token has are named as unused."""
    by_id = {number: token for token, number in backend["model"]["vocab"].items()}
    types = dict.fromkeys(by_id, int(gguf.TokenType.NORMAL))
    for added in backend["added_tokens"]:
        by_id[added["id"]] = added["content"]
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        types[added["id"]] = int(kind)
    if by_id and max(by_id) >= size:
        raise DataError(
            f"the tokenizer has the id {max(by_id)}, the model only {size} embeddings", where=where
        )
    unused = int(gguf.TokenType.UNUSED)
    return (
        tuple(by_id.get(number, f"[PAD{number}]") for number in range(size)),
        tuple(types.get(number, unused) for number in range(size)),
    )


def _refuse_odd_tokens(backend: dict[str, Any], normalizer: Any, where: str) -> None:
    """llama.cpp finds an added token by its exact text and takes nothing of what is round it."""
    for added in backend["added_tokens"]:
        odd = [name for name in ("lstrip", "rstrip", "single_word") if added[name]]
        text = added["content"]
        if (
            added["normalized"]
            and normalizer is not None
            and normalizer.normalize_str(text) != text
        ):
            odd.append("normalized")
        if odd:
            raise UsageError(
                f"the token {text!r} is found in another way than llama.cpp's ({', '.join(odd)})",
                where=where,
            )


def _special(
    tokenizer: Any, tokens: Sequence[str], ends: Sequence[int]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Ids by llama.cpp's words; it ends a reply at EOS, EOT and EOM, whichever comes."""
    known = {
        "bos": tokenizer.bos_token_id,
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
    }
    words = ("eos", "eot", "eom")
    found = {word: number for word, number in known.items() if number is not None}
    found |= dict(zip(words, ends, strict=False))
    left_out = [tokens[number] for number in ends[len(words) :]]
    return found, (
        (f"llama.cpp may not stop at {', '.join(left_out)}: a file names {len(words)} end tokens",)
        if left_out
        else ()
    )


def _with_bytes(
    tokens: Sequence[str], types: Sequence[int], special: dict[str, int]
) -> tuple[int, ...]:
    """The types with SentencePiece's own: the 256 bytes, and the unknown token."""
    found = list(types)
    of_bytes = {f"<0x{byte:02X}>" for byte in range(256)}
    for number, token in enumerate(tokens):
        if token in of_bytes:
            found[number] = int(gguf.TokenType.BYTE)
    if "unk" in special:
        found[special["unk"]] = int(gguf.TokenType.UNKNOWN)
    return tuple(found)


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _scores(backend: dict[str, Any], tokens: Sequence[str], where: str) -> tuple[float, ...]:
    """A score for each id, the higher the sooner merged: minus the rank of the token's merges.

    llama.cpp joins whatever two neighbours make a token, by its score. That is this tokenizer only
    where each token's merges stand together and are all the ways to make it.
    """
    ranks, pairs = _merged(backend["model"]["merges"], where)
    added = {token["content"] for token in backend["added_tokens"]}
    reachable = {token for token in backend["model"]["vocab"] if len(token) == 1 or token in ranks}
    for token in set(backend["model"]["vocab"]) - added:
        splits = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        wanted = {split for split in splits if reachable.issuperset(split)}
        found = {pair for pair in pairs.get(token, ()) if reachable.issuperset(pair)}
        if wanted != found:
            raise UsageError(
                f"llama.cpp would make the token {token!r} in ways that this tokenizer does not",
                where=where,
            )
    return tuple(-float(ranks[token]) if token in ranks else _NOT_MERGED for token in tokens)


def _merged(
    merges: Sequence[Any], where: str
) -> tuple[dict[str, int], dict[str, set[tuple[str, str]]]]:
    """The rank of every token that merges make, and its merges."""
    ranks: dict[str, int] = {}
    pairs: dict[str, set[tuple[str, str]]] = defaultdict(set)
    last = ""
    for merge in merges:
        left, right = _pair(merge)
        made = left + right
        if made != last and made in ranks:
            raise UsageError(f"the merges of {made!r} do not stand together", where=where)
        ranks.setdefault(made, len(ranks))
        pairs[made].add((left, right))
        last = made
    return ranks, pairs


def _space_before(
    backend: dict[str, Any], begins_with_special: bool, where: str
) -> tuple[bool, tuple[str, ...]]:
    """Whether every text gets a space before it, with what of that is not the same.

    llama.cpp puts it before the text and after each special token, or nowhere.
    """
    scheme = _scheme(backend["normalizer"], backend["pre_tokenizer"])
    if scheme == "each":
        return True, ()
    if scheme == "always":
        return True, (
            "llama.cpp puts a space before text that follows a special token even where the text "
            "begins with one",
        )
    if scheme == "never":
        return False, ()
    if scheme == "first" and begins_with_special:
        return False, (
            "text without the chat template gets no space before its first word in llama.cpp, "
            "which the tokenizer puts there",
        )
    raise UsageError("llama.cpp treats spaces in another way than this tokenizer does", where=where)


def _scheme(normalizer: Any, pre_tokenizer: Any) -> str | None:
    """When the tokenizer puts a space before a text: each, always (but before a space), first,
    never; None for what is not known."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    if pre_tokenizer is None and normalizer is not None:
        steps = normalizer.get("normalizers", [normalizer])
        if steps == [{"type": "Prepend", "prepend": _SPACE}, replace]:
            return "each"
        return "never" if steps == [replace] else None
    if normalizer is None and pre_tokenizer is not None and pre_tokenizer["type"] == "Metaspace":
        is_plain = pre_tokenizer["replacement"] == _SPACE and not pre_tokenizer.get("split", True)
        return pre_tokenizer["prepend_scheme"] if is_plain else None
    return None


def _normalizer(normalizer: dict[str, Any] | None, where: str) -> tuple[str, ...]:
    """What a byte-level tokenizer does to a text first; llama.cpp does nothing."""
    if normalizer is None:
        return ()
    if normalizer["type"] == "NFC":
        return (
            "the tokenizer composes letters and accents first (NFC), which llama.cpp does not: "
            "text in decomposed form gives other tokens there",
        )
    raise UsageError(
        f"llama.cpp does not change a text as this tokenizer does first ({normalizer['type']})",
        where=where,
    )
