"""What does the command line of a chat say, and does it hold together?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from zephyrctl import terminal
from zephyrctl.cli.options import check_device
from zephyrctl.errors import UsageError
from zephyrctl.runs.references import is_endpoint


@dataclass(frozen=True)
class Wish:
    """What the command line said."""

    model: str | None
    url: str | None
    device: str
    seed: int
    prompt: str | None
    json: bool
    config: Path | None = None
    recipe: str | None = None
    sets: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    blind: bool = False
    api_key_file: Path | None = None

    @property
    def key_file(self) -> str | None:
        """The file of the key for the service that is named here."""
        return None if self.api_key_file is None else str(self.api_key_file)

    @property
    def is_for_one_answer(self) -> bool:
        """Whether one prompt is answered; a person at the terminal begins a conversation."""
        return self.prompt is not None or not terminal.is_tty(sys.stdin)


def check(wish: Wish) -> None:
    """Refuse options that contradict each other or are for nothing, before anything is loaded."""
    if sys.stdout is None:
        raise UsageError("stdout is closed, and replies go there", hint=">FILE, not >&-")
    if wish.url is not None and not wish.url.startswith(("http://", "https://")):
        raise UsageError(
            f"--url takes an address, not '{wish.url}'",
            hint="zephyrctl chat --url http://localhost:8000/v1",
        )
    if wish.api_key_file is not None and wish.url is None and not is_endpoint(wish.model or ""):
        raise UsageError(
            "--api-key-file is for a service, and the model is none",
            hint="zephyrctl chat MODEL --url http://host:8000/v1 --api-key-file FILE",
        )
    if wish.blind and not wish.compare:
        raise UsageError(
            "--blind is for a comparison", hint="zephyrctl chat @dpo --compare @sft --blind"
        )
    if wish.blind and wish.is_for_one_answer:
        raise UsageError("--blind is for a conversation: nobody votes on one answer")
    check_device(wish.device)
