"""Which token ids does a conversation become? All ids, in every stage, are made here.

A template with `{% generation %}` markers says itself what the assistant is trained on. For one
without, the trained span of a turn is what its rendering adds to the rendering of the prompt
before it, ending with the turn's last added-vocabulary token (its end token); a template for which
these renderings are not prefixes of one another is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from zephyrctl.data.messages import Message, PreferencePair, to_json
from zephyrctl.data.tokenizers import template_text
from zephyrctl.errors import DataError

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation of T tokens: `input_ids` (T,), `assistant_mask` (T,) with 1 where trained."""

    input_ids: list[int]
    assistant_mask: list[int]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A prompt with two completions, and how many tokens were cut from each."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    prompt_cut: int = 0
    chosen_cut: int = 0
    rejected_cut: int = 0


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a record has no usable token ids."""

    reason: str


def has_generation_markers(tokenizer: Any) -> bool:
    """Whether the template marks what the assistant is trained on."""
    return bool(_GENERATION.search(template_text(tokenizer)))


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation with the header of the assistant's turn that is to come."""
    return encode_prompts(tokenizer, [messages])[0]


def encode_prompts(tokenizer: Any, prompts: Sequence[Sequence[Message]]) -> list[list[int]]:
    """`encode_prompt` for many conversations in one call of the tokenizer."""
    if not prompts:
        return []
    return _apply(tokenizer, prompts, add_generation_prompt=True)


def encode_dialogue(tokenizer: Any, messages: Sequence[Message]) -> Encoded:
    """Ids of a whole conversation, with the mask of what the assistant is trained on."""
    return encode_dialogues(tokenizer, [messages])[0]


def encode_dialogues(tokenizer: Any, dialogues: Sequence[Sequence[Message]]) -> list[Encoded]:
    """`encode_dialogue` for many conversations in one call of the tokenizer."""
    if not dialogues:
        return []
    if not has_generation_markers(tokenizer):
        return [_encode_by_prefixes(tokenizer, messages) for messages in dialogues]
    out = tokenizer.apply_chat_template(
        [to_json(messages) for messages in dialogues],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return [
        Encoded(ids, mask)
        for ids, mask in zip(out["input_ids"], out["assistant_masks"], strict=True)
    ]


def encode_pair(
    tokenizer: Any, pair: PreferencePair, *, max_prompt_length: int, max_length: int
) -> EncodedPair | Unusable:
    """Ids of a preference pair, cut to its limits; see `encode_pairs`."""
    encoded = encode_pairs(
        tokenizer, [pair], max_prompt_length=max_prompt_length, max_length=max_length
    )
    return encoded[0]


def encode_pairs(
    tokenizer: Any,
    pairs: Sequence[PreferencePair],
    *,
    max_prompt_length: int,
    max_length: int,
) -> list[EncodedPair | Unusable]:
    """Ids of many pairs.

    The prompt keeps its last `max_prompt_length` tokens (and its BOS), so that the newest turn
    and the assistant's header survive; each completion then keeps its first tokens up to
    `max_length` in all. A completion ends with its end token.
    """
    prompts = encode_prompts(tokenizer, [pair.prompt for pair in pairs])
    chosen = encode_dialogues(tokenizer, [(*pair.prompt, *pair.chosen) for pair in pairs])
    rejected = encode_dialogues(tokenizer, [(*pair.prompt, *pair.rejected) for pair in pairs])
    bos = _leading_bos(tokenizer)
    return [
        _cut_pair(p, c, r, bos=bos, max_prompt_length=max_prompt_length, max_length=max_length)
        for p, c, r in zip(prompts, chosen, rejected, strict=True)
    ]


def cut_dialogue(
    encoded: Encoded, *, max_length: int, trains_all: bool = False
) -> tuple[Encoded, int] | Unusable:
    """The first `max_length` tokens and how many were cut; unusable where none left is trained.

    `trains_all` says that the loss is on every token, so that any row is of use.
    """
    cut = max(0, len(encoded.input_ids) - max_length)
    kept = encoded
    if cut:
        kept = Encoded(encoded.input_ids[:max_length], encoded.assistant_mask[:max_length])
    if not trains_all and not any(kept.assistant_mask):
        return Unusable("no token of the assistant within max_length")
    return kept, cut


def end_token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that can end a turn: EOS and every token of the added vocabulary."""
    return frozenset({tokenizer.eos_token_id, *tokenizer.get_added_vocab().values()})


def _apply(
    tokenizer: Any, conversations: Sequence[Sequence[Message]], *, add_generation_prompt: bool
) -> list[list[int]]:
    return tokenizer.apply_chat_template(
        [to_json(messages) for messages in conversations],
        tokenize=True,
        add_generation_prompt=add_generation_prompt,
        return_dict=True,
    )["input_ids"]


def _leading_bos(tokenizer: Any) -> int | None:
    """The BOS id where the template starts with it."""
    ids = encode_prompt(tokenizer, [Message("user", "x")])
    return ids[0] if ids and ids[0] == tokenizer.bos_token_id else None


def _cut_pair(
    prompt: list[int],
    chosen: Encoded,
    rejected: Encoded,
    *,
    bos: int | None,
    max_prompt_length: int,
    max_length: int,
) -> EncodedPair | Unusable:
    completions = [_completion(prompt, chosen), _completion(prompt, rejected)]
    if None in completions:
        return Unusable("the prompt's ids are not a prefix of the conversation's")
    prompt_cut = max(0, len(prompt) - max_prompt_length)
    if prompt_cut:
        head = [bos] if bos is not None else []
        prompt = head + prompt[len(prompt) - max_prompt_length + len(head) :]
    room = max_length - len(prompt)
    if room < 1:
        return Unusable("no room for a completion: max_prompt_length reaches max_length")
    kept = [ids[:room] for ids in completions if ids is not None]
    cuts = [max(0, len(ids) - room) for ids in completions if ids is not None]
    if kept[0] == kept[1]:
        cut = any(cuts)
        return Unusable(
            "chosen and rejected are equal once cut" if cut else "chosen and rejected are equal"
        )
    return EncodedPair(prompt, kept[0], kept[1], prompt_cut, cuts[0], cuts[1])


def _completion(prompt: list[int], conversation: Encoded) -> list[int] | None:
    """What follows the prompt, up to the last trained token; None where it does not follow."""
    ids = conversation.input_ids
    if ids[: len(prompt)] != prompt:
        return None
    end = len(ids)
    while end > len(prompt) and not conversation.assistant_mask[end - 1]:
        end -= 1
    return ids[len(prompt) : end]


def _encode_by_prefixes(tokenizer: Any, messages: Sequence[Message]) -> Encoded:
    """The mask of a template without generation markers, by differences of renderings."""
    check_prefix_template(tokenizer, template_text(tokenizer))
    turns = [i for i, message in enumerate(messages) if message.role == "assistant"]
    full = _apply(tokenizer, [messages], add_generation_prompt=False)[0]
    if not turns:
        return Encoded(full, [0] * len(full))
    heads = _apply(tokenizer, [messages[:i] for i in turns], add_generation_prompt=True)
    tails = _apply(tokenizer, [messages[: i + 1] for i in turns], add_generation_prompt=False)
    ends = end_token_ids(tokenizer)
    mask = [0] * len(full)
    for head, tail in zip(heads, tails, strict=True):
        if tail[: len(head)] != head or full[: len(tail)] != tail:
            raise _no_mask()
        stop = next((t for t in range(len(tail), len(head), -1) if tail[t - 1] in ends), len(tail))
        mask[len(head) : stop] = [1] * (stop - len(head))
    return Encoded(full, mask)


@lru_cache(maxsize=8)
def check_prefix_template(tokenizer: Any, template: str) -> None:
    """Refuse a template whose assistant turns cannot be told apart by differences.

    `template` is the tokenizer's own and only keys the cache.
    """
    del template
    probe = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    head, bare = (
        _apply(tokenizer, [probe[:1]], add_generation_prompt=wanted)[0] for wanted in (True, False)
    )
    turn = _apply(tokenizer, [probe[:2]], add_generation_prompt=False)[0]
    full = _apply(tokenizer, [probe], add_generation_prompt=False)[0]
    if head == bare or turn[: len(head)] != head or full[: len(turn)] != turn:
        raise _no_mask()


def _no_mask() -> DataError:
    return DataError(
        "the base tokenizer's chat template has no generation markers, and its assistant turns "
        "cannot be found by comparing renderings",
        where="model.chat_template",
        hint="--set model.chat_template=zephyr, or a .jinja file with {% generation %} markers",
    )
