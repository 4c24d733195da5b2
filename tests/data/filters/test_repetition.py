"""Answers that go round in circles are dropped; tables, code, verse and art are not."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.data.ngrams import ngrams

from zephyrctl.data.filters.repetition import _DRAWING, has_long_run, is_signs, repeats_words
from zephyrctl.data.text import words

Outcome = Callable[..., Any]

WORDS = "repetitive answer"
RUN = "a few characters over and over"
LINES = "the same lines over and over"
SIGNS = "answer of signs"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I like the sea and the sky. " * 12, WORDS),
        ("ha " * 40, RUN),
        ("A" + "a" * 300 + "gh", RUN),
        ("Yes! " + "!" * 150, RUN),
        ("哈" * 150, RUN),
        ("我喜欢大海和天空。" * 20, WORDS),
        ("\n".join(["Go on."] * 12), LINES),
        ("%$ &/ (§ )=? " * 3 + "§$%&/()=?*+~{[]}\\^°<>|,;.:-_" * 2, SIGNS),
        ("-" * 500, RUN),
    ],
)
def test_degenerate_answers_are_dropped_by_reason(
    outcome: Outcome, answer: str, reason: str
) -> None:
    assert outcome("drop_repetition", "q", answer) == reason


TABLE = "| name | value |\n|" + "-" * 60 + "|" + "-" * 60 + "|\n| a | 1 |\n| b | 2 |"
VILLANELLE = "\n".join(
    ["Go not so gently to the shore,", "the tide that takes you keeps the day,", "we ask for more."]
    + [
        line
        for verse in (
            ("A gull cries out", "a bell rings twice", "Go not so gently to the shore,"),
            ("The nets hang dry", "the boats lie still", "we ask for more."),
            ("A lamp is lit", "a door is shut", "Go not so gently to the shore,"),
            ("The wind has turned", "the stars come up", "we ask for more."),
        )
        for line in verse
    ]
)
ART = "Here is a cat:\n  /\\_/\\\n ( o.o )\n  > ^ <\n"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("q", TABLE),
        ("q", VILLANELLE),
        ("Draw a cat in ASCII art.", "\\o/  |  ^^ (==) <> {} " * 6),
        ("q", ART),
        ("q", "```\n" + "x = 0\n" * 40 + "```"),
        ("q", "\n".join(f"{i}. Item number {i} of the list" for i in range(30))),
        ("q", "\n".join(["- [ ] ______"] * 30)),
        ("Write out a googol.", "1" + "0" * 100),
        ("q", "Title\n" + "=" * 120 + "\nText."),
        ("q", "Contents " + "." * 150 + " 3"),
        ("q", "x² + 2x + 1 = (x + 1)²"),
        ("q", "🎉🎉🎉"),
        ("q", "हिन्दी में लिखा हुआ एक छोटा सा वाक्य यहाँ पर है और यह ठीक है।"),
        ("q", "Noooooooooo! That was the last biscuit."),
    ],
)
def test_tables_verse_art_code_and_lists_are_kept(
    outcome: Outcome, question: str, answer: str
) -> None:
    assert outcome("drop_repetition", question, answer) is None


def test_bounds_can_be_set(outcome: Outcome) -> None:
    assert outcome("drop_repetition", "q", "a" * 80) is None
    assert outcome("drop_repetition", "q", "a" * 80, max_run=60) == RUN
    assert outcome("drop_repetition", "q", "ha ho " * 20, max_share=1.0, max_run=400) is None


@given(st.text("ab -é", max_size=300), st.integers(40, 60))
@example("x" + "ab" * 31, 60)
@example("é" * 41, 40)
@example("abc" + "abcd" * 20 + "x", 40)
def test_cheap_search_for_runs_equals_the_plain_one(text: str, limit: int) -> None:
    text += text[:3] * 20
    runs = [
        match.group(0)
        for size in (1, 2, 3, 4)
        for match in re.finditer(rf"(?=\S)(.{{{size}}})\1{{{limit // size},}}", text)
    ]
    plain = any(len(r) > limit * (4 if set(r) <= set(" -") else 1) for r in runs)
    assert has_long_run(text, limit) == plain


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=80), st.floats(0.1, 0.9))
def test_word_runs_are_counted_as_by_the_plain_definition(
    tokens: list[str], max_share: float
) -> None:
    text = " ".join(tokens)
    runs = list(ngrams(words(text), 4))
    plain = len(tokens) >= 10 and bool(runs) and 1 - len(set(runs)) / len(runs) > max_share
    assert repeats_words(text, n=4, max_share=max_share, min_words=10) == plain


@given(st.text(max_size=120), st.floats(0.1, 0.9))
def test_cheap_test_for_signs_lets_no_text_of_signs_through(text: str, max_share: float) -> None:
    visible = [c for c in text if not c.isspace() and c not in _DRAWING]
    signs = sum(not (c.isalpha() or c.isnumeric()) for c in visible)
    if len(visible) >= 50 and signs <= max_share * len(visible):
        assert not is_signs(text, max_share=max_share)
    if is_signs(text, max_share=max_share):
        assert signs > max_share * len(visible)
