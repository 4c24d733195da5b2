"""Which checks stand for the instructions of a question file in IFEval's format?

A row is `{"key", "prompt", "instruction_id_list", "kwargs"}` (google-research,
instruction_following_eval; Zhou et al. 2023, arXiv 2311.07911). All 25 kinds are there. Words and
sentences are split by rules of ours, not by NLTK's, so a share may differ a little from IFEval's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zephyrctl.errors import DataError

Row = Mapping[str, Any]
Check = dict[str, Any]


def _bounds(count: int, relation: str) -> dict[str, int]:
    """IFEval's `at least` and `less than`."""
    if relation not in ("at least", "less than"):
        raise DataError(f"the relation '{relation}' is neither 'at least' nor 'less than'")
    return {"at_least": count} if relation == "at least" else {"at_most": count - 1}


def _limit(what: str, count: int, relation: str) -> Check:
    bounds = _bounds(count, relation)
    (side, value), *_ = bounds.items()
    return {"name": f"{'min' if side == 'at_least' else 'max'}_{what}", "value": value}


def _exactly(count: int) -> dict[str, int]:
    return {"at_least": count, "at_most": count}


INSTRUCTIONS: dict[str, Callable[[Row], list[Check]]] = {
    "keywords:existence": lambda k: [
        {"name": "keywords", "value": k["keywords"], "whole_words": False}
    ],
    "keywords:frequency": lambda k: [
        {"name": "frequency", "value": k["keyword"], **_bounds(k["frequency"], k["relation"])}
    ],
    "keywords:forbidden_words": lambda k: [{"name": "no_keywords", "value": k["forbidden_words"]}],
    "keywords:letter_frequency": lambda k: [
        {
            "name": "letter_frequency",
            "value": k["letter"],
            **_bounds(k["let_frequency"], k["let_relation"]),
        }
    ],
    "language:response_language": lambda k: [{"name": "language", "value": k["language"]}],
    "length_constraints:number_sentences": lambda k: [
        _limit("sentences", k["num_sentences"], k["relation"])
    ],
    "length_constraints:number_paragraphs": lambda k: [
        {"name": "paragraphs", "divider": "***", **_exactly(k["num_paragraphs"])}
    ],
    "length_constraints:number_words": lambda k: [_limit("words", k["num_words"], k["relation"])],
    "length_constraints:nth_paragraph_first_word": lambda k: [
        {"name": "paragraphs", **_exactly(k["num_paragraphs"])},
        {"name": "paragraph_starts", "which": k["nth_paragraph"], "value": k["first_word"]},
    ],
    "detectable_content:number_placeholders": lambda k: [
        {"name": "placeholders", "at_least": k["num_placeholders"]}
    ],
    "detectable_content:postscript": lambda k: [
        {"name": "postscript", "value": k["postscript_marker"]}
    ],
    "detectable_format:number_bullet_lists": lambda k: [
        {"name": "bullets", **_exactly(k["num_bullets"])}
    ],
    "detectable_format:constrained_response": lambda k: [
        {
            "name": "one_of",
            "value": ["My answer is yes.", "My answer is no.", "My answer is maybe."],
        }
    ],
    "detectable_format:number_highlighted_sections": lambda k: [
        {"name": "highlights", "at_least": k["num_highlights"]}
    ],
    "detectable_format:multiple_sections": lambda k: [
        {"name": "sections", "word": k["section_spliter"], "at_least": k["num_sections"]}
    ],
    "detectable_format:json_format": lambda k: [{"name": "json"}],
    "detectable_format:title": lambda k: [{"name": "title"}],
    "combination:two_responses": lambda k: [{"name": "different_answers"}],
    "combination:repeat_prompt": lambda k: [
        {"name": "starts_with", "value": k["prompt_to_repeat"].strip(), "ignore_case": True}
    ],
    "startend:end_checker": lambda k: [
        {"name": "ends_with", "value": k["end_phrase"].strip(), "ignore_case": True}
    ],
    "startend:quotation": lambda k: [{"name": "quoted"}],
    "change_case:capital_word_frequency": lambda k: [
        {"name": "capital_words", **_bounds(k["capital_frequency"], k["capital_relation"])}
    ],
    "change_case:english_capital": lambda k: [{"name": "letter_case", "value": "upper"}],
    "change_case:english_lowercase": lambda k: [{"name": "letter_case", "value": "lower"}],
    "punctuation:no_comma": lambda k: [{"name": "not_contains", "value": ","}],
}
"""The checks of each kind of instruction, from its `kwargs`."""


def is_ifeval(row: Row) -> bool:
    """Whether a row is in IFEval's format."""
    return "instruction_id_list" in row


def to_question(row: Row, *, where: str) -> dict[str, Any]:
    """The row in the format of `rules`; DataError for an instruction that is not known.

    The category is the instruction's kind, `several` where there is more than one.
    """
    names, given = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(names, list) or not isinstance(given, list) or len(names) != len(given):
        raise DataError("'instruction_id_list' and 'kwargs' are lists of one length", where=where)
    checks: list[Check] = []
    for name, arguments in zip(names, given, strict=True):
        if name not in INSTRUCTIONS:
            raise DataError(f"unknown instruction '{name}'", where=where)
        try:
            checks += INSTRUCTIONS[name](arguments or {})
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"'{name}' lacks an argument: {error}", where=where) from None
        except DataError as error:
            raise DataError(f"'{name}': {error.message}", where=where) from None
    kinds = {name.partition(":")[0] for name in names}
    return {
        "question_id": row.get("key"),
        "category": kinds.pop() if len(kinds) == 1 else "several",
        "turns": [row.get("prompt")],
        "checks": checks,
    }
