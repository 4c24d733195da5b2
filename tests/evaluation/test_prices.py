"""Where a price comes from, and that none is guessed."""

import re
from datetime import date
from importlib.resources import files

import pytest
import yaml

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.prices import price_of


def price(spec: str, env: dict[str, str] | None = None, **judge: float) -> tuple[float, ...] | None:
    recipe = Recipe.model_validate({"eval": {"judge": {"spec": spec, **judge}}})
    found = price_of(recipe, env=env or {})
    return found and (found.prompt, found.completion)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("openai:gpt-4", (30.0, 60.0)),
        ("openai:gpt-4-1106-preview", (10.0, 30.0)),
        ("openai:gpt-4o-2024-08-06", (2.5, 10.0)),
        ("openai:gpt-4o-2024-05-13", (5.0, 15.0)),
        ("openai+https://api.anthropic.com/v1:claude-haiku-4-5", (1.0, 5.0)),
        ("openai+https://api.deepseek.com/v1:deepseek-flash", (0.3, 1.2)),
    ],
)
def test_a_listed_model_has_the_price_of_its_exact_name(spec: str, expected: tuple[float, float]):
    assert price(spec) == expected


@pytest.mark.parametrize(
    "spec",
    [
        "openai:gpt-4o-2031-01-01",
        "openai:gpt-4o-",
        "openai:gpt",
        "openai:ft:gpt-4o-2024-08-06:mine::1",
        "openai+https://api.example.com/v1:gpt-4o",
        "openai+https://api.openai.com.example/v1:gpt-4o",
        "openai+http://10.0.0.7:8000/v1:gpt-4o",
    ],
)
def test_nothing_is_guessed_from_a_name_or_another_host(spec: str):
    assert price(spec) is None


@pytest.mark.parametrize(
    "spec",
    [
        "local:tiny",
        "replay:file.jsonl",
        "openai+http://localhost:8000/v1:gpt-4o",
        "openai+http://127.0.0.1:11434/v1:llama3:8b",
    ],
)
def test_what_runs_on_this_machine_costs_nothing(spec: str):
    assert price(spec) == (0.0, 0.0)


def test_a_redirected_service_is_no_longer_the_listed_one():
    assert price("openai:gpt-4o", {"OPENAI_BASE_URL": "https://proxy.example/v1"}) is None
    assert price("openai:gpt-4o", {"OPENAI_BASE_URL": "http://localhost:1/v1"}) == (0.0, 0.0)


def test_the_configured_price_comes_first():
    own = {"prompt_price": 1.0, "completion_price": 2.0}
    for spec in ("openai:gpt-4o", "openai:unheard-of", "openai+http://127.0.0.1:1/v1:gpt-4o"):
        assert price(spec, **own) == (1.0, 2.0)


def test_every_listed_price_is_dated_and_sourced_and_no_name_is_listed_twice():
    text = (files("zephyrctl.evaluation") / "prices.yaml").read_text(encoding="utf-8")
    for service in yaml.safe_load(text)["services"]:
        assert date.fromisoformat(service["checked"]) >= date(2026, 11, 1)
        assert service["source"].startswith("https://")
        assert re.fullmatch(r"[a-z.]+", service["host"])
        names = [name for model in service["models"] for name in model["names"]]
        assert len(names) == len(set(names))
        for model in service["models"]:
            assert 0 < model["prompt"] <= model["completion"]
