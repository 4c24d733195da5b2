"""What is said of settings that contradict each other?"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A contradiction: the settings it is about, a sentence, a next step."""

    paths: tuple[str, ...]
    message: str
    hint: str | None = None
