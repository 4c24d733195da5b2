"""Estimates against real tokenizers' counts, and a bound that no tokenizer passes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zephyrctl.data.messages import Message
from zephyrctl.evaluation.token_counts import about, at_most, prompt_about, prompt_at_most

# Counts of cl100k_base and o200k_base (GPT-4's tokenizer and its successor), taken with their
# published vocabularies.
ENGLISH = {
    "The answer is mostly accurate, but leaves out two of the three reasons. Rating: [[6]]": (
        20,
        20,
    ),
    "def area(r):\n    if r < 0:\n        raise ValueError(r)\n    return 3.1416 * r ** 2\n": (
        29,
        30,
    ),
    "f(2) = 4*2^3 - 9*2 - 14 = 0, so the rest is 0.\n\n1. Put in x = 2.\n2. Add it up.\n": (45, 45),
    "Write a story about a lighthouse keeper who finds a letter in a bottle.": (16, 15),
}
OTHERS = {
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.": (16, 14),
    "Все люди рождаются свободными и равными в своем достоинстве и правах.": (35, 17),
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.": (35, 17),
    "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。": (34, 25),
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.": (41, 24),
}


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_within_a_tenth_of_both_tokenizers(text: str):
    for count in ENGLISH[text]:
        assert about(text) == pytest.approx(count, rel=0.12, abs=2)


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_are_of_the_right_size(text: str):
    low, high = sorted(OTHERS[text])
    assert 0.6 * low <= about(text) <= 1.4 * high


def test_the_public_judge_prompts_have_the_known_number_of_tokens(mt_bench_dir: Path):
    """Summed over 160 prompts of one model, as sent to GPT-4."""
    path = mt_bench_dir / "model_judgment" / "mamba_0_5_dpo_ep1.gpt-4_single.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    prompts = sum(about(row["user_prompt"]) for row in rows)
    judgments = sum(about(row["judgment"]) for row in rows)
    assert prompts == pytest.approx(112_313, rel=0.03)
    assert judgments == pytest.approx(26_423, rel=0.03)


@given(st.text())
def test_the_bound_is_above_the_estimate_and_above_one_token_a_byte(text: str):
    assert at_most(text) >= len(text)
    message = [Message("user", text)]
    assert prompt_at_most(message) >= at_most(text)
    assert prompt_about(message) > about(text)


@pytest.mark.parametrize("text", [*ENGLISH, *OTHERS])
def test_the_bound_holds_for_real_tokenizers(text: str):
    for count in {**ENGLISH, **OTHERS}[text]:
        assert count <= at_most(text)
