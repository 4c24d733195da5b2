"""Which models are raced, and how are they made without a download?

Random weights in the published architectures: the time of a step does not depend on their values.
They are drawn on the device that will train them and saved once, because a trainer reloads its
reference from a folder.
"""

import json
from pathlib import Path
from typing import Any

from zephyrctl.planning.architecture import KNOWN, Architecture

BOS, END, PAD = "<s>", "</s>", "<pad>"
MODELS: dict[str, Architecture] = {
    "toy": Architecture(64, 2, 4, 2, 16, 160, 512, False),
    "small": Architecture(384, 4, 6, 2, 64, 1024, 8192, False),
    "smollm2-135m": KNOWN["huggingfacetb/smollm2-135m"],
    "mistral-1b": Architecture(2048, 16, 16, 4, 128, 7168, 32000, False),
    "mistral-7b": KNOWN["mistralai/mistral-7b-v0.1"],
}
POSITIONS = 32_768
DONE = "complete"


def config_of(model: Architecture) -> dict[str, Any]:
    """The `config.json` of a Mistral without a window (window 4096 would never be reached)."""
    return {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "hidden_size": model.hidden,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.intermediate,
        "vocab_size": model.vocabulary,
        "tie_word_embeddings": model.tied,
        "max_position_embeddings": POSITIONS,
        "sliding_window": None,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }


def build(folder: Path, *, name: str, device: str) -> None:
    """Write weights (bfloat16 where a GPU will train them, float32 otherwise), configuration and
    tokenizer into `folder`, unless an earlier call has."""
    if (folder / DONE).exists():
        return
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    model = MODELS[name]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    with torch.device(device):
        drawn = MistralForCausalLM(MistralConfig(**config_of(model)))
    torch.set_default_dtype(torch.float32)
    drawn.save_pretrained(folder)
    _write_tokenizer(folder, model.vocabulary)
    (folder / DONE).touch()


def word(token: int) -> str:
    """The text that the tokenizer reads as exactly this plain token."""
    return f"w{token}"


def text_of(tokens: list[int]) -> str:
    """The text that the tokenizer reads as these tokens, EOS at the end left out: TRL adds it."""
    return "".join(f"{word(token)} " for token in tokens if token != 1)


def _write_tokenizer(folder: Path, vocabulary: int) -> None:
    """One word for each token, so that TRL's own tokenization gives the tokens that ours holds."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel

    words = [BOS, END, PAD, *(word(token) for token in range(3, vocabulary))]
    ids = {text: number for number, text in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([BOS, END, PAD])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": POSITIONS,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
