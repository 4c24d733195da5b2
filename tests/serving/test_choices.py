"""What of a choice leaves after each token, and which scores with it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.generation.test_detokenize import byte_fallback

from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.generation.detokenize import TokenBytes, decode
from zephyrctl.generation.rows import Score
from zephyrctl.serving.choices import Choice
from zephyrctl.serving.events import Ended, Piece, Scored
from zephyrctl.serving.mailbox import Mailbox

TEXTS = ["Offer tea to Mia", "naïve 日本語 👩‍👩‍👧 family", "one\n\ntwo  three", "x"]


@pytest.fixture(scope="module")
def byte_level(tiny_base: Path) -> Any:
    return load_tokenizer(str(tiny_base), chat_template="zephyr")


def sent(
    tokenizer: Any, ids: list[int], *, stops: tuple[str, ...] = (), end: int | None = None
) -> tuple[list[Piece], Ended]:
    """Everything that leaves for `ids` and an end token."""
    choice = Choice(0, tokenizer, stops=stops, names=TokenBytes(tokenizer))
    found: list[Any] = []
    count = 0
    for token in ids:
        found.append(choice.feed(token, Score(-1.0, ((token, -1.0),)), ends=False))
        count += 1
        if choice.is_stopped:
            break
    if end is not None and not choice.is_stopped:
        found.append(choice.feed(end, Score(-2.0, ()), ends=True))
        count += 1
    *pieces, last = [*found, *choice.close(stopped=end is not None, tokens=count)]
    assert isinstance(last, Ended)
    return [piece for piece in pieces if piece is not None], last


def scored(pieces: list[Piece], last: Ended) -> list[Scored]:
    return [score for event in (*pieces, last) for score in event.scores]


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_the_scores_are_those_of_the_text(text: str, byte_level: Any) -> None:
    for tokenizer in (byte_level, byte_fallback()):
        ids = tokenizer.encode(text, add_special_tokens=False)
        if tokenizer is not byte_level:
            ids = [7 + byte for byte in text.encode()]
        pieces, last = sent(tokenizer, ids, end=1)
        assert "".join(piece.text for piece in pieces) == text
        scores = scored(pieces, last)
        assert b"".join(score.token for score in scores).decode() == text
        assert [score.top[0][0] for score in scores] == [score.token for score in scores]
        assert (last.reason, last.tokens) == ("stop", len(ids) + 1)
        for piece in pieces:  # each leaves with the text it begins in
            begins = b"".join(score.token for score in piece.scores).decode(errors="ignore")
            assert begins.strip()[:1] == piece.text.strip()[:1]


def test_half_a_character_waits_and_at_the_limit_is_a_sign_of_its_own(byte_level: Any) -> None:
    ids = byte_level.encode("日", add_special_tokens=False)
    assert len(ids) > 1
    pieces, last = sent(byte_level, ids[:-1])
    assert ("".join(piece.text for piece in pieces), last.reason) == ("\ufffd", "length")
    assert len(scored(pieces, last)) == len(ids) - 1


def test_no_score_leaves_for_a_stop_text_however_its_tokens_are_cut(byte_level: Any) -> None:
    ids = byte_level.encode("Offer tea to Mia", add_special_tokens=False)
    pieces, last = sent(byte_level, ids, stops=("ea to",))
    assert "".join(piece.text for piece in pieces) == "Offer t"
    text = b"".join(score.token for score in scored(pieces, last)).decode()
    assert text.startswith("Offer t")
    assert "to" not in text
    assert last.reason == "stop"
    assert last.tokens < len(ids)


@given(ids=st.lists(st.integers(0, 700), max_size=30), ends=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_tokens_leave_as_their_text_with_a_score_each(
    ids: list[int], ends: bool, byte_level: Any
) -> None:
    pieces, last = sent(byte_level, ids, end=1 if ends else None)
    assert "".join(piece.text for piece in pieces) == decode(byte_level, ids)
    assert len(scored(pieces, last)) == len(ids)


def test_what_a_slow_reader_has_not_read_is_joined_and_nothing_is_lost() -> None:
    box = Mailbox()
    score = Scored(b"x", -1.0, ())
    for number in range(3000):
        box.put(Piece(number % 3, f"{number} ", (score,)))
    box.put(Ended(0, "stop", 1000))
    assert len(box._unread) < 80
    pieces = [event for event in box._unread if isinstance(event, Piece)]
    for choice in range(3):
        text = "".join(piece.text for piece in pieces if piece.choice == choice)
        assert text.split() == [str(number) for number in range(choice, 3000, 3)]
    assert sum(len(piece.scores) for piece in pieces) == 3000
