"""A GGUF file becomes an ordinary folder: dense, trainable, with tokenizer and template."""

import json
from pathlib import Path

import numpy as np
import pytest

from zephyrctl.errors import JobFailed
from zephyrctl.models import named
from zephyrctl.runs import digests

gguf = pytest.importorskip("gguf")
convert = pytest.importorskip("zephyrctl.models.convert")

HIDDEN, LAYERS, HEADS, INNER = 64, 2, 2, 96
TEMPLATE = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"


def write_gguf(path: Path) -> np.ndarray:
    """A two-layer Llama whose matrices are stored in 8 bits; returns its embedding."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *bytes_to_unicode().values(), "he"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(len(tokens), HIDDEN)).astype(np.float32)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    shapes = {
        **{f"attn_{name}": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")},
        **{"ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER)},
    }
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(HIDDEN, np.float32))
        for name, shape in shapes.items():
            kind = gguf.GGMLQuantizationType.Q8_0
            packed = gguf.quants.quantize(rng.normal(size=shape).astype(np.float32), kind)
            writer.add_tensor(f"blk.{layer}.{name}.weight", packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return embedding


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    root = tmp_path_factory.mktemp("convert")
    embedding = write_gguf(root / "model.gguf")
    for name in ("one", "two"):
        (root / name).mkdir()
    named.run_conversion(root / "model.gguf", root / "one")
    convert.convert(root / "model.gguf", root / "two")
    return root, embedding


def test_a_child_process_and_this_one_convert_to_the_same_bytes(converted):
    root, _ = converted
    assert digests.digest_tree(root / "one") == digests.digest_tree(root / "two")


def test_the_model_is_dense_bfloat16_and_holds_the_weights(converted):
    import torch
    from transformers import AutoModelForCausalLM

    root, embedding = converted
    model = AutoModelForCausalLM.from_pretrained(root / "one")
    assert model.dtype == torch.bfloat16
    assert getattr(model, "quantization_method", None) is None
    weight = model.get_input_embeddings().weight.detach().float().numpy()
    np.testing.assert_allclose(weight, embedding, rtol=0.01)  # bfloat16 keeps 8 bits
    model.save_pretrained(root / "again")  # a quantized model refuses this
    model.float().get_input_embeddings().weight.sum().backward()


def test_tokenizer_and_template_come_along_without_traces_of_the_conversion(converted):
    from transformers import AutoTokenizer

    root, _ = converted
    tokenizer = AutoTokenizer.from_pretrained(root / "one")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.model_max_length == 128
    text = tokenizer.apply_chat_template([{"role": "user", "content": "he"}], tokenize=False)
    assert text == "he<|im_end|>"
    for file in (root / "one").glob("*.json"):
        assert str(root) not in file.read_text(encoding="utf-8"), file.name
    keys = json.loads((root / "one" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert not {"is_local", "local_files_only"} & set(keys)


def test_a_failed_conversion_gives_the_child_s_last_line(tmp_path: Path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'Traceback' >&2\necho 'bad magic' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(named.sys, "executable", str(python))
    with pytest.raises(JobFailed, match=r"converting model\.gguf failed: bad magic"):
        named.run_conversion(tmp_path / "model.gguf", tmp_path)
