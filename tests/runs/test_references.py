"""A model is found by every kind of name."""

import fcntl
import json
from pathlib import Path

import pytest
from tests.runs.conftest import finish_stage, make_run

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.runs import manifest
from zephyrctl.runs.references import resolve_model, safe_name


def _model_folder(path: Path, *, name: str = "config.json") -> Path:
    path.mkdir(parents=True)
    (path / name).write_text("{}")
    return path


@pytest.mark.parametrize(
    ("ref", "name", "stage"),
    [
        ("@sft", "sft", "sft"),
        ("@dpo", "dpo", "dpo"),
        ("@last", "dpo", "dpo"),
        ("@last/sft", "mine-sft", "sft"),
        ("mine", "dpo", "dpo"),
        ("mine/sft", "mine-sft", "sft"),
        ("{root}/mine/dpo", "mine-dpo", "dpo"),
        ("{root}/mine/dpo/model", "mine-dpo", "dpo"),
    ],
)
def test_a_trained_model_is_found(tmp_path: Path, ref: str, name: str, stage: str) -> None:
    run = make_run(tmp_path, "mine")
    finish_stage(run, "sft")
    finish_stage(run, "dpo")
    found = resolve_model(ref.format(root=tmp_path), output_root=tmp_path)
    assert (found.name, found.kind, found.stage) == (name, "stage", stage)
    assert Path(found.target) == tmp_path / "mine" / stage / "model"


def test_within_a_run_its_own_stage_is_meant(tmp_path: Path) -> None:
    mine, other = make_run(tmp_path, "mine"), make_run(tmp_path, "other")
    finish_stage(mine, "sft")
    finish_stage(other, "sft")
    for ref in ("sft", "@sft"):
        assert resolve_model(ref, output_root=tmp_path, run=mine).run == mine


def test_base_is_the_model_of_the_recipe(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(
        {"model": {"base": "org/name", "revision": "abc"}, "output_root": str(tmp_path)}
    )
    found = resolve_model("base", output_root=tmp_path, recipe=recipe)
    assert (found.name, found.kind, found.target, found.revision) == (
        "base", "hub", "org/name", "abc",
    )  # fmt: skip


def test_a_folder_with_a_model_or_an_adapter_is_taken(tmp_path: Path) -> None:
    for name in ("config.json", "adapter_config.json"):
        folder = _model_folder(tmp_path / name.partition(".")[0], name=name)
        found = resolve_model(str(folder), output_root=tmp_path)
        assert (found.kind, found.target) == ("folder", str(folder))


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("openai:gpt-4o", "gpt-4o"),
        ("openai+http://127.0.0.1:8000/v1:org/model", "org-model"),
        ("openai+https://host/v1:org/model:free", "org-model-free"),
        ("openai+http://[::1]:8000/v1:llama3:8b", "llama3-8b"),
    ],
)
def test_a_served_model_is_called_by_its_whole_name(tmp_path: Path, ref: str, name: str) -> None:
    assert resolve_model(ref, output_root=tmp_path).name == name


def test_other_names_are_named_bases_hub_ids_and_endpoints(tmp_path: Path) -> None:
    kinds = {
        ref: resolve_model(ref, output_root=tmp_path).kind
        for ref in ("tiny", "org/model", "openai:gpt-4o", "openai+http://127.0.0.1:8000/v1:m")
    }
    assert list(kinds.values()) == ["base", "hub", "endpoint", "endpoint"]


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("dpo", "of which run"),
        ("base", "of which configuration"),
        ("./nothing", "no model"),
        ("runs/absent/sft", "no model"),
        ("mine", "no trained model yet"),
        ("mine/dpo", "dpo model of run 'mine' is not there"),
        ("mine/data", "is no trained model"),
        ("{root}/empty", "holds no model"),
        ("@dpo", "no run with a finished dpo"),
        ("@dpoo", "did you mean '@dpo'"),
        ("org/model/../x", "'..' inside"),
        ("bad name", "no model"),
    ],
)
def test_what_is_not_there_is_a_usage_error(tmp_path: Path, ref: str, message: str) -> None:
    make_run(tmp_path, "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message) as caught:
        resolve_model(ref.format(root=tmp_path), output_root=tmp_path)
    assert caught.value.hint


def test_an_unfinished_stage_is_no_model(tmp_path: Path) -> None:
    run = make_run(tmp_path, "mine")
    finish_stage(run, "sft")
    text = run.stage("sft").manifest_path.read_text()
    run.stage("sft").manifest_path.write_text(text.replace('"finished"', '"running"', 1))
    with pytest.raises(UsageError, match="is not finished"):
        resolve_model("mine/sft", output_root=tmp_path)


@pytest.mark.parametrize("ref", ["org/model", "../../x", "a\nb", "openai+http://h/v1:m", "."])
def test_labels_are_fit_for_folders(ref: str) -> None:
    label = safe_name(ref)
    assert label
    assert Path(label).name == label
    assert label.isprintable()


def test_a_model_that_is_being_made_names_who_makes_it_and_what_is_whole(tmp_path: Path) -> None:
    run = make_run(tmp_path, "mine")
    finish_stage(run, "sft")
    manifest.begin(run.stage("dpo"), inputs={}, seed=0, world_size=1)
    run.stage("dpo").model.mkdir()  # of an earlier time, or half of one
    with pytest.raises(UsageError, match=r"is not finished$"):
        resolve_model("mine/dpo", output_root=tmp_path)
    with (run.root / ".lock").open("w") as stream:
        json.dump({"pid": 1, "purpose": "zephyrctl run"}, stream)
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="not finished: zephyrctl run is at work") as told:
            resolve_model("mine/dpo", output_root=tmp_path)
        assert resolve_model("mine", output_root=tmp_path).stage == "sft"
    assert told.value.hint == (
        f"zephyrctl runs watch {run.root}; meanwhile there is {run.root / 'sft'}"
    )


@pytest.mark.parametrize(("ref", "stage"), [("@last", "dpo"), ("@last/sft", "sft")])
def test_what_uses_a_model_passes_over_newer_runs_without_one(
    tmp_path: Path, ref: str, stage: str
) -> None:
    whole = make_run(tmp_path, "whole")
    finish_stage(whole, "sft")
    finish_stage(whole, "dpo")
    assert resolve_model(ref, output_root=tmp_path, only_finished=True).notice == ""
    make_run(tmp_path, "prefs", updated="2999-01-01T00:00:00+00:00")
    found = resolve_model(ref, output_root=tmp_path, only_finished=True)
    assert (found.run, found.stage) == (whole, stage)
    assert found.notice == "@last is run 'whole': the newer run 'prefs' has no trained model"
    with pytest.raises(UsageError, match="'prefs'"):  # what works on a run means the newest
        resolve_model(ref, output_root=tmp_path)


def test_without_any_model_the_newest_run_is_named(tmp_path: Path) -> None:
    make_run(tmp_path, "first")
    make_run(tmp_path, "second", updated="2999-01-01T00:00:00+00:00")
    with pytest.raises(UsageError, match="run 'second' has no trained model yet"):
        resolve_model("@last", output_root=tmp_path, only_finished=True)


def test_a_bare_word_is_a_hub_id_only_once_it_was_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zephyrctl.environment.hub_cache", lambda: tmp_path / "hub")
    make_run(tmp_path / "runs", "votes")
    for word, meant in (("vote", "votes"), ("tinyy", "tiny")):
        with pytest.raises(UsageError, match=f"no model '{word}'.*did you mean '{meant}'") as told:
            resolve_model(word, output_root=tmp_path / "runs")
        assert f"hf download {word}" in (told.value.hint or "")
    (tmp_path / "hub/models--gpt2").mkdir(parents=True)
    assert resolve_model("gpt2", output_root=tmp_path / "runs").kind == "hub"
    # A configuration's base may still have to come from the Hub.
    recipe = Recipe.model_validate({"model": {"base": "gpt3"}})
    assert resolve_model("base", output_root=tmp_path, recipe=recipe).kind == "hub"
