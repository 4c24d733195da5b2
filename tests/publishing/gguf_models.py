"""Small models of every kind that can be written as GGUF, with random weights."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from zephyrctl import templates
from zephyrctl.publishing.gguf.pre_tokenizers import LLAMA_3, QWEN_2

SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
LLAMA_3_ROPE = {
    "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
TEXTS = [
    "the theatre, there: they're 12 then 345", "Hello hello HELLO we'll see", "a b  c\n\nd",
    "naïve café ünïcödé 日本語 🦙",
] * 8  # fmt: skip


def with_template(backend: Tokenizer) -> Any:
    """A tokenizer with the usual special tokens and Zephyr's template."""
    unknown = "<unk>" if backend.token_to_id("<unk>") is not None else None
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token=unknown
    )
    tokenizer.chat_template = templates.read("zephyr")
    return tokenizer


def byte_level(kind: str) -> Any:
    """A byte-level BPE tokenizer that splits words by the rule `kind`."""
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with_words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    steps: dict[str, list[Any]] = {
        "gpt-2": [with_words],
        "smollm": [pre_tokenizers.Digits(individual_digits=True), with_words],
        "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA_3), "isolated"), bytes_only],
        "qwen2": [pre_tokenizers.Split(Regex(QWEN_2), "isolated"), bytes_only],
    }
    backend = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps[kind])
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet,
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator(TEXTS, trainer)
    return with_template(backend)


def sentencepiece(spaces: str, *, merges: int | None = None) -> Any:
    """A tokenizer as transformers makes of a SentencePiece model: all merges of every piece.

    `spaces` is `legacy` or a scheme of Metaspace; `merges` leaves out all but so many.
    """
    letters = sorted({letter for text in TEXTS for letter in text.replace(" ", "▁")} | {"▁"})
    pieces = ["th", "he", "▁th", "the", "▁the", "ll", "ell", "ello", "▁t", "▁▁", "en", "▁then"]
    of_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    names = ["<unk>", "<s>", "</s>", *of_bytes, *pieces, *letters]
    vocabulary = {name: number for number, name in enumerate(names)}
    pairs = [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    backend = Tokenizer(
        models.BPE(vocabulary, pairs[:merges], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    if spaces == "legacy":
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", spaces, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in ("<unk>", "<s>", "</s>")]
    )
    return with_template(backend)


def draw(model: Any) -> Any:
    """`model` with weights large enough that a wrong one shows, norms and biases too."""
    torch.manual_seed(0)
    model.config.architectures = [type(model).__name__]
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.normal_(weight, mean=1.0, std=0.2)
        else:
            torch.nn.init.normal_(weight, std=0.3 if weight.dim() == 1 else 0.1)
    return model.eval()


def llama(tokenizer: Any, **settings: Any) -> Any:
    """A Llama, by default with llama3 rope scaling, a head of its own size and a tied output."""
    chosen = {
        "head_dim": 32, "tie_word_embeddings": True, "rope_parameters": LLAMA_3_ROPE, **settings
    }  # fmt: skip
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return draw(LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SIZES, **ends, **chosen)))


def qwen2(tokenizer: Any) -> Any:
    """A Qwen2, with biases, an output of its own and more embeddings than tokens."""
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return draw(Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer) + 7, **SIZES, **ends)))


def save(folder: Path, model: Any, tokenizer: Any) -> Path:
    """A plain folder of both."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
