"""What can be set on a filter? (read by the config, so nothing heavy is imported here)"""

from typing import Literal

from pydantic import Field

from zephyrctl.config.schema.section import Variant


class Lowercase(Variant):
    """Settings of `drop_lowercase`."""

    min_letters: int = Field(12, ge=1)
    """Answers with fewer letters are left alone."""


class Length(Variant):
    """Settings of `length`."""

    of: Literal["conversation", "completion"] = "conversation"
    """What is measured: prompt and completion together, or what the assistant says. Of a pair,
    the longer completion counts."""
    min_tokens: int = Field(1, ge=0)
    """Fewest tokens."""
    max_tokens: int | None = Field(None, ge=1)
    """Most tokens, before anything is cut; null sets no bound."""


class Repetition(Variant):
    """Settings of `drop_repetition`."""

    ngram: int = Field(4, ge=2)
    """Length in words of the runs that are compared."""
    max_share: float = Field(0.5, gt=0, le=1)
    """Largest share of these runs that may be repetitions of earlier ones."""
    min_words: int = Field(30, ge=1)
    """Answers with fewer words are left alone."""


class Dedup(Variant):
    """Settings of `dedup`."""

    of: Literal["all", "prompt"] = "all"
    """Compare whole rows, or what the user says alone."""
    near: bool = True
    """Also drop near-duplicates, found by MinHash over runs of three words."""
    similarity: float = Field(0.9, gt=0.5, le=1)
    """Estimated Jaccard similarity from which two rows are near-duplicates."""
