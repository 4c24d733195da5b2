"""Does an answer follow an instruction that code can verify?

Here are checks of wording, length and content; those of form are in `form_checks`. A check is a
pure function of an answer and its parameters: None where it passes, else what was found instead,
in a few words. A new one is a function, a parameters class and a line in `catalogue.RULE_CHECKS`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from zephyrctl.config.schema.section import Variant
from zephyrctl.data.filters import language as language_filter
from zephyrctl.data.refusals import find_refusal


@dataclass(frozen=True)
class Checked:
    """What a check looks at: the text, and whether the model ended it itself."""

    text: str
    stopped: bool


Check = Callable[[Checked, Any], str | None]

_QUOTES = "\"'`“”‘’«»*"
_CLOSING = ".!?…,;:"
# Points that end no sentence.
_ABBREVIATIONS = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|No|approx|e\.g|i\.e|a\.m|p\.m|[A-Z])\.", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?:\s+|$)")
_NUMBER = re.compile(r"(?<![\w.])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|\.\d)")
_BULLET = re.compile(r"^\s*(?:[-*•–]|\(?\d{1,3}[.)])\s+")


class Text(Variant):
    """A text to look for."""

    value: str = Field(min_length=1)
    """The text."""
    ignore_case: bool = False
    """Upper and lower case are the same."""


class Limit(Variant):
    """A bound on a count."""

    value: int = Field(ge=0)
    """The bound; the count may be equal to it."""


class Counted(Variant):
    """Bounds of a count; one of them or both."""

    at_least: int | None = Field(None, ge=0)
    """The smallest right count."""
    at_most: int | None = Field(None, ge=0)
    """The largest right count."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give 'at_least', 'at_most', or both")
        low, high = self.at_least, self.at_most
        if low is not None and high is not None and low > high:
            raise ValueError(f"at_least {low} is more than at_most {high}")
        return self


class Keyword(Counted):
    """A text and how often it has to stand there."""

    value: str = Field(min_length=1)
    """The text."""
    whole_words: bool = False
    """It counts only as a word of its own, not inside another one."""
    ignore_case: bool = True
    """Upper and lower case are the same."""


class Keywords(Variant):
    """Several texts."""

    value: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    """The texts."""
    whole_words: bool = True
    """They count only as words of their own, not inside others."""
    ignore_case: bool = True
    """Upper and lower case are the same."""


class Options(Variant):
    """Texts of which one is wanted."""

    value: list[Annotated[str, Field(min_length=1)]] = Field(min_length=2)
    """The texts."""
    whole: bool = False
    """The answer is one of them and nothing more, but for quotation marks and closing signs."""


class Letter(Counted):
    """A letter and how often it has to stand there, in either case."""

    value: str = Field(min_length=1, max_length=1)
    """The letter."""


class Language(Variant):
    """A language."""

    value: str = Field(pattern=r"^[a-z]{2,3}$")
    """Its ISO 639 code (`en`, `de`, `zh`)."""

    @model_validator(mode="after")
    def _can_be_told(self) -> Self:
        language_filter.detector(where="eval.rules.questions")
        return self


class Pattern(Variant):
    """A regular expression of Python's."""

    value: str = Field(min_length=1)
    """The expression."""
    whole: bool = False
    """It must match the whole answer, not only a part."""

    @field_validator("value")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        return value


class Json(Variant):
    """A JSON value."""

    keys: list[str] = []
    """Keys that must be there; the value must then be an object."""


class Number(Variant):
    """A number in digits."""

    value: float
    """The right number."""
    tolerance: float = Field(0.0, ge=0)
    """Largest difference that still counts as right."""
    which: Literal["only", "first", "last"] = "only"
    """The number that counts: the only one in the answer, its first, or its last."""


class ListItems(Variant):
    """A list, one item a line or with commas between."""

    value: list[str] | None = None
    """The items in their order; case and closing punctuation do not count."""
    count: int | None = Field(None, ge=1)
    """How many items, whatever they are."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> "ListItems":
        if (self.value is None) == (self.count is None):
            raise ValueError("give either 'value' or 'count'")
        return self


class Ascii(Variant):
    """Letters of the English alphabet."""

    min_share: float = Field(0.95, gt=0, le=1)
    """Smallest share of the letters that are ASCII."""


def equals(answer: Checked, params: Text) -> str | None:
    """The answer is this text; quotation marks round it and punctuation at its end do not count."""
    found, wanted = _bare(answer.text), _bare(params.value)
    if params.ignore_case:
        found, wanted = found.casefold(), wanted.casefold()
    return None if found == wanted else f"is '{_short(answer.text)}'"


def contains(answer: Checked, params: Text) -> str | None:
    """The text stands in the answer."""
    found, wanted = _cased(answer.text, params)
    return None if wanted in found else f"'{params.value}' is not in it"


def not_contains(answer: Checked, params: Text) -> str | None:
    """The text does not stand in the answer."""
    found, wanted = _cased(answer.text, params)
    return f"'{params.value}' is in it" if wanted in found else None


def keywords(answer: Checked, params: Keywords) -> str | None:
    """All of the texts stand in the answer."""
    missing = [text for text in params.value if not _times(answer.text, text, params)]
    return f"'{missing[0]}' is not in it" if missing else None


def no_keywords(answer: Checked, params: Keywords) -> str | None:
    """None of the texts stands in the answer."""
    found = [text for text in params.value if _times(answer.text, text, params)]
    return f"'{found[0]}' is in it" if found else None


def frequency(answer: Checked, params: Keyword) -> str | None:
    """The text stands in the answer so many times."""
    return within(_times(answer.text, params.value, params), params, "times")


def letter_frequency(answer: Checked, params: Letter) -> str | None:
    """The letter stands in the answer so many times."""
    return within(answer.text.casefold().count(params.value.casefold()), params, "times")


def one_of(answer: Checked, params: Options) -> str | None:
    """One of the texts stands in the answer, or is the answer."""
    if params.whole:
        found = _bare(answer.text) in {_bare(text) for text in params.value}
    else:
        found = any(text in answer.text for text in params.value)
    return None if found else f"is '{_short(answer.text)}'"


def starts_with(answer: Checked, params: Text) -> str | None:
    """The answer begins with the text."""
    found, wanted = _cased(answer.text, params)
    return None if found.startswith(wanted) else f"begins with '{_short(answer.text)}'"


def ends_with(answer: Checked, params: Text) -> str | None:
    """The answer ends with the text."""
    found, wanted = _cased(answer.text, params)
    return None if found.endswith(wanted) else f"ends with '{answer.text[-40:]}'"


def max_words(answer: Checked, params: Limit) -> str | None:
    """At most so many words."""
    count = len(answer.text.split())
    return f"{count} words" if count > params.value else None


def min_words(answer: Checked, params: Limit) -> str | None:
    """At least so many words."""
    count = len(answer.text.split())
    return f"{count} words" if count < params.value else None


def max_sentences(answer: Checked, params: Limit) -> str | None:
    """At most so many sentences."""
    count = count_sentences(answer.text)
    return f"{count} sentences" if count > params.value else None


def min_sentences(answer: Checked, params: Limit) -> str | None:
    """At least so many sentences."""
    count = count_sentences(answer.text)
    return f"{count} sentences" if count < params.value else None


def one_line(answer: Checked, params: Variant) -> str | None:
    """A single line with something on it."""
    del params
    lines = answer.text.strip().splitlines()
    return None if len(lines) == 1 else f"{len(lines)} lines"


def regex(answer: Checked, params: Pattern) -> str | None:
    """The expression matches; `^` and `$` are the ends of the answer."""
    match = (re.fullmatch if params.whole else re.search)(params.value, answer.text)
    return None if match else "no match"


def stopped(answer: Checked, params: Variant) -> str | None:
    """The model ended the answer itself, before the limit."""
    del params
    return None if answer.stopped else "cut at the limit"


def no_refusal(answer: Checked, params: Variant) -> str | None:
    """No refusal and no disclaimer of being an AI."""
    del params
    phrase = find_refusal(answer.text)
    return None if phrase is None else f"'{phrase}'"


def capitalised(answer: Checked, params: Variant) -> str | None:
    """The first letter is a capital."""
    del params
    first = next((letter for letter in answer.text if letter.isalpha()), "")
    return None if first.isupper() else f"begins with '{_short(answer.text)}'"


def json_value(answer: Checked, params: Json) -> str | None:
    """The answer is JSON, alone or in one code fence, with these keys."""
    text = answer.text.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except ValueError:
        return "no JSON"
    if not params.keys:
        return None
    if not isinstance(value, dict):
        return "no object"
    missing = [key for key in params.keys if key not in value]
    return f"without {', '.join(missing)}" if missing else None


def number(answer: Checked, params: Number) -> str | None:
    """The number is right. Thousands commas are read; numbers in words are not."""
    found = [float(_plain_number(text)) for text in _NUMBER.findall(answer.text)]
    if not found:
        return "no number"
    if params.which == "only" and len(set(found)) > 1:
        return f"{len(found)} numbers"
    value = found[-1] if params.which == "last" else found[0]
    return None if abs(value - params.value) <= params.tolerance else f"is {value:g}"


def list_items(answer: Checked, params: ListItems) -> str | None:
    """The items of the list, or their number."""
    items = read_items(answer.text)
    if params.value is None:
        return None if len(items) == params.count else f"{len(items)} items"
    wanted = [_bare(item).casefold() for item in params.value]
    found = [_bare(item).casefold() for item in items]
    return None if found == wanted else f"is '{_short(', '.join(items))}'"


def language_ascii(answer: Checked, params: Ascii) -> str | None:
    """The letters are those of the English alphabet."""
    letters = [letter for letter in answer.text if letter.isalpha()]
    if not letters:
        return "no letters"
    share = sum(letter.isascii() for letter in letters) / len(letters)
    return None if share >= params.min_share else f"{share:.0%} ASCII"


def language(answer: Checked, params: Language) -> str | None:
    """The answer is in this language, code and addresses apart, by the detector of the data
    filter `language`; however unsure it is, its best guess counts."""
    prose = language_filter.opening(answer.text)
    if not any(map(str.isalpha, prose)):
        return "no letters"
    code, _ = language_filter.detector(where="eval.rules.questions")(prose)
    return None if code == params.value else f"in '{code}'"


def within(count: int, params: Counted, unit: str) -> str | None:
    """What is wrong with a count, if it is outside its bounds."""
    low, high = params.at_least, params.at_most
    is_right = (low is None or count >= low) and (high is None or count <= high)
    return None if is_right else f"{count} {unit}"


def count_sentences(text: str) -> int:
    """Sentences of a text; what stands after the last full stop counts as one."""
    plain = _ABBREVIATIONS.sub(lambda match: match.group(0).replace(".", ""), text.strip())
    pieces = [piece for piece in _SENTENCE_END.split(plain) if any(map(str.isalnum, piece))]
    return len(pieces)


def read_items(text: str) -> list[str]:
    """Items of a bulleted or numbered list, of lines, or of one line with commas and `and`."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if len(lines) > 1:
        bulleted = [line for line in lines if _BULLET.match(line)]
        return [_BULLET.sub("", line).strip() for line in bulleted or lines]
    line = _BULLET.sub("", lines[0]).strip() if lines else ""
    parts = re.split(r"\s*[,;]\s*(?:and\s+)?|\s+and\s+", line)
    return [part.strip() for part in parts if part.strip(_CLOSING + " ")]


def _times(text: str, wanted: str, params: Keyword | Keywords) -> int:
    """How often a text stands in another one."""
    pattern = re.escape(wanted)
    if params.whole_words:
        pattern = rf"(?<!\w){pattern}(?!\w)"
    return len(re.findall(pattern, text, re.IGNORECASE if params.ignore_case else 0))


def _plain_number(text: str) -> str:
    return text.replace(",", "").replace("−", "-")


def _bare(text: str) -> str:
    """Without white space, quotation marks and closing punctuation round it."""
    text = " ".join(text.split())
    while (shorter := text.strip(_QUOTES + " ").rstrip(_CLOSING)) != text:
        text = shorter
    return text


def _cased(text: str, params: Text) -> tuple[str, str]:
    if params.ignore_case:
        return text.casefold(), params.value.casefold()
    return text, params.value


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"
