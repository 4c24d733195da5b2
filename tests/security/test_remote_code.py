"""No code of a model's repository runs, but of a commit that the command line trusts."""

import json
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.security.conftest import COMMIT, Hostile, edit
from tests.training.conftest import build_run, run_stage

from zephyrctl.config.layers import load
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import EnvironmentProblem, UsageError
from zephyrctl.evaluation.judges.contract import JudgeRequest
from zephyrctl.evaluation.judges.local import LocalJudge
from zephyrctl.generation.answerer import subject_of
from zephyrctl.generation.vllm import engine_arguments, require_safe
from zephyrctl.generation.weights import load_base, put_on
from zephyrctl.models import remote_code
from zephyrctl.runs import trusted
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import open_run, write_config

FLAG = "--trust-remote-code"


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(trusted.VARIABLE, raising=False)
    # Whoever asks on stdin whether code may be run finds nobody.
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on stdin"))


@pytest.mark.parametrize(
    "words",
    [("chat", "{}", "-p", "Hi"), ("serve", "{}", "--port", "0"), ("export", "merged", "{}")],
    ids=["chat", "serve", "export"],
)
def test_a_model_that_needs_its_own_code_is_refused_by_every_command_that_loads_it(
    hostile: Hostile, cli: Cli, words: tuple[str, ...]
) -> None:
    folder = hostile.with_code(hostile.copy("m"))

    done = cli(*(word.format(folder) for word in words))

    assert done.code == 2, done.err
    assert "code of its own, which is not run" in done.err
    assert FLAG in done.err
    assert done.out == ""
    assert not hostile.mark.exists()


def test_fetching_a_model_runs_nothing_of_it(hostile: Hostile, cli: Cli) -> None:
    folder = hostile.with_code(hostile.copy("m"))
    assert cli("models", "fetch", str(folder)).code == 0
    assert not hostile.mark.exists()


def test_an_answering_model_and_a_judge_are_refused_alike(hostile: Hostile) -> None:
    folder = hostile.with_code(hostile.copy("m"))
    ref = ModelRef("m", "folder", str(folder))
    recipe = Recipe.model_validate({"eval": {"judge": {"spec": f"local:{folder}"}}})

    with pytest.raises(UsageError, match="code of its own"):
        subject_of(ref, model=recipe.model, at_once=1).load(print)
    with pytest.raises(UsageError, match="code of its own"):
        LocalJudge(recipe).decide([JudgeRequest(1, 1, "p", "", "Rate.")], on_reply=print)
    assert not hostile.mark.exists()


@pytest.mark.train
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_training_refuses_it(hostile: Hostile, tmp_path: Path, stage: str) -> None:
    folder = hostile.with_code(hostile.copy("m"))
    recipe, run = build_run(tmp_path / "runs" / "t", folder, dpo={"init_from": "base"})

    with pytest.raises(UsageError, match="code of its own"):
        run_stage(stage, recipe, run)
    assert not hostile.mark.exists()


@pytest.mark.parametrize("kind", ["a known model", "a tokenizer", "generation"])
def test_code_that_is_not_needed_does_not_run(hostile: Hostile, cli: Cli, kind: str) -> None:
    folder = hostile.with_code(hostile.copy("m"))
    edit(folder / "config.json", model_type="mistral")
    if kind == "a tokenizer":
        names = ["own_code.OwnConfig", "own_code.OwnConfig"]
        edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": names})
    if kind == "generation":
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(hostile.code())

    done = cli("chat", str(folder), "-p", "Hi", "--max-new-tokens", "2")

    assert done.code == 0, done.err
    assert not hostile.mark.exists()


@pytest.mark.parametrize(
    "key", ["attn_implementation", "_attn_implementation", "experts_implementation"]
)
def test_kernels_of_a_repository_are_refused_by_name(hostile: Hostile, cli: Cli, key: str) -> None:
    folder = hostile.copy("m")
    edit(folder / "config.json", **{key: "somebody/kernels"})

    done = cli("chat", str(folder), "-p", "Hi")

    assert done.code == 2
    assert "somebody/kernels" in done.err
    assert key in done.err


def test_a_configuration_cannot_name_kernels_nor_trust_code(cli: Cli) -> None:
    for setting in (
        "model.attention=kernels-community/flash-attn",
        "model.trust_remote_code=true",
        "sft.trainer_args={trust_remote_code: true}",
        "trust_remote_code=[a/b@main]",
    ):
        done = cli("config", "check", "--set", setting)
        assert done.code == 2, setting


@pytest.mark.parametrize(
    "word", ["a/b", "a/b@main", "a/b@0123456", f"a/b@{COMMIT}0", f"../b@{COMMIT}", f"b@{COMMIT}"]
)
def test_only_a_whole_commit_of_one_repository_can_be_trusted(cli: Cli, word: str) -> None:
    done = cli(FLAG, word, "recipes", "list")
    assert done.code == 2
    assert "does not name one commit" in done.err


def snapshot(root: Path, hostile: Hostile, *, kind: str = "own_kind") -> Path:
    """The hostile model as the Hub's cache holds it."""
    repository = root / "hub" / "models--evil--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT, encoding="ascii")
    (repository / "snapshots").mkdir()
    folder = hostile.with_code(hostile.copy("m"), kind=kind)
    return folder.rename(repository / "snapshots" / COMMIT)


def test_a_trusted_commit_runs_and_what_it_becomes_runs_by_the_same_trust(
    hostile: Hostile, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import dynamic_module_utils

    # Once its code ran, transformers knows the kind in this whole process: one of its own.
    snapshot(tmp_path, hostile, kind="trusted_kind")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))

    refused = cli("export", "merged", "evil/model", "--out", "out")
    assert f"{FLAG} evil/model@{COMMIT}" in refused.err
    assert not hostile.mark.exists()

    words = (FLAG, f"evil/model@{COMMIT}")
    done = cli(*words, "export", "merged", "evil/model", "--out", "out")
    assert done.code == 0, done.err
    assert hostile.mark.exists()
    assert Path("out/own_code.py").is_file()
    done = cli(*words, "chat", "./out", "-p", "Hi", "--max-new-tokens", "2")
    assert done.code == 0, done.err


@pytest.mark.train
def test_training_runs_trusted_code_says_so_and_publishes_it(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import dynamic_module_utils

    folder = snapshot(tmp_path, hostile, kind="trained_kind")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(trusted.VARIABLE, f"evil/model@{COMMIT}")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    recipe, run = build_run(tmp_path / "runs" / "t", folder)

    run_stage("sft", recipe, run)

    stage = run.stage("sft")
    notices = (stage.read_manifest() or pytest.fail("no manifest")).notices
    assert f"the model's own code runs, that of evil/model@{COMMIT}" in "\n".join(notices)
    published = (stage.model / "own_code.py").read_bytes()
    assert published == (folder / "own_code.py").read_bytes()


def test_trust_is_for_those_bytes_alone(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = snapshot(tmp_path, hostile)
    other = hostile.with_code(hostile.copy("other"))

    assert not remote_code.may_run(str(folder))
    trusted.allow([f"evil/model@{'f' * 40}"])
    assert not remote_code.may_run(str(folder))
    trusted.allow([f"evil/model@{COMMIT}"])
    assert remote_code.may_run(str(folder))
    assert remote_code.may_run(str(other))
    (other / "more.py").write_text("print('one file more')")
    assert not remote_code.may_run(str(other))
    (other / "more.py").unlink()
    (other / "own_code.py").write_text(hostile.code() + "# changed\n")
    assert not remote_code.may_run(str(other))


def test_trusted_code_in_another_repository_is_refused(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = snapshot(tmp_path, hostile)
    edit(folder / "config.json", auto_map={"AutoConfig": "else/where--own_code.OwnConfig"})
    trusted.allow([f"evil/model@{COMMIT}"])

    with pytest.raises(UsageError, match="else/where"):
        remote_code.may_run(str(folder))


def test_what_is_trusted_stands_in_the_manifest_and_reaches_the_processes_of_a_stage(
    cli: Cli,
) -> None:
    loaded = load(sets=["name=t"], env={})
    run = open_run(loaded.recipe)
    word = f"evil/model@{COMMIT}"
    manifest = run.root / "manifest.json"

    trusted.allow([word])
    write_config(run, loaded)
    assert json.loads(manifest.read_text())[trusted.KEY] == [word]
    trusted.allow([])
    trusted.adopt(manifest)  # as the worker does
    assert list(map(str, trusted.commits())) == [word]

    trusted.allow([])
    write_config(run, loaded)  # the next command, without the flag
    trusted.adopt(manifest)
    assert trusted.commits() == ()


def test_vllm_is_shown_no_code_and_is_no_old_one(hostile: Hostile) -> None:
    plain, folder = hostile.copy("plain"), hostile.with_code(hostile.copy("m"))
    nested = hostile.copy("nested")
    edit(nested / "config.json", vision_config={"auto_map": {"AutoConfig": "x.Y"}})

    assert require_safe(str(plain), version="0.33.1") is False
    for bad in (folder, nested):
        with pytest.raises(UsageError, match="which vLLM is not shown"):
            require_safe(str(plain), str(bad), version="0.33.1")
    with pytest.raises(EnvironmentProblem, match="told not to"):
        require_safe(str(plain), version="0.17.2")
    assert engine_arguments("m", "m", dtype="auto")["trust_remote_code"] is False


def test_an_adapter_cannot_name_a_library_to_be_imported(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    model = load_base(str(hostile.base), dtype=torch.float32)
    adapter = tmp_path / "adapter"
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapter)
    (tmp_path / "evil_library.py").write_text(hostile.code())
    monkeypatch.syspath_prepend(tmp_path)
    edit(
        adapter / "adapter_config.json",
        auto_mapping={"parent_library": "evil_library", "base_model_class": "OwnModel"},
    )

    put_on(load_base(str(hostile.base), dtype=torch.float32), adapter)

    assert not hostile.mark.exists()


@pytest.mark.train
def test_a_foreign_adapter_does_not_choose_the_base_model(hostile: Hostile, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    other = hostile.copy("other")
    edit(other / "generation_config.json", top_k=7)  # another folder, another digest
    adapter = tmp_path / "adapter"
    model = load_base(str(other), dtype=torch.float32)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapter)
    recipe, run = build_run(tmp_path / "runs" / "t", hostile.base, dpo={"init_from": str(adapter)})

    with pytest.raises(UsageError, match="the adapter stands on") as caught:
        run_stage("dpo", recipe, run)
    assert f"--set model.base={other}" in (caught.value.hint or "")
