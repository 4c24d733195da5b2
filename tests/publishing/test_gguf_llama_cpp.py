"""The real llama.cpp, where its Python package is installed (`pip install llama-cpp-python`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.publishing import gguf_models
from tests.publishing.test_gguf_export import export
from transformers import AutoModelForCausalLM, AutoTokenizer

llama_cpp: Any = pytest.importorskip(
    "llama_cpp", reason="llama-cpp-python is not installed: nothing here runs a GGUF file natively"
)

TEXTS = (
    "Hello world", "  leading and trailing  ", "line\nbreak\n\n\n  x", "I'm you're WE'RE don't",
    "12345 3.14 1,000,000 ½ ² Ⅳ", "naïve café 日本語 한국어 العربية", "🦙 👩‍👩‍👧 ﷺ \u200b \u00a0",
    "<s>", "x</s> y", "<s><|system|>\n</s>\n<|user|>\nWhat?</s>\n<|assistant|>\n", "a" * 40,
    "<0x0A>", "def f(x):\n\treturn x**2  # comment", "MiXeD “quotes” — dash…", "\r\n \r\n",
)  # fmt: skip
APART = 0.01
"""Largest mean difference of a log-probability, in nats: llama.cpp keeps keys and values in 16
bits."""


def agrees(source: Path, out: Path) -> None:
    """Ids, log-probabilities and greedy continuation in llama.cpp are those of transformers."""
    exported = export(source, out)
    tokenizer = AutoTokenizer.from_pretrained(source)
    native = llama_cpp.Llama(
        str(out / exported.file), n_ctx=256, n_threads=1, logits_all=True, verbose=False
    )
    for text in TEXTS:
        ids = native.tokenize(text.encode(), add_bos=True, special=True)
        assert ids == tokenizer.encode(text, add_special_tokens=False), text
    chat = [{"role": "user", "content": "Offer tea to Mia politely."}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    native.eval(prompt)
    with torch.no_grad():
        want = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    got = torch.from_numpy(np.array(native.scores[: len(prompt)])).log_softmax(-1)
    assert float((got - want).abs().mean()) < APART
    greedy = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    for place, token in enumerate(greedy[0, len(prompt) :].tolist(), start=len(prompt)):
        assert int(native.scores[place - 1].argmax()) == token
        native.eval([token])


def test_an_adapter_runs_in_llama_cpp_as_in_transformers(adapter: Path, tmp_path: Path) -> None:
    from zephyrctl.config.schema.model import Model
    from zephyrctl.publishing.merge import export_merged
    from zephyrctl.runs.references import ModelRef

    ref = ModelRef("mine", "folder", str(adapter))
    export_merged(
        ref, out=tmp_path / "merged", dtype="float32", model=Model(), force=False,
        say=lambda text: None,
    )  # fmt: skip
    agrees(tmp_path / "merged", tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "make"),
    [("llama-bpe", gguf_models.llama), ("qwen2", gguf_models.qwen2), ("smollm", gguf_models.llama)],
)
def test_every_family_runs_in_llama_cpp(kind: str, make: Any, tmp_path: Path) -> None:
    tokenizer = gguf_models.byte_level(kind)
    agrees(gguf_models.save(tmp_path / "m", make(tokenizer), tokenizer), tmp_path / "out")


@pytest.mark.parametrize("spaces", ["legacy", "never"])
def test_sentencepiece_runs_in_llama_cpp(spaces: str, tmp_path: Path) -> None:
    tokenizer = gguf_models.sentencepiece(spaces)
    model = gguf_models.llama(
        tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 1e4}
    )
    agrees(gguf_models.save(tmp_path / "m", model, tokenizer), tmp_path / "out")
