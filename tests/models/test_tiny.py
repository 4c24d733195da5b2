"""The toy base model: the same bytes at every build, and transformers can load it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from zephyrctl.models import tiny
from zephyrctl.runs import digests


def test_two_builds_in_two_processes_give_the_same_bytes(tiny_base: Path, tmp_path: Path):
    code = (
        "import sys, pathlib; from zephyrctl.models import tiny; "
        "tiny.build(pathlib.Path(sys.argv[1]))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=env)
    assert digests.digest_tree(tmp_path) == digests.digest_tree(tiny_base)


def test_transformers_finds_every_weight_and_no_other(tiny_base: Path):
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(tiny_base, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert 500_000 <= model.num_parameters() <= 2_000_000


def test_special_tokens_are_distinct_and_text_comes_back(tiny_base: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    specials = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token]
    assert specials == ["<s>", "</s>", "<pad>"]
    config = json.loads((tiny_base / "config.json").read_text(encoding="utf-8"))
    ids = [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")]
    assert ids == tokenizer.convert_tokens_to_ids(specials)
    assert config["vocab_size"] == len(tokenizer)
    text = "Zażółć gęślą jaźń 🙂 <|user|>\n"
    encoded = tokenizer(text).input_ids
    assert encoded[0] == tokenizer.bos_token_id  # as Mistral's tokenizer does
    assert tokenizer.decode(encoded, skip_special_tokens=True) == text


def test_another_seed_position_gives_other_weights():
    weights = tiny.draw_weights({**tiny.CONFIG, "vocab_size": 300})
    first = weights["model.layers.0.self_attn.q_proj.weight"]
    second = weights["model.layers.1.self_attn.q_proj.weight"]
    assert abs(float(first.std()) - 0.06) < 0.002
    assert (first != second).any()
