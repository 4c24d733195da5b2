"""What a user gets for input that cannot be trained: one clear error, before any step.

Each case changes a sound run in one place and starts a stage; the error must carry the exit code of
design.md, a place and a next step, and no model may have been published.
"""

import shutil
from pathlib import Path

import pytest
from tests.training.conftest import build_run, run_stage
from tests.training.spoiled import (
    FROM_BASE,
    LORA,
    Case,
    Spoil,
    broken_index,
    column,
    config,
    emptied,
    first,
    gemma_with_vision,
    gguf,
    halved,
    lora_weights,
    multimodal,
    of_another_architecture,
    on_itself,
    rewrite,
    sequence_to_sequence,
    spoiled,
    truncated,
    weights,
    with_infinity,
    with_nan,
    without_checkpointing,
    without_layer,
    without_preference,
    without_rows,
)

from zephyrctl.errors import DataError, ZephyrctlError

pytestmark = pytest.mark.train

BASES = [
    Case("a folder without config.json", "the folder holds no model (no config.json",
         base=lambda folder: (folder / "config.json").unlink()),
    Case("an empty folder", "the folder holds no model (it is empty)", base=emptied),
    Case("a GGUF folder", "holds GGUF weights (model-q4.gguf)", base=gguf),
    Case("config.json is cut", "config.json cannot be read",
         base=lambda folder: (folder / "config.json").write_text('{"model_type": "mist')),
    Case("an unknown architecture", "config.json is of no use", base=config(model_type="zzz")),
    Case("a model of own code", "code of its own, which is not run",
         base=config(model_type="zzz", auto_map={"AutoConfig": "own.Config"})),
    Case("an index that is cut", "index of the weights cannot be read", base=broken_index),
    Case("weights that are cut", "a file of weights is damaged", base=truncated),
    Case("no weights at all", "a file of weights is damaged",
         base=lambda folder: (folder / "model.safetensors").write_bytes(b"")),
    Case("weights of another architecture", "12 tensors that config.json asks for are in no file",
         base=weights(of_another_architecture)),
    Case("weights of other sizes", "tensors have other shapes", base=config(intermediate_size=400)),
    Case("NaN in the weights", "NaN or infinity: model.layers.1.mlp.up_proj.weight",
         base=weights(with_nan)),
    Case("quantized weights", "stored quantized (gptq)",
         base=config(quantization_config={"quant_method": "gptq", "bits": 4})),
    Case("an encoder and decoder", "is no causal language model (t5)", base=sequence_to_sequence),
    Case("a multimodal base", "is a multimodal model (llava)", base=multimodal),
    Case("a multimodal base under an adapter", "is a multimodal model (gemma3)",
         base=gemma_with_vision, sections={"sft": LORA}),
    Case("a multimodal base for pairs", "is a multimodal model (gemma3)", "dpo",
         base=gemma_with_vision, sections={"dpo": FROM_BASE}),
    Case("fewer embeddings than tokens", "the model embeddings for 550",
         base=lambda folder: (config(vocab_size=550)(folder), weights(
             lambda t: {n: w[:550].contiguous() if len(w) > 550 else w for n, w in t.items()}
         )(folder))),
    Case("no EOS token", "the tokenizer has no EOS token",
         base=rewrite("tokenizer_config.json", eos_token=None)),
    Case("a tokenizer without template", "no chat template of its own",
         sections={"model": {"chat_template": "tokenizer"}}),
    Case("longer than the positions", "over the model's 1024 positions", "dpo",
         sections={"dpo": FROM_BASE | {"max_length": 2048}}),
    Case("recomputation that is not there", "has no gradient checkpointing",
         base=without_checkpointing, sections={"sft": {"gradient_checkpointing": True}}),
    Case("an adapter that matches nothing", "no linear layer named query",
         sections={"sft": {"adapter": {"type": "lora", "target_modules": ["query"]}}}),
    Case("a base that is a missing folder", "no model '/no/such/model'",
         sections={"model": {"base": "/no/such/model"}}),
    Case("an unknown id offline", "HF_HUB_OFFLINE=1 forbids the Hub",
         sections={"model": {"base": "nobody/no-such-model"}}, code=5),
    Case("a stage that starts from itself", "that this stage is about to make", "dpo",
         sections={"dpo": {"init_from": "dpo"}}),
    Case("DPO before SFT", "the sft model of run 't' is not there", "dpo"),
    Case("a start that is no model", "no model 'runs/none/sft'", "dpo",
         sections={"dpo": {"init_from": "runs/none/sft"}}),
    Case("more examples at once than in a step", "does not divide",
         sections={"sft": {"micro_batch_size": 8, "global_batch_size": 4}}),
]  # fmt: skip


ROWS = [
    Case("no rows", "the sft training split is empty", rows=without_rows),
    Case("no pairs", "the dpo training split is empty", "dpo", rows=without_rows),
    Case("an id without embedding", "input_ids holds the token id 5000",
         rows=column("input_ids", lambda rows: [*rows[:-1], [5000] * len(rows[-1])])),
    Case("a negative id", "chosen_ids holds the token id -3", "dpo",
         rows=column("chosen_ids", first([4, -3]))),
    Case("a dialogue without tokens", "input_ids is empty in 1 of 8 rows (row 0)",
         rows=lambda folder: (column("input_ids", first([]))(folder),
                              column("assistant_mask", first([]))(folder))),
    Case("a prompt without tokens", "prompt_ids is empty in 1 of 8 rows (row 0)", "dpo",
         rows=column("prompt_ids", first([]))),
    Case("an answer without tokens", "rejected_ids is empty in 8 of 8 rows", "dpo",
         rows=column("rejected_ids", lambda rows: [[] for _ in rows])),
    Case("no answer of an assistant", "no token of the assistant is in any of the 8 rows",
         rows=column("assistant_mask", lambda rows: [[0] * len(row) for row in rows])),
    Case("no preference", "the same in all 8 pairs", "dpo", rows=without_preference),
]  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("case", [*BASES, *ROWS], ids=lambda case: case.name)
def test_what_cannot_be_trained_ends_in_one_clear_error(
    case: Case, tmp_path: Path, tiny_base: Path
) -> None:
    recipe, run = spoiled(case, tmp_path, tiny_base)
    with pytest.raises(ZephyrctlError) as caught:
        run_stage(case.stage, recipe, run)
    error = caught.value
    assert case.says in error.message
    assert "\n" not in error.message
    assert (error.exit_code, bool(error.where), bool(error.hint)) == (case.code, True, True)
    assert not (run.root / case.stage / "model").exists()
    assert not (run.root / case.stage / "checkpoints").exists()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A published adapter on the tiny base."""
    root = tmp_path_factory.mktemp("adapter") / "runs" / "below"
    recipe, run = build_run(root, tiny_base, sft=LORA | {"max_steps": 1})
    run_stage("sft", recipe, run)
    return run.stage("sft").model


ADAPTERS: list[tuple[str, Spoil, str]] = [
    ("other shapes", lora_weights(halved), "the adapter does not fit the model below it"),
    ("a layer less", lora_weights(without_layer), "lacks weights that its configuration names"),
    ("infinity", lora_weights(with_infinity), "the weights hold NaN or infinity"),
    ("on an adapter", on_itself, "the adapter stands on another adapter"),
    ("no base", rewrite("adapter_config.json", base_model_name_or_path=None), "does not say which"),
    ("other weights", rewrite("zephyrctl.json", base_digest="0" * 64), "trained on other weights"),
    ("a cut file", lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"12"),
     "the adapter does not fit"),
    ("a cut configuration", lambda folder: (folder / "adapter_config.json").write_text("{"),
     "does not say which model"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), [c[1:] for c in ADAPTERS], ids=[c[0] for c in ADAPTERS])
def test_an_adapter_that_is_not_of_this_base_is_refused(
    spoil: Spoil, says: str, adapter: Path, tmp_path: Path, tiny_base: Path
) -> None:
    copied = tmp_path / "adapter"
    shutil.copytree(adapter, copied)
    spoil(copied)
    recipe, run = build_run(tmp_path / "runs" / "t", tiny_base, dpo={"init_from": str(copied)})
    with pytest.raises(DataError) as caught:
        run_stage("dpo", recipe, run)
    assert says in caught.value.message
    assert caught.value.where
    assert caught.value.hint
