"""What llama.cpp is told of a tokenizer, and which tokenizers it would run otherwise."""

from typing import Any

import gguf
import pytest
from tests.publishing import gguf_models
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import DataError, UsageError
from zephyrctl.publishing.gguf.retokenizing import encoder_of
from zephyrctl.publishing.gguf.vocabulary import Vocabulary, vocabulary_of


def told(
    tokenizer: Any, *, size: int | None = None, begins_with_special: bool = True
) -> Vocabulary:
    return vocabulary_of(
        tokenizer, size=size or len(tokenizer), ends=[tokenizer.eos_token_id],
        begins_with_special=begins_with_special, where="here",
    )  # fmt: skip


def as_llama_cpp(vocabulary: Vocabulary, text: str) -> list[int]:
    """The ids that llama.cpp makes of a text when it is told so."""
    keys = {
        "tokenizer.ggml.model": vocabulary.model,
        "tokenizer.ggml.pre": vocabulary.pre,
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.token_type": vocabulary.types,
        "tokenizer.ggml.merges": vocabulary.merges,
        "tokenizer.ggml.scores": vocabulary.scores,
        "tokenizer.ggml.add_space_prefix": vocabulary.space_before,
    }
    return encoder_of(keys)(text)


@pytest.mark.parametrize("kind", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_a_byte_level_tokenizer_is_known_by_its_rule(kind: str) -> None:
    tokenizer = gguf_models.byte_level(kind)
    vocabulary = told(tokenizer)
    assert (vocabulary.model, vocabulary.pre) == ("gpt2", kind)
    assert vocabulary.scores is None
    assert vocabulary.merges
    assert vocabulary.types[:3] == (3, 3, 1)  # control, control, normal
    for text in (*gguf_models.TEXTS, "<s>x</s> y 3.14", "WE'LL  \n\n 日本 ½", ""):
        assert as_llama_cpp(vocabulary, text) == tokenizer.encode(text, add_special_tokens=False)


def test_a_rule_that_llama_cpp_does_not_have_is_refused() -> None:
    tokenizer = gguf_models.byte_level("gpt-2")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}{1,2}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    with pytest.raises(UsageError, match="no rule that splits words"):
        told(tokenizer)


def test_words_taken_whole_are_part_of_the_rule() -> None:
    tokenizer = gguf_models.byte_level("gpt-2")
    tokenizer.backend_tokenizer.model.ignore_merges = True
    with pytest.raises(UsageError, match="no rule"):
        told(tokenizer)


@pytest.mark.parametrize("spaces", ["legacy", "never", "always"])
@pytest.mark.parametrize(
    "text", ["then the hello", "tth  thee", "hellohe 日本 x\ny</s>the", "a the"]
)
def test_scores_stand_for_all_merges(spaces: str, text: str) -> None:
    tokenizer = gguf_models.sentencepiece(spaces)
    vocabulary = told(tokenizer)
    assert vocabulary.model == "llama"
    assert as_llama_cpp(vocabulary, text) == tokenizer.encode(text, add_special_tokens=False)


def test_sentencepiece_tokens_have_their_types() -> None:
    vocabulary = told(gguf_models.sentencepiece("legacy"))
    unknown, bos, _, first_byte = vocabulary.types[:4]
    assert (unknown, bos, first_byte) == (
        gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.BYTE,
    )  # fmt: skip
    assert vocabulary.types[vocabulary.tokens.index("the")] == gguf.TokenType.NORMAL


def test_a_space_before_the_first_word_only_needs_a_template_that_opens_the_text() -> None:
    tokenizer = gguf_models.sentencepiece("first")
    vocabulary = told(tokenizer)
    assert vocabulary.space_before is False
    assert any("without the chat template" in text for text in vocabulary.notices)
    with pytest.raises(UsageError, match="spaces"):
        told(tokenizer, begins_with_special=False)


def test_merges_that_scores_cannot_stand_for_are_refused() -> None:
    with pytest.raises(UsageError, match="in ways that this tokenizer does not"):
        told(gguf_models.sentencepiece("legacy", merges=8))


def test_a_token_that_takes_spaces_with_it_is_refused() -> None:
    tokenizer = gguf_models.byte_level("gpt-2")
    tokenizer.add_tokens([AddedToken("<greedy>", lstrip=True)])
    with pytest.raises(UsageError, match="'<greedy>' is found in another way"):
        told(tokenizer)


def test_other_kinds_of_tokenizer_are_refused() -> None:
    backend = Tokenizer(models.Unigram([("<s>", 0.0), ("</s>", 0.0), ("a", -1.0)], unk_id=0))
    with pytest.raises(UsageError, match="Unigram"):
        told(gguf_models.with_template(backend))


def test_a_normalizer_is_said_or_refused() -> None:
    tokenizer = gguf_models.byte_level("gpt-2")
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert any("NFC" in text for text in told(tokenizer).notices)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(UsageError, match="Lowercase"):
        told(tokenizer)


def test_rows_without_a_token_are_unused_and_tokens_without_a_row_are_refused() -> None:
    tokenizer = gguf_models.byte_level("gpt-2")
    vocabulary = told(tokenizer, size=len(tokenizer) + 2)
    assert vocabulary.types[-2:] == (gguf.TokenType.UNUSED, gguf.TokenType.UNUSED)
    assert len(set(vocabulary.tokens)) == len(tokenizer) + 2
    with pytest.raises(DataError, match="embeddings"):
        told(tokenizer, size=len(tokenizer) - 1)


def test_the_templates_end_token_ends_a_reply_too(tiny_base: Any) -> None:
    tokenizer = load_tokenizer(str(tiny_base), chat_template="zephyr")
    ends = [tokenizer.eos_token_id, 5, 6, 7]
    vocabulary = vocabulary_of(
        tokenizer, size=len(tokenizer), ends=ends, begins_with_special=True, where="here"
    )
    assert [vocabulary.special[word] for word in ("eos", "eot", "eom")] == ends[:3]
    assert any("may not stop" in text for text in vocabulary.notices)
