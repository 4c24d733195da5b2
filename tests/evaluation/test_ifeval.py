"""Question files in IFEval's format: all 25 kinds of instructions."""

import json
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.errors import DataError
from zephyrctl.evaluation.benchmark import Answer, Match
from zephyrctl.evaluation.ifeval import INSTRUCTIONS
from zephyrctl.evaluation.rules import Rules, parse_question, read_questions

# Each kind with its arguments, an answer that follows it and one that does not.
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["bee", "hive"]}, "Bees in hives", "Bees"),
    ("keywords:frequency", {"keyword": "bee", "frequency": 2, "relation": "at least"},
     "bee, bees", "bee"),
    ("keywords:forbidden_words", {"forbidden_words": ["wasp"]}, "bee, waspish", "A Wasp."),
    ("keywords:letter_frequency", {"letter": "q", "let_frequency": 2, "let_relation": "less than"},
     "Quick", "Quick quack"),
    ("language:response_language", {"language": "fr"},
     "Voici une phrase ordinaire écrite en français.", "An ordinary English sentence is here."),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"},
     "One. Two.", "One. Two. Three."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n\n***\n\nb", "a\n\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "a b c", "a b"),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "bees"}, "a\n\nBees b",
     "a\n\nb\n\nBees"),
    ("detectable_content:number_placeholders", {"num_placeholders": 1}, "Dear [name]", "Dear you"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "a\nP.P.S b", "a\nP.S. b"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n* b", "* a"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "*a* b", "a b"),
    ("detectable_format:multiple_sections", {"section_spliter": "PART", "num_sections": 2},
     "PART 1\na\nPART 2\nb", "PART 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
    ("detectable_format:title", {}, "<<Bees>> a", "Bees"),
    ("combination:two_responses", {}, "a\n******\nb", "a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Tell me.\n"}, "tell me. Yes.", "Yes."),
    ("startend:end_checker", {"end_phrase": "That is all."}, "So THAT is all.", "That is all. a"),
    ("startend:quotation", {}, '"a"', "a"),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"},
     "STOP NOW", "STOP now"),
    ("change_case:english_capital", {}, "STOP IT", "Stop it"),
    ("change_case:english_lowercase", {}, "stop it", "Stop it"),
    ("punctuation:no_comma", {}, "no comma", "a, comma"),
]  # fmt: skip


def row(key: int, *instructions: tuple[str, dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "key": key,
        "prompt": f"Do {key}.",
        "instruction_id_list": [name for name, _ in instructions],
        # The public file holds null for the arguments that an instruction does not have.
        "kwargs": [{**arguments, "relation_of_nothing": None} for _, arguments in instructions],
        **changes,
    }


def test_every_kind_of_instruction_is_checked(tmp_path: Path) -> None:
    assert len(INSTRUCTIONS) == 25
    assert [name for name, *_ in CASES] == list(INSTRUCTIONS)
    path = tmp_path / "ifeval.jsonl"
    rows = [row(1000 + at, (case[0], case[1])) for at, case in enumerate(CASES)]
    path.write_text("".join(json.dumps(item) + "\n" for item in rows))
    rules = Rules(read_questions(path), max_new_tokens=8)
    for place, expected in ((2, True), (3, False)):
        answers = [
            Answer(1000 + at, 1, case[place], 1, True)  # type: ignore[arg-type]
            for at, case in enumerate(CASES)
        ]
        judged = rules.judge(
            {"m": answers}, Match("m"), path=tmp_path / "j.jsonl", on_done=lambda done, total: None
        )
        wrong = [CASES[at][0] for at, found in enumerate(judged) if found["passed"] is not expected]
        assert wrong == []


def test_an_answer_has_to_follow_all_of_its_instructions() -> None:
    line = json.dumps(row(7, ("punctuation:no_comma", {}), ("detectable_format:title", {})))
    question = parse_question(line, where="here")
    assert [check.name for check in question.checks[0]] == ["not_contains", "title"]
    assert (question.question_id, question.category) == (7, "several")
    assert question.turns == ("Do 7.",)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (row(1, ("punctuation:no_commas", {})), "unknown instruction 'punctuation:no_commas'"),
        (row(1, ("length_constraints:number_words", {})), "lacks an argument: 'num_words'"),
        (row(1, ("length_constraints:number_words", {"num_words": 3, "relation": "at most"})),
         "'at most' is neither"),
        (row(1, ("punctuation:no_comma", {}), kwargs=[]), "lists of one length"),
        (row(1, ("punctuation:no_comma", {}), prompt=None), "'turns' is a list of texts"),
        (row(1, ("language:response_language", {"language": "French"})), "check 'language'"),
    ],
)  # fmt: skip
def test_a_broken_row_names_its_line(broken: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse_question(json.dumps(broken), where="file:3")
    assert caught.value.where == "file:3"
