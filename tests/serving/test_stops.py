"""Texts that an answer must not hold."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zephyrctl.serving.stops import StopText

LETTERS = st.text("ab\n", max_size=12)


@given(
    LETTERS,
    st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(0, 12), max_size=6),
)
def test_an_answer_ends_before_the_first_stop_text_however_it_comes(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    stop = StopText(stops)
    sent = [stop.feed(text[a:b]) for a, b in pairwise(edges)]
    joined = "".join(sent) + stop.close()
    places = [text.find(one) for one in stops if one in text]
    assert joined == (text[: min(places)] if places else text)
    assert stop.found == bool(places)


def test_nothing_is_held_back_where_no_stop_text_can_begin() -> None:
    stop = StopText(["END"])
    assert [stop.feed(piece) for piece in ("one ", "two E", "N", "x", "END", "more")] == [
        "one ", "two ", "", "ENx", "", "",
    ]  # fmt: skip
    assert stop.close() == ""


def test_without_stop_texts_every_piece_passes() -> None:
    stop = StopText(())
    assert stop.feed("abc") + stop.close() == "abc"
    assert not stop.found
