"""Pieces of text join to the whole answer, whatever the tokenizer does with bytes and spaces."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.generation.detokenize import Detokenizer, decode

TEXTS = [
    "plain words",
    "naïve café",
    "日本語 テスト",
    "👩‍👩‍👧 family",
    "  space\n\n  inside  \n",
    "",
    "a",
]


def byte_fallback() -> Any:
    """A SentencePiece-like tokenizer: words with a leading block, every other byte by itself."""
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2, "▁plain": 3, "▁words": 4, "▁a": 5, "▁": 6}
    vocabulary |= {f"<0x{byte:02X}>": 7 + byte for byte in range(256)}
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", bos_token="<s>")


def joined(tokenizer: Any, ids: list[int]) -> str:
    pieces = Detokenizer(tokenizer)
    return "".join([pieces.feed(token) for token in ids] + [pieces.close()])


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_a_byte_level_tokenizer_join_to_the_text(text: str, tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert joined(tokenizer, [*ids, 1]) == text.strip()


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_a_byte_fallback_tokenizer_join_to_the_text(text: str) -> None:
    tokenizer = byte_fallback()
    ids = [7 + byte for byte in text.encode()]
    assert joined(tokenizer, [*ids, 1]) == decode(tokenizer, [*ids, 1])
    mixed = [3, *ids, 4, 5, 1]
    assert joined(tokenizer, mixed) == decode(tokenizer, mixed)
    assert decode(tokenizer, [3, 4, 1]) == "plain words"


@given(ids=st.lists(st.integers(0, 700), max_size=40))
@settings(max_examples=60, deadline=None)
def test_pieces_of_any_ids_join_to_their_text(ids: list[int], tiny_base: Path) -> None:
    tokenizer = _cached(str(tiny_base))
    assert joined(tokenizer, ids) == decode(tokenizer, ids)


def test_no_piece_shows_half_a_character(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    pieces = Detokenizer(tokenizer)
    ids = tokenizer.encode("日本", add_special_tokens=False)
    shown = [pieces.feed(token) for token in ids]
    assert [piece for piece in shown if piece] == ["日", "本"]


_tokenizers: dict[str, Any] = {}


def _cached(path: str) -> Any:
    if path not in _tokenizers:
        _tokenizers[path] = load_tokenizer(path, chat_template="zephyr")
    return _tokenizers[path]
