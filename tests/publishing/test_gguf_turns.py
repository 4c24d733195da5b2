"""Chat templates in Ollama's language, and without what only training reads."""

from pathlib import Path
from typing import Any

import pytest

from zephyrctl.data.messages import Message, to_json
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import UsageError
from zephyrctl.publishing.gguf.modelfile import Usage, modelfile
from zephyrctl.publishing.gguf.turns import portable, turn_form

USAGE = Usage("m-f16.gguf", "m", 32768, ("</s>", 'a"b'), 0.7, 0.9, 40, None)
HEADERS = "{{ '<|' + message.role + '|>' + message.content + eos_token }}"
STRIPS = "{{ '<|' + message.role + '|>' + message.content | trim + eos_token }}"
COUNTS = "{{ loop.index ~ message.role + message.content }}"
FIRST = "{% if messages[0].role != 'system' %}{{ '<|system|>Be good.' + eos_token }}{% endif %}"


@pytest.fixture
def tokenizer(tiny_base: Path) -> Any:
    return load_tokenizer(str(tiny_base), chat_template="zephyr")


def in_turns(words: str) -> str:
    reply = "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    return f"{{% for message in messages %}}{words}{{% endfor %}}{reply}"


def test_zephyrs_template_is_written_in_ollamas_language(tokenizer: Any) -> None:
    form = turn_form(tokenizer)
    assert form is not None
    # Go's text/template 1.27 rendered this to the Jinja template's text, for 25 dialogues.
    assert form.as_go() == (
        '<s>{{ if ne (index .Messages 0).Role "system" }}<|system|>\n</s>\n{{ end }}'
        '{{ range .Messages }}{{ if eq .Role "system" }}<|system|>\n{{ .Content }}</s>\n'
        '{{ else if eq .Role "user" }}<|user|>\n{{ .Content }}</s>\n'
        '{{ else if eq .Role "assistant" }}<|assistant|>\n{{ .Content }}</s>\n'
        "{{ end }}{{ end }}<|assistant|>\n"
    )


@pytest.mark.parametrize("template", [in_turns(HEADERS), FIRST + in_turns(HEADERS)])
def test_words_round_turns_are_found_by_rendering(template: str, tokenizer: Any) -> None:
    tokenizer.chat_template = template
    form = turn_form(tokenizer)
    assert form is not None
    turns = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Bye")]
    want = tokenizer.apply_chat_template(to_json(turns), tokenize=False, add_generation_prompt=True)
    assert form.render(turns) == want
    assert not modelfile(USAGE, form)[1]


def test_a_template_that_strips_texts_is_written_and_said(tokenizer: Any) -> None:
    tokenizer.chat_template = in_turns(STRIPS)
    text, notices = modelfile(USAGE, turn_form(tokenizer))
    assert "\nTEMPLATE " in text
    assert "white space" in notices[0]


def test_a_template_that_counts_turns_has_no_form(tokenizer: Any) -> None:
    tokenizer.chat_template = in_turns(COUNTS)
    assert turn_form(tokenizer) is None
    text, notices = modelfile(USAGE, None)
    assert "TEMPLATE " not in text.replace("a TEMPLATE line", "")
    assert "no TEMPLATE" in notices[0]


def test_a_modelfile_quotes_what_it_holds() -> None:
    text, _ = modelfile(USAGE, None)
    assert 'PARAMETER stop "a\\"b"\nPARAMETER num_ctx 4096\n' in text
    odd = Usage("m", "m", 512, (), 0.7, 0.9, 40, 'say """ twice')
    with pytest.raises(UsageError, match="cannot hold"):
        modelfile(odd, None)


def test_training_marks_leave_the_template_and_the_text_stays(tokenizer: Any) -> None:
    turns = to_json([Message("user", "Hi"), Message("assistant", "\n Yes. ")])
    before = tokenizer.apply_chat_template(turns, tokenize=False)
    tokenizer.chat_template = portable(tokenizer)
    assert "- generation -" not in tokenizer.chat_template
    assert "endgeneration" not in tokenizer.chat_template
    assert tokenizer.apply_chat_template(turns, tokenize=False) == before


def test_a_template_without_marks_is_left_as_it_is(tokenizer: Any) -> None:
    tokenizer.chat_template = in_turns(HEADERS)
    assert portable(tokenizer) == in_turns(HEADERS)
