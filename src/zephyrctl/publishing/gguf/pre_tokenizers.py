"""By which rule does llama.cpp split a text as this byte-level tokenizer does?

llama.cpp holds these rules as code, chosen by `tokenizer.ggml.pre`. Its own converter looks the
name up by a hash of the ids of one text, which knows published vocabularies only. Here the rule
itself is compared: it stands in the tokenizer, and a vocabulary that was trained yesterday may
have one of the known rules. What each name stands for: `llm_tokenizer_bpe` and `impl::load` in
`src/llama-vocab.cpp` of github.com/ggml-org/llama.cpp; whose tokenizers they are:
`get_vocab_base_pre` in `conversion/base.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zephyrctl.errors import UsageError

_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA_3 = rf"{_ENDINGS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
QWEN_2 = rf"{_ENDINGS}|{_WORDS}|\p{{N}}|{_REST}"

Rule = tuple[tuple[str, str], ...]
_GPT_2 = ("ByteLevel", "with GPT-2's pattern")
_BYTES = ("ByteLevel", "without a pattern")

RULES: dict[tuple[Rule, bool], str] = {
    ((_GPT_2,), False): "gpt-2",
    ((("Digits", "each"), _GPT_2), False): "smollm",
    ((("Split", LLAMA_3), _BYTES), True): "llama-bpe",
    ((("Split", LLAMA_3), _BYTES), False): "smaug-bpe",
    ((("Split", QWEN_2), _BYTES), False): "qwen2",
}
"""The rule, and whether words of the vocabulary are taken whole (`ignore_merges`), of each name."""


def pre_tokenizer(backend: dict[str, Any], *, where: str) -> str:
    """The value of `tokenizer.ggml.pre` for a tokenizer, given as its `tokenizer.json`.

    UsageError for a rule that llama.cpp is not known to have.
    """
    rule = tuple(_steps(backend["pre_tokenizer"]))
    name = RULES.get((rule, bool(backend["model"].get("ignore_merges"))))
    if name is None:
        raise UsageError(
            "llama.cpp has no rule that splits words as this tokenizer does: "
            + (" then ".join(" ".join(step) for step in rule) or "none"),
            where=where,
            hint=f"known rules: {', '.join(RULES.values())}",
        )
    return name


def _steps(step: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """The steps of a pre-tokenizer, with all of their settings that change how it splits."""
    if step is None:
        return
    kind = step["type"]
    if kind == "Sequence":
        for inner in step["pretokenizers"]:
            yield from _steps(inner)
    elif kind == "ByteLevel" and not step["add_prefix_space"]:
        yield _GPT_2 if step.get("use_regex", True) else _BYTES
    elif kind == "Digits" and step["individual_digits"]:
        yield "Digits", "each"
    elif kind == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
        yield "Split", str(step["pattern"].get("Regex", step["pattern"]))
    else:
        settings = (f"{key}={value}" for key, value in step.items() if key != "type")
        yield kind, " ".join(settings)
