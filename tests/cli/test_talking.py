"""Whose settings a chat has: those of the model's own run, or those given by hand."""

import os
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.cli.talking import Models, Wish
from zephyrctl.config.layers import load
from zephyrctl.errors import ConfigError, UsageError
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import Run, open_run, write_config


def wish(**fields: Any) -> Wish:
    """What a command line without options says, and `fields`."""
    plain = {"model": None, "url": None, "device": "cpu", "seed": 0, "prompt": None, "json": False}
    return Wish(**(plain | fields))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with settings of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ZEPHYRCTL_CHAT")]:
        monkeypatch.delenv(name)
    sets = ["name=mine", "chat.temperature=0.3", "chat.top_k=7", "model.attention=eager"]
    loaded = load(recipe="tiny", sets=sets)
    made = open_run(loaded.recipe)
    write_config(made, loaded)
    return made


def of_run(run: Run, given: Wish, flags: dict[str, Any] | None = None) -> Any:
    """The configuration that the SFT model of `run` is talked with."""
    ref = ModelRef("sft", "stage", str(run.root / "sft/model"), None, run, "sft")
    return Models(given, flags or {})._recipe_of(ref)


def test_a_models_own_run_decides(run: Run) -> None:
    recipe = of_run(run, wish())
    assert (recipe.chat.temperature, recipe.chat.top_k) == (0.3, 7)
    assert recipe.model.attention == "eager"


def test_flags_settings_and_the_environment_are_over_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CHAT__TOP_P", "0.5")
    sets = ("chat.max_new_tokens=9", "model.attention=sdpa")
    recipe = of_run(run, wish(sets=sets), {"temperature": 0.0})
    chat = recipe.chat
    assert (chat.temperature, chat.top_p, chat.top_k, chat.max_new_tokens) == (0.0, 0.5, 7, 9)
    assert recipe.model.attention == "sdpa"


def test_a_configuration_given_by_hand_has_its_own_chat(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("extends: tiny\nchat: {top_k: 3}\n")
    recipe = of_run(run, wish(config=file))
    assert recipe.chat.top_k == 3
    assert recipe.chat.temperature != 0.3
    assert recipe.model.attention == "eager"


def test_wrong_settings_are_refused_before_anything_is_loaded(run: Run) -> None:
    for sets in (("chat.top_p=7",), ("chat.topk=7",), ("chat.render=html",)):
        with pytest.raises(ConfigError, match=r"top|render"):
            Models(wish(sets=sets), {})


def test_a_bare_name_is_one_at_the_service_of_url(run: Run) -> None:
    models = Models(wish(url="http://127.0.0.1:1/v1/"), {})
    assert models.find("large").target == "openai+http://127.0.0.1:1/v1:large"
    with pytest.raises(UsageError, match="sft"):
        models.find("@sft")


def test_what_can_be_named_is_offered_for_completion(run: Run) -> None:
    assert Models(wish(), {}).references() == ["@last"]
