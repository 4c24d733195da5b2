"""Whose settings a chat has: those of the model's own run, or those given by hand."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.chat.talker import EndpointTalker, _again
from zephyrctl.cli.chat_models import Models
from zephyrctl.cli.chat_wish import Wish
from zephyrctl.config.layers import load
from zephyrctl.errors import ConfigError, UsageError
from zephyrctl.runs import manifest
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
    for name in ("org/large", "openai/large", "mine"):
        assert models.find(name).target == f"openai+http://127.0.0.1:1/v1:{name}"
    with pytest.raises(UsageError, match="sft"):
        models.find("@sft")


def test_a_path_to_what_is_here_is_no_name_at_the_service_of_url(run: Run) -> None:
    models = Models(wish(url="http://127.0.0.1:1/v1"), {})
    stage = run.stage("sft")
    stage.model.mkdir(parents=True)
    manifest.begin(stage, inputs={}, seed=1, world_size=1)
    manifest.finish(stage, manifest.Result({}, []))
    for ref in ("mine/sft", f"{run.root}/sft", f"./{run.root}/sft"):
        assert models.find(ref).target == str(stage.model)
    again = _again(models.find("mine/sft"))
    assert Path(models.find(again).target).samefile(stage.model)


def test_a_base_at_a_revision_is_opened_again_at_it(run: Run) -> None:
    sets = ("model.base=org/large", "model.revision=v2")
    models = Models(wish(sets=sets), {})
    found = models.find("base")
    assert (found.kind, found.revision) == ("hub", "v2")
    assert models.find(_again(found)) == found


def test_the_key_file_goes_to_the_service_of_the_command_line_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    key = tmp_path / "key"
    key.write_text("secret\n")
    here, there = "http://127.0.0.1:1/v1", "openai+http://127.0.0.1:2/v1:m"
    by_url = Models(wish(url=f"{here}/", model="m", api_key_file=key), {})
    by_name = Models(wish(model=f"openai+{here}:m", api_key_file=key), {})
    for models in (by_url, by_name):
        opened = [models.first()[0], models.open(f"openai+{here}:n"), models.open(there)]
        keys = [talker.endpoint.api_key for talker in opened if isinstance(talker, EndpointTalker)]
        assert keys == ["secret", "secret", None]


def test_a_key_file_without_a_service_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for a service"):
        Models(wish(model="mine/sft", api_key_file=tmp_path / "key"), {}).check()


def test_a_model_is_not_compared_with_itself_by_another_path(run: Run) -> None:
    folder = Path("other")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    models = Models(wish(model=f"./{folder}", compare=(str(folder.absolute()),)), {})
    with pytest.raises(UsageError, match="is there already"):
        models.check()


def test_a_model_at_the_service_may_be_called_as_a_run_is_here(run: Run) -> None:
    models = Models(wish(url="http://127.0.0.1:1/v1", model="@dpo", compare=("b",)), {})
    models.check()


def test_what_can_be_named_is_offered_for_completion(run: Run) -> None:
    assert Models(wish(), {}).references() == ["@last"]


def test_a_run_that_cannot_be_read_is_not_offered_and_breaks_nothing(run: Run) -> None:
    stage = run.stage("sft")
    stage.path.mkdir(parents=True)
    stage.manifest_path.write_text("{torn")
    assert Models(wish(), {}).references() == ["@last"]


def test_an_address_that_is_none_is_refused_before_anything_is_asked(run: Run) -> None:
    with pytest.raises(UsageError, match="--url takes an address, not 'foo'"):
        Models(wish(url="foo"), {}).check()


def test_whose_settings_a_chat_has_is_said_where_they_are_not_those_of_the_file(
    run: Run, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = run.stage("sft")
    shutil.copytree(tiny_base, stage.model)
    manifest.begin(stage, inputs={}, seed=1, world_size=1)
    manifest.finish(stage, manifest.Result({}, []))
    for given, is_said in ((wish(model="@sft"), True), (wish(model="@sft", recipe="tiny"), False)):
        talker, _ = Models(given, {}).first()
        talker.close()
        err = capsys.readouterr().err
        assert ("chat settings of " in err) is is_said
        assert "loading mine/sft …" in err


@pytest.mark.parametrize("name", ["foo", "cuda:", "cpu:0:1", "gpu", "", "CUDA", "cuda:0 "])
def test_a_device_that_is_none_is_refused_by_the_names_there_are(run: Run, name: str) -> None:
    with pytest.raises(UsageError, match="is no device: cpu, cuda, cuda:1, mps or auto$") as error:
        Models(wish(model="@sft", device=name), {}).check()
    assert error.value.exit_code == 2
