"""Whether compared models go into memory together: arithmetic on sizes, and real folders."""

import json
from pathlib import Path

import pytest

from zephyrctl.chat import fitting
from zephyrctl.chat.fitting import Free, Need, fit
from zephyrctl.errors import DataError
from zephyrctl.models import weight_files

GIB = 2**30
MISTRAL = {"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
           "num_key_value_heads": 8, "max_position_embeddings": 32768}  # fmt: skip


def test_two_models_of_7_b_fit_an_80_gib_gpu_and_not_one_of_24_gib() -> None:
    need = Need(round(14.5e9), talk=GIB)
    assert fit([need, need], Free(79 * GIB, "GPU memory")).together
    found = fit([need, need], Free(24 * GIB, "GPU memory"))
    assert not found.together
    assert str(found) == "they need 29.0 GiB more, and 24 GiB of GPU memory are free"


@pytest.mark.parametrize(("free", "together"), [(10 * GIB, True), (10 * GIB - 10, False)])
def test_a_tenth_of_the_free_memory_is_left_alone(free: int, together: bool) -> None:
    assert fit([Need(4 * GIB), Need(4 * GIB, talk=GIB)], Free(free)).together is together


def test_only_the_hungriest_load_counts_since_models_load_one_by_one() -> None:
    needs = [Need(2 * GIB, loading=2 * GIB), Need(2 * GIB, loading=3 * GIB)]
    assert fit(needs, Free(20 * GIB)).needed == 7 * GIB


def test_a_size_that_is_not_known_is_not_taken_for_none() -> None:
    found = fit([Need(None), Need(1)], Free(100 * GIB))
    assert not found.together
    assert "an unknown size" in str(found)


def test_quantized_are_the_matrices_but_embeddings_and_head() -> None:
    shapes = [
        ("model.embed_tokens.weight", (100, 10)),
        ("lm_head.weight", (100, 10)),
        ("model.layers.0.mlp.up_proj.weight", (640, 10)),
        ("model.norm.weight", (10,)),
    ]
    assert fitting.weight_bytes(shapes, width=2) == 2 * 8410
    assert fitting.weight_bytes(shapes, width=2, quantize="8bit") == 2 * 2010 + 6400
    assert fitting.weight_bytes(shapes, width=2, quantize="4bit") == 2 * 2010 + 3600


def test_keys_and_values_of_a_long_conversation() -> None:
    # 2 (keys and values) x 32 layers x 8 heads x 128 numbers x 2 bytes x 8,192 tokens.
    assert fitting.talk_bytes(MISTRAL, width=2) == GIB
    assert fitting.talk_bytes({"text_config": MISTRAL}, width=4) == 2 * GIB
    assert fitting.talk_bytes({**MISTRAL, "max_position_embeddings": 512}, width=2) == GIB // 16
    assert fitting.talk_bytes({"model_type": "odd"}, width=2) == 0


def test_a_folder_tells_its_need_before_it_is_loaded(tiny_base: Path) -> None:
    from zephyrctl.generation.engine import load_engine

    need = fitting.need_of(str(tiny_base), dtype="auto", free=Free(GIB))
    engine = load_engine(str(tiny_base), device="cpu", chat_template="zephyr")
    held = sum(p.numel() * p.element_size() for p in engine.model.parameters())
    assert need.weights == held
    assert need.loading == 0
    half = fitting.need_of(str(tiny_base), dtype="auto", free=Free(GIB, "GPU memory", halves=True))
    assert half.weights == held // 2


def test_an_adapter_needs_its_bases_weights_and_float32_while_it_loads(
    tiny_base: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tiny_base)})
    )
    alone = fitting.need_of(str(tiny_base), dtype="bfloat16", free=Free(GIB))
    chain = fitting.need_of(str(tmp_path), dtype="bfloat16", free=Free(GIB))
    assert (chain.weights, chain.talk) == (alone.weights, alone.talk)
    assert (alone.loading, chain.loading) == (0, alone.weights)


def test_a_damaged_file_of_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{not json")
    with pytest.raises(DataError, match="damaged"):
        list(weight_files.shapes(tmp_path))


def test_without_a_gpu_main_memory_is_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    free = fitting.free_on("auto")
    assert free.of == "memory"
    assert 0 < free.bytes < 2**50
