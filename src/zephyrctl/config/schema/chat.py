"""Settings of chat."""

from pydantic import Field

from zephyrctl.config.schema.section import Section


class Chat(Section):
    """How replies are sampled in `zephyrctl chat`."""

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
