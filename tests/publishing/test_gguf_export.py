"""A trained model as a GGUF file: the same model, or a refusal by name."""

import hashlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import yaml
from tests.publishing import answers, gguf_models
from tests.publishing.conftest import AddAdapter
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from typer.testing import CliRunner

from zephyrctl.cli.export import app
from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import to_json
from zephyrctl.errors import DataError, DiskFull, JobFailed, UsageError
from zephyrctl.publishing.agreement import log_probs
from zephyrctl.publishing.chains import Summed
from zephyrctl.publishing.files import MANIFEST
from zephyrctl.publishing.gguf.architecture import architecture_of
from zephyrctl.publishing.gguf.checking import TOLERANCE
from zephyrctl.publishing.gguf.export import ExportedGguf, export_gguf
from zephyrctl.publishing.gguf.reading import keys_of, load
from zephyrctl.publishing.gguf.vocabulary import vocabulary_of
from zephyrctl.publishing.gguf.writing import About, FileType, write_file
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import Run


def export(
    source: Path, out: Path, *, file_type: FileType = "f32", force: bool = False, **settings: Any
) -> ExportedGguf:
    ref = ModelRef("mine", "folder", str(source))
    recipe = Recipe.model_validate({"name": "mine", **settings})
    return export_gguf(
        ref, out=out, file_type=file_type, recipe=recipe, force=force, say=lambda text: None
    )


def plain(out: Path, file: str) -> tuple[Any, Any]:
    """The file as transformers itself reads it, and its tokenizer."""
    dense: Any = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        out, gguf_file=file, quantization_config=dense, dtype=torch.float32
    )
    return model, AutoTokenizer.from_pretrained(out, gguf_file=file)


@pytest.mark.parametrize("file_type", ["f32", "f16"])
def test_a_chain_of_adapters_reloaded_by_plain_transformers_answers_the_same(
    file_type: FileType, adapter: Path, add_adapter: AddAdapter, tmp_path: Path
) -> None:
    upper = add_adapter(tmp_path / "upper", below=adapter)
    exported = export(upper, tmp_path / "out", file_type=file_type)
    assert (exported.adapters, exported.same_text) == (2, exported.texts)
    assert exported.difference <= TOLERANCE[file_type]
    model, tokenizer = plain(tmp_path / "out", exported.file)
    assert answers.elsewhere(model, tokenizer) == answers.here(upper)


def test_the_folder_holds_what_a_laptop_needs(run: Run, tmp_path: Path) -> None:
    ref = ModelRef("sft", "stage", str(run.stage("sft").model), run=run, stage="sft")
    recipe = Recipe.model_validate({"name": "mine", "chat": {"system": "Be kind."}})
    out = tmp_path / "out"
    exported = export_gguf(
        ref, out=out, file_type="q8_0", recipe=recipe, force=False, say=lambda text: None
    )
    assert exported.file == "mine-sft-q8_0.gguf"
    keys = keys_of(out / exported.file)
    assert keys["general.architecture"] == "llama"
    assert (keys["general.name"], keys["general.license"]) == ("mine-sft", "unknown")
    assert keys["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    assert keys["tokenizer.ggml.pre"] == "gpt-2"
    assert keys["tokenizer.ggml.add_bos_token"] is False
    tokenizer = AutoTokenizer.from_pretrained(run.stage("sft").model)
    assert keys["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert keys["llama.context_length"] == 1024
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(out / exported.file).tensors}
    assert kinds["blk.0.attn_norm.weight"] == kinds["output_norm.weight"] == "F32"
    assert {kinds["token_embd.weight"], kinds["blk.1.ffn_down.weight"]} == {"Q8_0"}
    lines = (out / "Modelfile").read_text()
    assert lines.startswith("FROM ./mine-sft-q8_0.gguf\nTEMPLATE ")
    assert 'PARAMETER stop "</s>"\nPARAMETER num_ctx 1024\n' in lines
    assert 'SYSTEM """Be kind."""' in lines
    card = (out / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "gguf"
    assert "llama-cli -m mine-sft-q8_0.gguf --jinja" in card
    assert "1 adapter merged in float32" in card
    assert exported.unexplained < 1e-4 < exported.difference
    manifest = json.loads((out / MANIFEST).read_text())
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert {path.name for path in out.iterdir()} == {MANIFEST, *manifest["sha256"]}
    assert str(tmp_path) not in "".join(
        path.read_text() for path in out.iterdir() if path.suffix != ".gguf"
    )


def test_the_template_inside_renders_as_the_trained_one(adapter: Path, tmp_path: Path) -> None:
    exported = export(adapter, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    trained = tokenizer.apply_chat_template(to_json(answers.ASKED), tokenize=False)
    tokenizer.chat_template = keys_of(tmp_path / "out" / exported.file)["tokenizer.chat_template"]
    assert (
        "generation"
        not in tokenizer.chat_template.split("add_generation_prompt")[0].split("-%}", 1)[1]
    )
    assert tokenizer.apply_chat_template(to_json(answers.ASKED), tokenize=False) == trained
    assert keys_of(tmp_path / "out" / exported.file)["tokenizer.ggml.add_bos_token"] is False


@pytest.mark.parametrize(
    ("kind", "make"),
    [("llama-bpe", gguf_models.llama), ("qwen2", gguf_models.qwen2), ("smollm", gguf_models.llama)],
)
def test_every_family_is_the_same_model_in_the_file(
    kind: str, make: Callable[[Any], Any], tmp_path: Path
) -> None:
    tokenizer = gguf_models.byte_level(kind)
    source = gguf_models.save(tmp_path / "model", make(tokenizer), tokenizer)
    exported = export(source, tmp_path / "out")
    assert exported.pre_tokenizer == kind
    assert exported.difference < 1e-5
    assert exported.unexplained < 1e-4
    assert exported.same_text == exported.texts


def test_a_qwen2_is_the_same_model_to_plain_transformers(tmp_path: Path) -> None:
    tokenizer = gguf_models.byte_level("qwen2")
    model = gguf_models.qwen2(tokenizer)
    exported = export(gguf_models.save(tmp_path / "m", model, tokenizer), tmp_path / "out")
    again, _ = plain(tmp_path / "out", exported.file)
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_window_bounds_the_context(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "m")
    change(tmp_path / "m", sliding_window=256)
    exported = export(tmp_path / "m", tmp_path / "out", model={"chat_template": "zephyr"})
    assert keys_of(tmp_path / "out" / exported.file)["llama.context_length"] == 256
    assert any("256 tokens" in text for text in exported.notices)


def change(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}, "MixtralForCausalLM"),
        ({"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}, "GemmaForCausalLM"),
        ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, "GPT2LMHeadModel"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized already"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "'yarn'"),
        ({"hidden_act": "gelu"}, "'gelu'"),
        (
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": True},
            "biases",
        ),
    ],
)
def test_what_would_be_another_model_is_refused(
    settings: dict[str, Any], reason: str, tiny_base: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_base, tmp_path / "m")
    change(tmp_path / "m", **settings)
    with pytest.raises(UsageError, match=reason) as caught:
        export(tmp_path / "m", tmp_path / "out", model={"chat_template": "zephyr"})
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_template_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no chat template"):
        export(tiny_base, tmp_path / "out", model={"chat_template": "tokenizer"})


def test_an_endpoint_has_no_weights_here(tmp_path: Path) -> None:
    ref = ModelRef("m", "endpoint", "openai:m")
    recipe = Recipe.model_validate({"name": "m"})
    with pytest.raises(UsageError, match="not here"):
        export_gguf(
            ref, out=tmp_path, file_type="f16", recipe=recipe, force=False, say=lambda text: None
        )


def test_weights_too_large_for_a_format_are_refused_and_leave_nothing(
    add_adapter: AddAdapter, tmp_path: Path
) -> None:
    huge = add_adapter(tmp_path / "huge", scale=40_000.0)
    with pytest.raises(JobFailed, match="more than float16 holds") as caught:
        export(huge, tmp_path / "there" / "out", file_type="f16")
    assert caught.value.hint == "--type bf16"
    assert list((tmp_path / "there").iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(adapter: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(DiskFull, match="no space left"):
            export(adapter, tmp_path / "there" / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "there").iterdir()) == []


def test_an_older_export_is_replaced_on_request_and_nothing_else_is(
    adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(adapter, out)
    with pytest.raises(UsageError, match=r"stands there already \(mine-f32\.gguf\)"):
        export(adapter, out)
    assert export(adapter, out, file_type="f16", force=True).file == "mine-f16.gguf"
    assert not (out / "mine-f32.gguf").exists()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        export(adapter, out, force=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_an_unknown_type_is_a_usage_error() -> None:
    result = CliRunner().invoke(app, ["gguf", "@last", "--type", "q2_k"])
    assert result.exit_code == 2


def test_a_missing_package_is_named_with_a_command_that_brings_it() -> None:
    code = (
        "import sys; sys.modules['gguf'] = None\n"
        "from zephyrctl.cli.app import main\n"
        "sys.argv = ['zephyrctl', 'export', 'gguf', '@last', '--json']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (3, 3)
    assert "pip install 'gguf" in error["hint"]


def test_a_chat_that_llama_cpp_would_cut_otherwise_is_refused(tmp_path: Path) -> None:
    tokenizer = gguf_models.sentencepiece("always")
    model = gguf_models.llama(tokenizer)
    spaced = tokenizer.chat_template.replace("'<|' +", "' <|' +")  # text that begins with a space
    tokenizer.chat_template = spaced
    with pytest.raises(JobFailed, match="other tokens of the chat"):
        export(gguf_models.save(tmp_path / "m", model, tokenizer), tmp_path / "there" / "out")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("fault", ["rows of q and k", "theta", "rope scaling"])
def test_reading_the_file_again_shows_a_fault_in_writing_it(fault: str, tmp_path: Path) -> None:
    tokenizer = gguf_models.byte_level("gpt-2")
    model = gguf_models.llama(tokenizer)
    right = architecture_of(model.config, where="here")
    wrong = {
        "rows of q and k": replace(right, family=replace(right.family, is_paired=False)),
        "theta": replace(right, theta=20_000.0, is_llama3_rope=False),
        "rope scaling": replace(right, is_llama3_rope=False),
    }[fault]
    rows = [tokenizer.encode("the theatre, there: they're 12 then 345 " * 4)]
    vocabulary = vocabulary_of(
        tokenizer, size=len(tokenizer), ends=[tokenizer.eos_token_id], begins_with_special=True,
        where="here",
    )  # fmt: skip
    differences = []
    for number, architecture in enumerate((right, wrong)):
        path = tmp_path / f"{number}.gguf"
        write_file(
            path, Summed(model), architecture=architecture, vocabulary=vocabulary,
            about=About("m", "unknown", None, "{{ messages }}"), file_type="f32",
        )  # fmt: skip
        apart = log_probs(model, rows) - log_probs(load(path), rows)
        differences.append(float(apart.abs().mean()))
    assert differences[0] < TOLERANCE["f32"]
    assert differences[1] > 10 * TOLERANCE["f32"]
