"""What does a million tokens of a judge cost?

The configuration's own price comes first; then a model in this process, recorded judgments and a
service on this machine cost nothing; then comes the packaged table (`prices.yaml`), by exact host
and exact name. Anything else has no known price, and none is guessed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import yaml

from zephyrctl.config.schema import Recipe

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """USD for a million prompt and completion tokens; `origin` says where the figures are from."""

    prompt: float
    completion: float
    origin: str

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / MILLION

    @property
    def is_free(self) -> bool:
        """Whether any number of tokens costs nothing."""
        return not self.prompt and not self.completion


def price_of(recipe: Recipe, *, env: Mapping[str, str] | None = None) -> Price | None:
    """The price of `eval.judge`; None where it is unknown.

    `env` is read for OPENAI_BASE_URL, which moves the specs without an address.
    """
    settings = recipe.eval.judge
    if settings.prompt_price is not None and settings.completion_price is not None:
        return Price(settings.prompt_price, settings.completion_price, "as configured")
    return _listed(settings.spec or "", os.environ if env is None else env)


def _listed(spec: str, env: Mapping[str, str]) -> Price | None:
    if not spec.startswith("openai"):
        return Price(0.0, 0.0, "on this machine")
    from zephyrctl.generation.endpoint.address import is_loopback, parse_spec

    url, model = parse_spec(spec, env)
    if is_loopback(url):
        return Price(0.0, 0.0, "a service on this machine")
    return _table().get((urlsplit(url).hostname or "", model))


@cache
def _table() -> dict[tuple[str, str], Price]:
    """The packaged prices by host and model."""
    text = (files("zephyrctl.evaluation") / "prices.yaml").read_text(encoding="utf-8")
    services: list[dict[str, Any]] = yaml.safe_load(text)["services"]
    return {
        (service["host"], name): Price(
            float(model["prompt"]), float(model["completion"]), f"checked {service['checked']}"
        )
        for service in services
        for model in service["models"]
        for name in model["names"]
    }
