"""Settings of chat."""

from typing import Literal

from pydantic import Field

from zephyrctl.config.schema.section import Section


class Chat(Section):
    """How `zephyrctl chat` samples replies, shows them, and what it keeps."""

    temperature: float = Field(default=0.7, ge=0)
    """Sampling temperature; 0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus sampling: the smallest set of tokens with this total probability."""
    top_k: int = Field(default=50, ge=0)
    """Sample among this many best tokens; 0 takes all."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest reply in tokens."""
    system: str | None = None
    """System prompt; null leaves the template's own (Zephyr's is empty)."""
    render: Literal["auto", "markdown", "plain"] = "auto"
    """How replies are drawn. `auto` is Markdown on a terminal and plain text elsewhere."""
    history: bool = True
    """Keep what was typed on this disk, for the next chat's arrow keys and suggestions."""
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Load the weights quantized. Needs the `cuda` extra."""
