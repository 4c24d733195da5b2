"""Which rows survive, and which are repaired?

A filter looks at one record and returns it, a repaired copy, or the reason to drop it; its
docstring is its documentation. Two filters need more than one record and are carried out by data
preparation itself: `dedup` (all rows before this one) and `length` (token ids); here they stand
for their settings.

In a preference pair both completions are checked for damage (empty, special tokens); what is
merely bad (a refusal, lower case, repetition) is checked in the chosen one, because a bad rejected
answer is what DPO learns from. Repairs touch both, so that repair itself carries no preference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from zephyrctl import catalogue
from zephyrctl.config.schema.section import Variant
from zephyrctl.data.filter_params import Lowercase, Repetition
from zephyrctl.data.messages import Dialogue, Message, Record
from zephyrctl.data.refusals import find_refusal
from zephyrctl.data.text import ngrams, without_code, words

SpecialTokens = frozenset[str]


@dataclass(frozen=True, slots=True)
class Drop:
    """The reason to drop a record; rows are counted by it."""

    reason: str


Filter = Callable[[Record], Record | Drop]
AT_CORPUS = ("dedup",)
AT_TOKENS = ("length",)


def build(variants: list[Variant], *, special_tokens: SpecialTokens) -> list[tuple[str, Filter]]:
    """The row filters among `variants`, in order, with their names."""
    return [
        (variant.name, catalogue.FILTERS.load(variant.name)(variant, special_tokens))
        for variant in variants
        if variant.name not in AT_CORPUS + AT_TOKENS
    ]


def turns(record: Record) -> tuple[Message, ...]:
    """Every message of a record, both completions of a pair included."""
    if isinstance(record, Dialogue):
        return record.messages
    return (*record.prompt, *record.chosen, *record.rejected)


def preferred(record: Record) -> tuple[Message, ...]:
    """The conversation that the model is to imitate."""
    return record.messages if isinstance(record, Dialogue) else (*record.prompt, *record.chosen)


def answers(record: Record) -> Iterator[str]:
    """What the assistant says in the conversation to be imitated."""
    return (m.content for m in preferred(record) if m.role == "assistant")


def map_answers(record: Record, change: Callable[[str], str]) -> Record:
    """The record with every assistant turn changed; the same object where nothing changed."""

    def changed(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        return tuple(
            Message(m.role, change(m.content)) if m.role == "assistant" else m for m in messages
        )

    if isinstance(record, Dialogue):
        after: Record = replace(record, messages=changed(record.messages))
    else:
        after = replace(
            record,
            prompt=changed(record.prompt),
            chosen=changed(record.chosen),
            rejected=changed(record.rejected),
        )
    return record if after == record else after


def corpus_only(variant: Variant, special_tokens: SpecialTokens) -> Filter:
    """`dedup` and `length` are carried out by data preparation; alone they keep every record."""
    del variant, special_tokens
    return lambda record: record


def drop_refusals(variant: Variant, special_tokens: SpecialTokens) -> Filter:
    """Drop rows whose answers refuse or disclaim that they come from an AI."""
    del variant, special_tokens

    def check(record: Record) -> Record | Drop:
        refused = any(find_refusal(answer) for answer in answers(record))
        return Drop("refusal or AI disclaimer") if refused else record

    return check


_NO_ANSWER = frozenset(
    {"", "n/a", "nan", "null", "<nooutput>", "<noinput>", "[no response]", "[deleted]", "[removed]"}
)


def drop_empty(variant: Variant, special_tokens: SpecialTokens) -> Filter:
    """Drop rows with an empty user or assistant turn, or an answer such as "N/A"."""
    del variant, special_tokens

    def check(record: Record) -> Record | Drop:
        for message in turns(record):
            text = message.content.strip().lower()
            if not text and message.role != "system":
                return Drop(f"empty {message.role} turn")
            if message.role == "assistant" and text.rstrip(".") in _NO_ANSWER:
                return Drop("no answer (N/A)")
        return record

    return check


_LONG_WITHOUT_SENTENCES = 120
"""Letters from which even a text without any full stop is taken for prose."""

_SENTENCE_END = re.compile(r"[.!?][\"')\]]?(?:\s|$)")
_ASKS_FOR_LOWERCASE = re.compile(
    r"\b(?:lower[- ]?case|small letters|uncapitali[sz]ed|no capital|without capital)", re.I
)


def drop_lowercase(variant: Lowercase, special_tokens: SpecialTokens) -> Filter:
    """Drop rows with an answer wholly in lower case, code apart, unless the user asked for it.

    A word or a list ("bread, milk and soap") is no sentence and may be in lower case. List it
    before `fix_truecase`, which would hide what it looks for.
    """
    del special_tokens

    def check(record: Record) -> Record | Drop:
        asked = False
        for message in preferred(record):
            if message.role != "assistant":
                asked = asked or bool(_ASKS_FOR_LOWERCASE.search(message.content))
            elif not asked and _is_lowercase(message.content, min_letters=variant.min_letters):
                return Drop("answer in lower case")
        return record

    return check


def _is_lowercase(text: str, *, min_letters: int) -> bool:
    prose = without_code(text)
    if any(letter.isupper() for letter in prose):
        return False
    letters = sum(letter.islower() for letter in prose)
    return letters >= (min_letters if _SENTENCE_END.search(prose) else _LONG_WITHOUT_SENTENCES)


_PLAIN_WORD_END = r"(?=[ ,;:!?\n]|\.(?:\s|$)|$)"
_FIRST_WORD = re.compile(rf"[a-z][a-z']*{_PLAIN_WORD_END}")
_NEXT_SENTENCE = re.compile(rf"[.!?][ \n]+(?P<word>[a-z][a-z']*){_PLAIN_WORD_END}")
_ABBREVIATIONS = frozenset(
    ["e.g", "i.e", "etc", "vs", "Mr", "Mrs", "Ms", "Dr", "cf", "approx", "St", "Fig", "cm",
     "km", "mm", "kg", "ft", "min", "max"]
)  # fmt: skip
# The pronoun, not an index: "i = 0", "each i in the list" stay.
_LONE_I = re.compile(
    r"(?<![\w.'\-/(])i(?='(?:m|ve|ll|d)\b|[,;!?]|"
    r" (?!(?:in|is|of|for|to|from|equals|denotes)\b)[a-z])"
)
_PROTECTED = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+)", re.DOTALL)


def truecase(text: str) -> str:
    """The text with capitals at sentence starts and for "I"; code and addresses stay as they are.

    Words that are not plain lower-case letters (`iPhone`, `foo_bar`) are left alone, and so is the
    first word of a text without any sentence end: a word or a list.
    """
    is_prose = bool(_SENTENCE_END.search(without_code(text)))
    parts = _PROTECTED.split(text)
    for position in range(0, len(parts), 2):
        parts[position] = _truecase_prose(parts[position], starts=is_prose and position == 0)
    return "".join(parts)


def _truecase_prose(text: str, *, starts: bool) -> str:
    if starts and _FIRST_WORD.match(text):
        text = text[0].upper() + text[1:]

    def capital(match: re.Match[str]) -> str:
        if _is_abbreviation(text, match.start()):
            return match.group(0)
        start = match.start("word") - match.start()
        return match.group(0)[:start] + match["word"][0].upper() + match["word"][1:]

    return _LONE_I.sub("I", _NEXT_SENTENCE.sub(capital, text))


def _is_abbreviation(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` ends no sentence: after a number, an initial, `etc`, `..`."""
    if text[stop] != ".":
        return False
    word = text[max(0, stop - 12) : stop].rpartition(" ")[2].lstrip("(\"'\n")
    if not word or word[-1] == "." or word[-1].isdigit():
        return True
    return (len(word) == 1 and word.isalpha()) or word in _ABBREVIATIONS


def fix_truecase(variant: Variant, special_tokens: SpecialTokens) -> Filter:
    """Repair lower-case sentence starts and a lower-case "i" in the assistant's turns."""
    del variant, special_tokens
    return lambda record: map_answers(record, truecase)


def drop_repetition(variant: Repetition, special_tokens: SpecialTokens) -> Filter:
    """Drop rows with an answer that repeats itself: too many of its word runs came before."""
    del special_tokens

    def check(record: Record) -> Record | Drop:
        for answer in answers(record):
            if repeated_share(answer, n=variant.ngram, min_words=variant.min_words) > (
                variant.max_share
            ):
                return Drop("repetitive answer")
        return record

    return check


def repeated_share(text: str, *, n: int, min_words: int) -> float:
    """Share of the runs of `n` words, code apart, that occurred before; 0 for a short text."""
    tokens = words(without_code(text))
    if len(tokens) < max(n, min_words):
        return 0.0
    runs = list(ngrams(tokens, n))
    return 1 - len(set(runs)) / len(runs)


_MARKUP = re.compile(
    r"<\|(?:user|assistant|system|im_start|im_end|endoftext|eot_id|start_header_id|"
    r"end_header_id|begin_of_text|end_of_turn|pad)\|>|\[/?INST\]|<</?SYS>>|"
    r"<(?:start_of_turn|end_of_turn)>"
)


def drop_special_tokens(variant: Variant, special_tokens: SpecialTokens) -> Filter:
    """Drop rows whose text contains chat markup or a special token of the tokenizer.

    Such text would be read as the end of a turn, or as another turn.
    """
    del variant

    def check(record: Record) -> Record | Drop:
        for message in turns(record):
            text = message.content
            if _MARKUP.search(text) or any(token in text for token in special_tokens):
                return Drop("special token in the text")
        return record

    return check
