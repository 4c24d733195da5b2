"""What did a stage start from, what did it make, and did it end well?"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from zephyrctl.errors import DataError

Inputs = dict[str, str | int | float | bool | None]
"""What decides a stage's result, flat: configuration keys and digests of input artifacts."""


class AllowedChange(BaseModel):
    """An input that was changed within a training, by `--allow-change`."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    field: str
    """A key of `inputs`, or `world_size`, `strategy`, `versions.torch` and the like."""
    before: str | int | float | bool | None
    """Its value until then."""
    after: str | int | float | bool | None
    """Its value since then."""
    step: int
    """Of the newest checkpoint at that time."""


class Manifest(BaseModel):
    """The record of one stage of one run, over all its attempts."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    stage: str
    """`data`, `sft`, `dpo` or `eval`."""
    state: Literal["running", "finished", "failed", "stopped"]
    """`running` in the manifest of a stage whose process is gone means that it was killed."""
    started: str
    """First start, UTC."""
    attempt_started: str
    """Start of the last attempt, UTC."""
    finished: str | None = None
    """End of the last attempt, UTC."""
    seconds: float = 0.0
    """Wall time summed over the attempts."""
    attempts: int = 1
    """Starts of this work, resumes counted."""
    inputs: Inputs
    """What decides the result."""
    digest: str
    """SHA-256 of `inputs`."""
    allowed_changes: list[AllowedChange] = []
    """Inputs that were changed on the way, the latest last."""
    hashes_verified: bool = True
    """False where the last attempt went on by `--no-verify-hash`."""
    outputs: dict[str, str] = {}
    """SHA-256 of each file or folder made, by its path relative to the stage's folder."""
    metrics: dict[str, Any] = {}
    """Final metrics; null stands for a number that is not finite."""
    notices: list[str] = []
    """What the stage had to say."""
    seed: int
    """Seed of the recipe."""
    world_size: int
    """Processes that took part in the last attempt."""
    versions: dict[str, str] = {}
    """Package versions."""
    hardware: dict[str, Any] = {}
    """The machine, without host or user name."""
    code: dict[str, str | None] = {}
    """This program: version, digest of its source, git commit where it runs from a clone."""
    error: dict[str, Any] | None = None
    """The error that ended the last attempt."""


def read(path: Path) -> Manifest | None:
    """The manifest at `path`, or None where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(
            f"the manifest cannot be read: {first['msg']}",
            where=str(path),
            hint=f"remove {path.parent} to run the stage afresh",
        ) from None
