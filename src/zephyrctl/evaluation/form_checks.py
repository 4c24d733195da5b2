"""Does an answer have the form that was asked for: lists, sections, titles, letters, marks?

The kinds of instructions are IFEval's (Zhou et al. 2023, arXiv 2311.07911) and the patterns follow
its description; `ifeval` names which check stands for which. See `checks` for what a check is.
"""

import re
from typing import Literal

from pydantic import Field

from zephyrctl.config.schema.section import Variant
from zephyrctl.evaluation.checks import Checked, Counted, within

_BULLET_POINT = re.compile(r"^\s*(?:\*(?!\*)|[-•])\s*\S.*$", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*\*[^\n*]+\*\*|\*[^\n*]+\*")
_PLACEHOLDER = re.compile(r"\[[^\[\]\n]+\]")
_TITLE = re.compile(r"<<[^\n<>]*\S[^\n<>]*>>")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»"}


class Paragraphs(Counted):
    """A number of paragraphs."""

    divider: str | None = None
    """What stands between them on a line of its own, such as `***`; null: blank lines."""


class FirstWord(Variant):
    """The beginning of a paragraph; blank lines part paragraphs."""

    which: int = Field(ge=1)
    """Which paragraph, from 1."""
    value: str = Field(min_length=1)
    """Its first word; case does not count."""


class Sections(Counted):
    """A number of sections with a heading such as `Section 1`."""

    word: str = Field("Section", min_length=1)
    """The word before the number; case counts."""


class Postscript(Variant):
    """What a postscript begins with."""

    value: Literal["P.S.", "P.P.S"] = "P.S."
    """The mark; case and spaces in it do not count."""


class Separated(Variant):
    """Several answers with a separator between them."""

    separator: str = Field("******", min_length=1)
    """What stands between two of them."""
    count: int = Field(2, ge=2)
    """How many, no two the same."""


class Case(Variant):
    """The case of all letters."""

    value: Literal["upper", "lower"]
    """Capitals only, or none."""


def paragraphs(answer: Checked, params: Paragraphs) -> str | None:
    """So many paragraphs."""
    return within(len(split_paragraphs(answer.text, params.divider)), params, "paragraphs")


def paragraph_starts(answer: Checked, params: FirstWord) -> str | None:
    """A paragraph begins with this word."""
    found = split_paragraphs(answer.text, None)
    if len(found) < params.which:
        return f"{len(found)} paragraphs"
    words = found[params.which - 1].split()
    first = words[0].strip("\"'“”‘’*_.,;:!?…()").casefold() if words else ""
    return None if first == params.value.casefold() else f"begins with '{first[:40]}'"


def bullets(answer: Checked, params: Counted) -> str | None:
    """So many bullet points, lines that begin with `*`, `-` or `•`."""
    return within(len(_BULLET_POINT.findall(answer.text)), params, "bullet points")


def highlights(answer: Checked, params: Counted) -> str | None:
    """So many parts in Markdown's `*emphasis*` or `**bold**`."""
    # A bullet's asterisk opens no emphasis.
    text = re.sub(r"^\s*\*\s+", "", answer.text, flags=re.MULTILINE)
    marked = [part for part in _HIGHLIGHT.findall(text) if part.strip("* ")]
    return within(len(marked), params, "highlighted parts")


def sections(answer: Checked, params: Sections) -> str | None:
    """So many headings of sections."""
    heading = rf"(?<!\w){re.escape(params.word)}\s?\d+"
    return within(len(set(re.findall(heading, answer.text))), params, "sections")


def placeholders(answer: Checked, params: Counted) -> str | None:
    """So many placeholders in square brackets, such as `[address]`."""
    return within(len(_PLACEHOLDER.findall(answer.text)), params, "placeholders")


def postscript(answer: Checked, params: Postscript) -> str | None:
    """A postscript with something in it."""
    mark = r"\s?".join(re.escape(letter) + r"\." for letter in params.value.replace(".", ""))
    # IFEval writes "P.P.S" without its last point.
    pattern = rf"^\W{{0,3}}{mark.removesuffix(re.escape('.'))}\.?.*\w"
    found = re.search(pattern, answer.text, re.IGNORECASE | re.MULTILINE)
    return None if found else "no postscript"


def title(answer: Checked, params: Variant) -> str | None:
    """A title in double angular brackets, such as `<<On Bees>>`."""
    del params
    return None if _TITLE.search(answer.text) else "no title"


def different_answers(answer: Checked, params: Separated) -> str | None:
    """So many answers, all different, with the separator between them."""
    parts = [part.strip() for part in answer.text.split(params.separator)]
    found = [part for place, part in enumerate(parts) if part or 0 < place < len(parts) - 1]
    if len(found) != params.count:
        return f"{len(found)} answers"
    if "" in found:
        return "an empty answer"
    return None if len(set(found)) == len(found) else "the same answer twice"


def capital_words(answer: Checked, params: Counted) -> str | None:
    """So many words all in capitals."""
    words = [word for word in _WORD.findall(answer.text) if word.isupper()]
    return within(len(words), params, "words in capitals")


def letter_case(answer: Checked, params: Case) -> str | None:
    """All letters are capitals, or none is."""
    text = answer.text
    is_right = text.isupper() if params.value == "upper" else text.islower()
    if is_right:
        return None
    wrong = str.islower if params.value == "upper" else str.isupper
    first = next((letter for letter in text if wrong(letter)), None)
    return "no letters" if first is None else f"'{first}' is not in {params.value} case"


def quoted(answer: Checked, params: Variant) -> str | None:
    """The whole answer stands in double quotation marks."""
    del params
    text = answer.text.strip()
    is_quoted = len(text) > 2 and _QUOTES.get(text[0]) == text[-1]
    return None if is_quoted else "not in quotation marks"


def split_paragraphs(text: str, divider: str | None) -> list[str]:
    """The paragraphs of a text, none empty; see `Paragraphs.divider`."""
    if divider is None:
        parts = _BLANK_LINES.split(text.strip())
    else:
        parts = re.split(rf"^[ \t]*{re.escape(divider)}[ \t]*$", text, flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]
