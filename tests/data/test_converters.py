"""Every converter on a small sample in the real schema; chosen must be the better answer."""

from typing import Any

import pytest

from zephyrctl import catalogue
from zephyrctl.data.converters import choose
from zephyrctl.data.messages import Dialogue, Message, PreferencePair
from zephyrctl.data.preferences import Binarized, RatedPrompt, Rule, binarize
from zephyrctl.errors import ConfigError, DataError

ASKED = (Message("user", "Name a sea."), Message("assistant", "The Baltic."))
MORE = (*ASKED, Message("user", "Another?"), Message("assistant", "The Red Sea."))
GOOD, BAD = Message("assistant", "The Baltic."), Message("assistant", "The moon.")
OPENAI = [{"role": m.role, "content": m.content} for m in MORE]

DIALOGUES: dict[str, tuple[dict[str, Any], tuple[Message, ...]]] = {
    "messages": ({"messages": OPENAI, "prompt_id": "7", "prompt": "Name a sea."}, MORE),
    "sharegpt": (
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Name a sea."},
                {"from": "gpt", "value": "The Baltic."},
            ]
        },
        (Message("system", "Be brief."), *ASKED),
    ),
    "alpaca": (
        {"instruction": "Name a sea.", "input": "In Europe.", "output": "The Baltic."},
        (Message("user", "Name a sea.\n\nIn Europe."), GOOD),
    ),
    "ultrachat": (
        {"id": "0", "data": ["Name a sea.", "The Baltic.", "Another?", "The Red Sea."]},
        MORE,
    ),
    "prompt_completion": ({"prompt": "Name a sea.", "completion": "The Baltic."}, ASKED),
}

_H4 = [{"role": "user", "content": "Name a sea."}]
PAIRS: dict[str, dict[str, Any]] = {
    "text": {"prompt": "Name a sea.", "chosen": "The Baltic.", "rejected": "The moon."},
    "message lists": {
        "prompt": _H4,
        "chosen": [{"role": "assistant", "content": "The Baltic."}],
        "rejected": [{"role": "assistant", "content": "The moon."}],
    },
    "H4: prompt text, whole conversations": {
        "prompt": "Name a sea.",
        "prompt_id": "9",
        "chosen": [*_H4, {"role": "assistant", "content": "The Baltic."}],
        "rejected": [*_H4, {"role": "assistant", "content": "The moon."}],
        "messages": [*_H4, {"role": "assistant", "content": "The Baltic."}],
        "score_chosen": 8.0,
        "score_rejected": 3.0,
    },
    "whole conversations without a prompt": {
        "chosen": [*_H4, {"role": "assistant", "content": "The Baltic."}],
        "rejected": [*_H4, {"role": "assistant", "content": "The moon."}],
    },
}

ULTRAFEEDBACK: dict[str, Any] = {
    "source": "sharegpt",
    "instruction": "Name a sea.",
    "models": ["a", "b", "c"],
    "completions": [
        {
            "model": model,
            "response": response,
            "overall_score": overall,
            "fine-grained_score": aspect,
            "annotations": {
                "helpfulness": {"Rating": str(aspect), "Rationale": "…"},
                "honesty": {"Rating": "N/A"},
            },
        }
        for model, response, overall, aspect in (
            ("a", "The moon.", 2.0, 1),
            ("b", "The Baltic.", "8.5", 5),
            ("c", "I think the Baltic?", 6.0, 3),
        )
    ],
}


def convert(name: str, row: dict[str, Any]) -> Any:
    return catalogue.CONVERTERS.load(name).convert(row, "sample")


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue_is_read_and_its_format_recognized(name: str) -> None:
    row, expected = DIALOGUES[name]
    record = convert(name, row)
    assert isinstance(record, Dialogue)
    assert record.messages == expected
    assert choose(set(row), wanted="dialogues", where="sample") == name


@pytest.mark.parametrize("shape", PAIRS)
def test_chosen_is_the_better_answer_and_the_prompt_stands_once(shape: str) -> None:
    row = PAIRS[shape]
    record = convert("pairs", row)
    assert isinstance(record, PreferencePair)
    assert record.prompt == (Message("user", "Name a sea."),)
    assert (record.chosen, record.rejected) == ((GOOD,), (BAD,))
    assert choose(set(row), wanted="preferences", where="sample") == "pairs"


def test_ultrafeedback_is_read_and_its_best_answer_chosen() -> None:
    rated = convert("ultrafeedback", ULTRAFEEDBACK)
    assert isinstance(rated, RatedPrompt)
    assert rated.origin == "sharegpt"
    assert [c.overall_score for c in rated.completions] == [2.0, 8.5, 6.0]
    assert [c.mean_of_aspects() for c in rated.completions] == [1.0, 5.0, 3.0]
    made = binarize(rated, rule=Rule(rejected="worst"), seed=0)
    assert isinstance(made, Binarized)
    assert (made.pair.chosen, made.pair.rejected) == ((GOOD,), (BAD,))
    columns = set(ULTRAFEEDBACK)
    assert choose(columns, wanted="preferences", where="sample") == "ultrafeedback"


def test_every_built_in_converter_has_a_sample_here() -> None:
    assert set(catalogue.CONVERTERS.names()) == {*DIALOGUES, "pairs", "ultrafeedback"}


def test_open_question_at_the_end_is_left_out() -> None:
    record = convert("ultrachat", {"data": ["Name a sea.", "The Baltic.", "Another?"]})
    assert record.messages == ASKED


def test_white_space_round_an_answer_is_trimmed_and_a_prompt_is_kept() -> None:
    record = convert("ultrachat", {"data": [" Name a sea. ", "\n The Baltic. "]})
    assert [m.content for m in record.messages] == [" Name a sea. ", "The Baltic."]


def test_id_follows_from_the_content_where_there_is_none() -> None:
    row = {"data": ["Name a sea.", "The Baltic."]}
    assert convert("ultrachat", row).id == convert("ultrachat", dict(row)).id
    assert convert("ultrachat", row).id != convert("ultrachat", {"data": ["A", "B"]}).id


def test_ambiguous_columns_list_the_candidates() -> None:
    with pytest.raises(ConfigError, match="fit several formats: messages, ultrachat") as caught:
        choose({"messages", "data"}, wanted="dialogues", where="rows.jsonl")
    assert caught.value.hint is not None
    assert "format: messages" in caught.value.hint


def test_preferences_under_sft_are_sent_to_the_other_section() -> None:
    with pytest.raises(ConfigError, match="hold no dialogues") as caught:
        choose({"prompt", "chosen", "rejected"}, wanted="dialogues", where="rows.jsonl")
    assert caught.value.hint == "list this source under data.dpo.train"


def test_unknown_columns_list_the_known_formats() -> None:
    with pytest.raises(DataError, match="no format for dialogues fits the columns: foo") as caught:
        choose({"foo"}, wanted="dialogues", where="rows.jsonl")
    assert caught.value.hint is not None
    assert "alpaca (instruction, output)" in caught.value.hint


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("ultrachat", {}, "column 'data' is missing"),
    ("ultrachat", {"data": None}, "column 'data' is null"),
    ("ultrachat", {"data": []}, "data is an empty list"),
    ("ultrachat", {"data": "text"}, "data is not a list"),
    ("ultrachat", {"data": ["only a question"]}, "the last turn is not the assistant's"),
    ("ultrachat", {"data": ["a", None]}, "content is null"),
    ("ultrachat", {"data": ["a", 5]}, "content is not text"),
    ("ultrachat", {"data": ["a", "half \ud83d"]}, "half a character"),
    ("messages", {"messages": []}, "messages is an empty list"),
    ("messages", {"messages": ["hello"]}, "not a message"),
    ("messages", {"messages": [{"content": "x"}]}, "has no role"),
    ("messages", {"messages": [{"role": "narrator", "content": "x"}]}, "unknown role"),
    ("messages", {"messages": [{"role": "tool", "content": "x"}]}, "unknown role"),
    ("messages", {"messages": [{"role": "user", "content": [1]}]}, "content is not text"),
    ("messages", {"messages": OPENAI[1:2]}, "the assistant speaks first"),
    ("messages", {"messages": [OPENAI[0], OPENAI[0], OPENAI[1]]}, "two user turns in a row"),
    ("messages", {"messages": [OPENAI[0], OPENAI[1], OPENAI[1]]}, "two assistant turns in a row"),
    (
        "messages",
        {"messages": [*OPENAI[:2], {"role": "system", "content": "x"}, *OPENAI[2:]]},
        "a system turn after the first turn",
    ),
    ("messages", {"messages": [{"role": "system", "content": "x"}]}, "no user turn"),
    (
        "messages",
        {"messages": [OPENAI[0], {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        "tool calls",
    ),
    ("pairs", {"prompt": "p", "chosen": "a"}, "column 'rejected' is missing"),
    ("pairs", {"prompt": "p", "chosen": "a", "rejected": " a "}, "are the same"),
    ("pairs", {"prompt": None, "chosen": "a", "rejected": "b"}, "column 'prompt' is null"),
    ("pairs", {"prompt": "p", "chosen": "a", "rejected": []}, "rejected is an empty list"),
    (
        "pairs",
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2},
        "chosen has a lower score than rejected",
    ),
    (
        "pairs",
        {"chosen": OPENAI[:2], "rejected": [{"role": "user", "content": "Else"}, OPENAI[1]]},
        "do not share a prompt",
    ),
    ("ultrafeedback", {"instruction": "x", "completions": "none"}, "completions is not a list"),
    ("ultrafeedback", {"instruction": 5, "completions": []}, "instruction is not text"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BROKEN)
def test_broken_row_says_what_is_wrong(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        convert(name, row)
