"""Each check on answers that follow the instruction and on ones that nearly do."""

from typing import Any

import pytest

from zephyrctl.catalogue import RULE_CHECKS
from zephyrctl.config.schema.section import Variant
from zephyrctl.evaluation.checks import Checked, count_sentences, read_items
from zephyrctl.registry import load_attribute


def passes(name: str, text: str, *, stopped: bool = True, **params: Any) -> bool:
    entry = RULE_CHECKS.get(name)
    model = load_attribute(entry.params) if entry.params else Variant
    found = RULE_CHECKS.load(name)(Checked(text, stopped), model(name=name, **params))
    assert found is None or found
    return found is None


@pytest.mark.parametrize(
    ("name", "params", "good", "bad"),
    [
        ("equals", {"value": "clinic"}, ["clinic", "clinic.", '"clinic"', " **clinic** "],
         ["Clinic", "the clinic", "clinics", ""]),
        ("equals", {"value": "Clinic", "ignore_case": True}, ["CLINIC!"], ["clinic or bank"]),
        ("equals", {"value": "In May Ann saw Rome."}, ["In May Ann saw Rome"],
         ["In may Ann saw Rome.", "In May, Ann saw Rome."]),
        ("contains", {"value": "Ann"}, ["To Ann: hello"], ["to ann: hello", ""]),
        ("contains", {"value": "ann", "ignore_case": True}, ["ANN"], ["bob"]),
        ("not_contains", {"value": "sorry"}, ["fine"], ["so sorry"]),
        ("starts_with", {"value": "Dear"}, ["Dear Mia"], ["dear Mia", " My Dear"]),
        ("ends_with", {"value": "Done."}, ["it is Done."], ["Done", "Done. Really"]),
        ("max_words", {"value": 2}, ["two words", "one", ""], ["now there are more"]),
        ("min_words", {"value": 2}, ["two words"], ["one", ""]),
        ("max_sentences", {"value": 1}, ["One sentence.", "Mr. Lee paid 3.50 to Dr. Wu.", "No end"],
         ["One. Two.", "Really? Yes."]),
        ("one_line", {}, ["a line\n", "a line"], ["two\nlines", ""]),
        ("regex", {"value": r"^\d{3}$"}, ["123"], ["1234", "12a"]),
        ("regex", {"value": r"\d+", "whole": True}, ["123"], ["no. 123"]),
        ("no_refusal", {}, ["The clinic."], ["I'm sorry, but I can't help with that.",
                                             "As an AI language model, I have no opinion."]),
        ("capitalised", {}, ["Yes", "“Yes”", "1. Yes"], ["yes", "123", ""]),
        ("json", {}, ['{"a": 1}', "[1]", '```json\n{"a": 1}\n```'], ["{'a': 1}", "", "a: 1"]),
        ("json", {"keys": ["a", "b"]}, ['{"a": 1, "b": null}'], ['{"a": 1}', "[1]"]),
        ("number", {"value": 91}, ["91", "It is 91.", "91.0", "**91**", "91 and 91"],
         ["ninety-one", "911", "9.1", "47 + 44 = 91", "", "91a", "-91", "1.91"]),
        ("number", {"value": 1234.5, "tolerance": 0.1}, ["1,234.45"], ["1,234"]),
        ("number", {"value": -3}, ["−3 degrees", "-3"], ["3"]),
        ("number", {"value": 91, "which": "last"}, ["47 + 44 = 91"], ["91 is 47 + 44"]),
        ("number", {"value": 47, "which": "first"}, ["47 + 44 = 91"], ["= 91"]),
        ("list_items", {"value": ["ax", "bow", "cup"]},
         ["ax, bow, cup", "Ax, bow and cup.", "ax, bow, and cup", "- ax\n- bow\n- cup",
          "1. ax\n2. bow\n3. cup", "ax; bow; cup"],
         ["bow, ax, cup", "ax, bow", "ax, bow, cup, dish", "The items are ax, bow, cup"]),
        ("list_items", {"count": 3}, ["a, b, c", "Here:\n* a\n* b\n* c"], ["a, b", ""]),
        ("keywords", {"value": ["bee", "hive"]}, ["A bee in a Hive."], ["A bee in hives", ""]),
        ("keywords", {"value": ["bee"], "whole_words": False}, ["beeline"], ["be"]),
        ("keywords", {"value": ["Bee"], "ignore_case": False}, ["Bee."], ["bee"]),
        ("no_keywords", {"value": ["ass", "C++"]}, ["class in C"], ["an ASS", "in C++ then"]),
        ("frequency", {"value": "is", "at_least": 2}, ["this is", "Is it is"], ["is", "was"]),
        ("frequency", {"value": "is", "at_most": 1, "whole_words": True}, ["this is"], ["is is"]),
        ("letter_frequency", {"value": "e", "at_least": 2, "at_most": 3}, ["bEe", "eee"],
         ["e", "eeee"]),
        ("one_of", {"value": ["My answer is yes.", "My answer is no."]},
         ["Well. My answer is no."], ["No.", "my answer is no."]),
        ("one_of", {"value": ["yes", "no"], "whole": True}, ["yes.", '"no"'], ["yes, no", ""]),
        ("min_sentences", {"value": 2}, ["One. Two!"], ["One.", ""]),
        ("language", {"value": "de"}, ["Das ist ein ganz gewöhnlicher deutscher Satz."],
         ["This is quite an ordinary English sentence.", "12 34"]),
        ("language", {"value": "en"}, ["Here is some English prose with `code` in it."],
         ["Voici une phrase tout à fait ordinaire en français."]),
        ("paragraphs", {"at_least": 2, "at_most": 2}, ["a\n\nb", "a\n \n\n\nb\nc\n"],
         ["a\nb", "a\n\nb\n\nc"]),
        ("paragraphs", {"at_least": 2, "divider": "***"}, ["a\n***\nb", "a\n\n***\nb"],
         ["a\n\nb", "a *** b"]),
        ("paragraph_starts", {"which": 2, "value": "bees"},
         ["a\n\nBees, they say", "a\n\n**bees**"], ["Bees", "a\n\nThe bees", ""]),
        ("bullets", {"at_least": 2, "at_most": 2}, ["* a\n* b", "List:\n- a\n  - b", "• a\n• b"],
         ["* a", "* a\n* b\n* c", "**a**\n**b**", "1. a\n2. b"]),
        ("highlights", {"at_least": 2}, ["*a* and *b c*", "**a** *b*"], 
         ["*a*", "* a\n* b", "2 * 3 * 4"]),
        ("sections", {"at_least": 2, "word": "SECTION"}, ["SECTION 1\na\nSECTION 2\nb"],
         ["SECTION 1\na", "Section 1\nSection 2", "SUBSECTION 1 SUBSECTION 2"]),
        ("placeholders", {"at_least": 2}, ["[name], [address]"], ["[name]", "[]", "()"]),
        ("postscript", {"value": "P.S."}, ["Bye\nP.S. and more", "Bye\n\np. s. more"],
         ["Bye P.S. no", "Bye", "P.P.S. more", "P.S."]),
        ("postscript", {"value": "P.P.S"}, ["Bye\nP.P.S more", "**P.P.S.** more"], ["P.S. more"]),
        ("title", {}, ["<<On Bees>>\ntext"], ["<<>>", "<On Bees>", "<< >>"]),
        ("different_answers", {}, ["a\n******\nb", "a ****** b\n"],
         ["a", "a ****** a", "a ****** b ****** c", "a ******"]),
        ("capital_words", {"at_most": 1}, ["NASA flew", "none"], ["NASA and ESA"]),
        ("capital_words", {"at_least": 2}, ["STOP IT now"], ["Stop It NOW"]),
        ("letter_case", {"value": "upper"}, ["ALL OF IT, 3!"], ["Almost ALL", "123"]),
        ("letter_case", {"value": "lower"}, ["all of it, 3!"], ["Almost", ""]),
        ("quoted", {}, ['"a b"', " “a b” "], ['"a" b', '"', "'a b'", ""]),
        ("language_ascii", {}, ["plain English, naturally", "café is fine in a long text"],
         ["это не английский", "日本語", "123"]),
    ],
)  # fmt: skip
def test_a_check_passes_what_follows_and_fails_what_does_not(
    name: str, params: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    for text in good:
        assert passes(name, text, **params), text
    for text in bad:
        assert not passes(name, text, **params), text


def test_stopped_looks_at_who_ended_the_answer() -> None:
    assert passes("stopped", "text", stopped=True)
    assert not passes("stopped", "text", stopped=False)


@pytest.mark.parametrize("entry", RULE_CHECKS.entries(), ids=lambda entry: entry.name)
def test_every_registered_check_is_a_documented_function(entry: Any) -> None:
    function = load_attribute(entry.target)
    assert function.__doc__
    if entry.params:
        model = load_attribute(entry.params)
        assert issubclass(model, Variant)
        assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("Hello", 1), ("A. Lee came at 5 p.m. today.", 1), ("What?! No way.", 2),
     ("He said “Stop.” Then he left.", 2), ("Wait… what", 2), ("3.14 is pi", 1)],
)  # fmt: skip
def test_sentences_are_counted(text: str, count: int) -> None:
    assert count_sentences(text) == count


def test_items_of_a_list_are_read_without_their_introduction() -> None:
    assert read_items("Sure:\n1) red\n2) green") == ["red", "green"]
    assert read_items("red\ngreen\n") == ["red", "green"]
    assert read_items("") == []


def test_a_count_without_a_bound_or_with_crossed_ones_is_refused() -> None:
    for bounds in ({}, {"at_least": 3, "at_most": 2}):
        with pytest.raises(ValueError, match="at_least"):
            passes("bullets", "* a", **bounds)
