"""Whose settings a chat has: those of the model's own run, or those given by hand."""

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from tests.chat.talkers import Scripted

from zephyrctl import terminal
from zephyrctl.chat import oneshot
from zephyrctl.chat.talker import EndpointTalker, _again
from zephyrctl.cli import talking
from zephyrctl.cli.chat import chat
from zephyrctl.cli.chat_models import Models
from zephyrctl.cli.chat_wish import Wish
from zephyrctl.config.layers import load
from zephyrctl.errors import ConfigError, UsageError
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs import manifest
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import Run, open_run, write_config


class Whole(Scripted):
    """A talker that answers at once."""

    def answer(self, messages: object, *, sampling: Sampling) -> Completion:
        return Completion("hello", 2, 3, True, 0.5)


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


def finished(run: Run, name: str) -> str:
    """Write the manifest of a finished stage; returns the folder of its model."""
    stage = run.stage(name)  # pyright: ignore[reportArgumentType]
    manifest.begin(stage, inputs={}, seed=1, world_size=1)
    manifest.finish(stage, manifest.Result({}, []))
    stage.model.mkdir(parents=True, exist_ok=True)
    (stage.model / "config.json").write_text("{}")
    return str(stage.model)


@pytest.fixture
def newer(run: Run) -> Run:
    """A second run, whose stages are newer than those of `run`."""
    loaded = load(recipe="tiny", sets=["name=newer"])
    made = open_run(loaded.recipe)
    write_config(made, loaded)
    return made


def test_a_stage_beside_the_chats_own_model_is_one_of_its_run(
    run: Run, newer: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    sft = finished(run, "sft")
    finished(run, "dpo")
    finished(newer, "sft")
    models = Models(wish(model="mine/dpo", compare=("@sft",)), {})
    assert [ref.target for ref in models._named_models()] == [str(run.root / "dpo/model"), sft]
    assert models.find("@sft").target == sft
    models._own = newer
    assert models.find("@sft").run == newer
    assert capsys.readouterr().err == ""


def test_a_stage_of_another_run_is_said_once_to_be_one(
    run: Run, newer: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(run, "sft")
    dpo = finished(newer, "dpo")
    models = Models(wish(model="mine/sft", compare=("@dpo",)), {})
    models.check()
    assert models.find("@dpo").target == dpo
    assert capsys.readouterr().err == "(@dpo is newer/dpo: mine has no finished dpo)\n"


def test_the_model_that_is_gone_on_with_is_the_chats_own(
    run: Run, newer: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (run, newer):
        finished(one, "sft")
        finished(one, "dpo")
    monkeypatch.setattr(Models, "_load", lambda self, ref: Scripted(name=ref.name))
    models = Models(wish(model="newer/sft"), {})
    models.first()
    assert models.find("@dpo").run == newer
    models.open("mine/sft")
    assert models.find("@dpo").run == run


def test_a_model_at_the_service_may_be_called_as_a_run_is_here(run: Run) -> None:
    given = wish(url="http://127.0.0.1:1/v1", model="@dpo", compare=("b",), device="auto")
    Models(given, {}).check()


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


@pytest.mark.parametrize(
    ("fields", "file", "said", "top_k"),
    [
        ({"model": "@sft"}, False, "runs/mine", 7),
        ({"model": "@sft"}, True, "runs/mine, not zephyr.yaml", 7),
        ({"model": "@sft", "sets": ("chat.top_k=3",)}, False, "runs/mine, 1 override", 3),
        ({"model": "@sft", "config": Path("zephyr.yaml")}, True, "zephyr.yaml", 5),
        ({"model": "@sft", "recipe": "tiny"}, True, "recipe tiny", 50),
        ({"model": "./plain"}, False, "defaults", 50),
        ({"model": "./plain"}, True, "zephyr.yaml", 5),
        ({"model": "org/name"}, True, "zephyr.yaml", 5),
        ({"model": "m", "url": "http://127.0.0.1:1/v1"}, False, "defaults", 50),
        ({"model": "m", "url": "http://127.0.0.1:1/v1"}, True, "zephyr.yaml", 5),
    ],
)
def test_whose_settings_a_chat_has_is_said_in_one_line(
    run: Run,
    fields: dict[str, Any],
    file: bool,
    said: str,
    top_k: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage = run.stage("sft")
    manifest.begin(stage, inputs={}, seed=1, world_size=1)
    manifest.finish(stage, manifest.Result({}, []))
    for folder in (stage.model, Path("plain")):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    if file:
        Path("zephyr.yaml").write_text("chat: {top_k: 5}\n")
    models = Models(wish(**fields), {})
    ref = models.find(fields["model"])
    models._say_settings(ref.run)
    assert capsys.readouterr().err == f"settings: {said}\n"
    assert models._recipe_of(ref).chat.top_k == top_k


@pytest.mark.parametrize("name", ["foo", "cuda:", "cpu:0:1", "gpu", "", "CUDA", "cuda:0 "])
def test_a_device_that_is_none_is_refused_by_the_names_there_are(run: Run, name: str) -> None:
    with pytest.raises(UsageError, match=r"is no device: cpu, cuda, .* mps or auto$") as error:
        Models(wish(model="@sft", device=name), {}).check()
    assert error.value.exit_code == 2


SERVICE = {"url": "http://127.0.0.1:1/v1", "model": "m"}


@pytest.mark.parametrize(
    ("fields", "flags", "named"),
    [
        ({**SERVICE, "device": "cpu"}, {}, "--device is"),
        ({"model": "openai+http://127.0.0.1:1/v1:m"}, {"quantize": "4bit"}, "--quantize is"),
        ({**SERVICE, "device": "mps"}, {"quantize": "none"}, "--device and --quantize are"),
        ({**SERVICE, "sets": ("chat.quantize=8bit",)}, {}, "--set chat.quantize is"),
        ({**SERVICE, "compare": ("n",), "device": "cpu"}, {}, "--device is"),
    ],
)
def test_options_of_loaded_weights_are_refused_where_a_service_answers(
    run: Run, fields: dict[str, Any], flags: dict[str, Any], named: str
) -> None:
    given = wish(prompt="hi", **{"device": "auto", **fields})
    with pytest.raises(UsageError, match=f"^{named} for models that are loaded here"):
        Models(given, flags).check()


def test_options_of_loaded_weights_are_for_a_model_beside_the_service(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("here").mkdir()
    Path("here/config.json").write_text("{}")
    Models(wish(prompt="hi", **SERVICE, compare=("./here",)), {"quantize": "8bit"}).check()
    monkeypatch.setenv("ZEPHYRCTL_CHAT__QUANTIZE", "8bit")  # for every model, not for this one
    Models(wish(prompt="hi", **{**SERVICE, "device": "auto"}), {}).check()


def test_in_a_conversation_with_a_service_they_wait_for_another_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "is_tty", lambda stream: True)
    Models(wish(**SERVICE), {}).check()
    assert "! --device is for models that are loaded here" in capsys.readouterr().err


def test_the_help_names_every_field_of_the_json_object() -> None:
    record = oneshot.as_record(Whole(), "hi", system=None, sampling=Sampling())
    help_text = chat.__doc__ or ""
    assert [name for name in record if not re.search(rf"\b{name}\b", help_text)] == []


def test_a_closed_stdout_is_refused_before_anything_is_loaded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(UsageError, match="stdout is closed"):
        Models(wish(**SERVICE), {}).check()


def test_the_record_of_a_service_names_no_setting_that_is_not_sent() -> None:
    there = Whole()
    there.weight_bytes = None
    records = [
        oneshot.as_record(talker, "hi", system=None, sampling=Sampling(0.7, top_k=5))
        for talker in (there, Whole())
    ]
    assert [record["sampling"]["top_k"] for record in records] == [None, 5]


@pytest.mark.parametrize(("sent", "read"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n")])
def test_the_newline_that_ends_stdin_is_none_of_the_prompt(
    sent: str, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(sent, newline=""))
    assert talking._prompt(wish()) == read
