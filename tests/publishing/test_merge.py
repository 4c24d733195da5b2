"""Merging a chain of adapters into a plain folder, and refusing to destroy anything."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests.publishing import answers
from tests.publishing.conftest import AddAdapter
from transformers import AutoModelForCausalLM, AutoTokenizer

from zephyrctl.config.schema.model import Model
from zephyrctl.errors import DataError, JobFailed, UsageError
from zephyrctl.publishing.files import MANIFEST
from zephyrctl.publishing.merge import TOLERANCE, DType, Exported, export_merged
from zephyrctl.runs.digests import digest_file
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import is_run


def export(source: Path, out: Path, *, dtype: DType = "float32", force: bool = False) -> Exported:
    ref = ModelRef("mine", "folder", str(source))
    return export_merged(
        ref, out=out, dtype=dtype, model=Model(), force=force, say=lambda text: None
    )


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_a_chain_of_adapters_becomes_a_plain_model_that_answers_the_same(
    dora: bool, adapter: Path, add_adapter: AddAdapter, tmp_path: Path
) -> None:
    upper = add_adapter(tmp_path / "upper", below=adapter, dora=dora)
    exported = export(upper, tmp_path / "out")
    assert exported.adapters == 2
    assert exported.difference < TOLERANCE["float32"]
    assert not list((tmp_path / "out").glob("adapter_*"))

    want = answers.here(upper)
    assert want != answers.here(adapter)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert answers.elsewhere(model, tokenizer) == want


def test_the_folder_holds_what_a_reader_needs(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    exported = export(adapter, out, dtype="bfloat16")
    assert exported.dtype == "bfloat16"
    assert 0 < exported.difference < TOLERANCE["bfloat16"]
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "README.md", "chat_template.jinja", "config.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "zephyrctl.json",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o644}
    lock = json.loads((out / "zephyrctl.json").read_text())
    assert lock == json.loads((adapter / "zephyrctl.json").read_text())
    with safe_open(out / "model.safetensors", framework="pt") as weights:
        names_of_weights = weights.keys()
        assert {weights.get_tensor(name).dtype for name in names_of_weights} == {torch.bfloat16}
    settings = json.loads((out / "generation_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert settings["eos_token_id"] == tokenizer.eos_token_id
    assert str(adapter) not in "".join(
        path.read_text() for path in out.iterdir() if path.suffix != ".safetensors"
    )
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]


def test_a_full_model_keeps_its_number_format_and_its_weights(
    tiny_base: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    shutil.copytree(tiny_base, half)
    AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float16).save_pretrained(half)
    exported = export(half, tmp_path / "out", dtype="auto")
    assert (exported.dtype, exported.adapters, exported.difference) == ("float16", 0, 0.0)
    before = AutoModelForCausalLM.from_pretrained(half).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_format_that_cannot_hold_the_weights_is_refused_and_leaves_nothing(
    add_adapter: AddAdapter, tmp_path: Path
) -> None:
    huge = add_adapter(tmp_path / "huge", scale=40_000.0)
    with pytest.raises(JobFailed, match="do not say what the model says") as caught:
        export(huge, tmp_path / "there" / "out", dtype="float16")
    assert "--dtype bfloat16" in str(caught.value.hint)
    assert list((tmp_path / "there").iterdir()) == []


def test_a_folder_with_something_in_it_is_kept(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="not empty"):
        export(adapter, out)
    assert (out / "config.json").read_text() == "{}"
    assert export(adapter, out, force=True).folder == out
    assert (out / "model.safetensors").is_file()


def test_an_export_that_stands_is_told_from_another(
    adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = export(adapter, out, dtype="float16")
    before = (out / "model.safetensors").stat()
    again = export(adapter, out, dtype="float16")
    assert again.facts == first.facts
    assert "stands already and is unchanged" in again.notices[0]
    assert (out / "model.safetensors").stat() == before
    with pytest.raises(UsageError, match="this model stands there already, in float16") as caught:
        export(adapter, out)
    assert "--dtype float16 where that one is meant" in (caught.value.hint or "")
    with pytest.raises(UsageError, match=r"something else stands there already \(float16\)"):
        export(tiny_base, out)
    (out / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"since it was exported: config\.json"):
        export(adapter, out, dtype="float16")


@pytest.mark.parametrize("inside", ["thesis.txt", "config.json"])
def test_force_does_not_delete_what_is_no_model(inside: str, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "photos").mkdir(parents=True)
    (out / inside).write_text("{}")
    with pytest.raises(UsageError, match="something else than a model"):
        export(adapter, out, force=True)
    assert (out / "photos").is_dir()


def test_a_file_of_the_name_is_kept(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="a file of this name"):
        export(adapter, tmp_path / "out", force=True)


@pytest.mark.parametrize("where", [".", "inner", "..", "base"])
def test_the_model_that_is_exported_is_never_overwritten(
    where: str, adapter: Path, tiny_base: Path
) -> None:
    out = tiny_base if where == "base" else adapter / where
    before = sorted(path.name for path in adapter.parent.rglob("*"))
    with pytest.raises(UsageError):
        export(adapter, out, force=True)
    assert sorted(path.name for path in adapter.parent.rglob("*")) == before


def test_a_changed_template_is_refused(adapter: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(adapter, changed)
    template = changed / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    with pytest.raises(DataError, match="another chat template"):
        export(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_endpoint_has_no_weights_here(tmp_path: Path) -> None:
    ref = ModelRef("m", "endpoint", "openai:m")
    with pytest.raises(UsageError, match="not here"):
        export_merged(
            ref, out=tmp_path / "o", dtype="auto", model=Model(), force=False, say=lambda text: None
        )


def test_large_weights_come_in_shards_that_are_read_as_one(adapter: Path, tmp_path: Path) -> None:
    ref = ModelRef("mine", "folder", str(adapter))
    export_merged(
        ref, out=tmp_path / "out", dtype="float32", model=Model(), force=False,
        say=lambda text: None, shard="1MB",
    )  # fmt: skip
    shards = sorted(path.name for path in (tmp_path / "out").glob("model-*.safetensors"))
    assert len(shards) > 2
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()
    whole = export(adapter, tmp_path / "whole").folder
    one = AutoModelForCausalLM.from_pretrained(whole).state_dict()
    many = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(one[name], many[name]) for name in one)


def test_every_file_stands_in_the_manifest_with_its_digest(adapter: Path, tmp_path: Path) -> None:
    out = export(adapter, tmp_path / "out").folder
    record = json.loads((out / MANIFEST).read_text())
    names = {path.name for path in out.iterdir()} - {MANIFEST}
    assert record["sha256"] == {name: digest_file(out / name) for name in names}
    assert not is_run(out)


def test_sampling_that_is_set_and_switched_off_is_left_out_and_said(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    path = base / "generation_config.json"
    settings = json.loads(path.read_text()) | {"do_sample": False, "temperature": 0.6}
    path.write_text(json.dumps(settings))
    exported = export(base, tmp_path / "out")
    assert any("temperature left out" in text for text in exported.notices)
    assert "temperature" not in json.loads((exported.folder / path.name).read_text())


def test_quantized_weights_are_refused_by_name(tiny_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    path = base / "config.json"
    quantized = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    path.write_text(json.dumps(json.loads(path.read_text()) | quantized))
    with pytest.raises(UsageError, match="stored quantized"):
        export(base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_force_keeps_a_file_that_no_export_holds(adapter: Path, tmp_path: Path) -> None:
    out = export(adapter, tmp_path / "out").folder
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else than a model"):
        export(adapter, out, force=True)
    assert (out / "thesis.txt").read_text() == "mine"
