"""Which tokenizer a model has, with which template, and how often it is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from zephyrctl import templates
from zephyrctl.config.schema.model import Model
from zephyrctl.data.messages import Message
from zephyrctl.data.tokenizers import template_hash
from zephyrctl.errors import DataError
from zephyrctl.generation.answerer import subject_of
from zephyrctl.generation.engine import Engine
from zephyrctl.generation.model_tokenizer import tokenizer_folder, tokenizer_of
from zephyrctl.runs.references import ModelRef

OWN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that tokenizers are read from, in order."""
    found: list[str] = []
    read = AutoTokenizer.from_pretrained

    def counted(path: str, *rest: object, **options: object) -> object:
        found.append(path)
        return read(path, *rest, **options)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", counted)
    return found


@pytest.fixture
def adapter(tiny_base: Path, tmp_path: Path) -> Path:
    """The folder of an adapter without files of its own for a tokenizer."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(tiny_base)})
    )
    return folder


def test_a_bare_adapter_has_the_tokenizer_of_its_base(tiny_base: Path, adapter: Path) -> None:
    assert tokenizer_folder(str(adapter)) == str(tiny_base)
    shutil.copy(tiny_base / "tokenizer_config.json", adapter)
    assert tokenizer_folder(str(adapter)) == str(adapter)
    assert tokenizer_folder("org/model-on-the-hub") == "org/model-on-the-hub"


def test_a_template_of_its_own_is_kept_and_a_missing_one_filled_in_and_said(
    tiny_base: Path, tmp_path: Path, reads: list[str]
) -> None:
    bare = tokenizer_of(str(tiny_base), fallback="zephyr")
    assert bare.tokenizer.chat_template == templates.read("zephyr")
    assert "no chat template of its own; 'zephyr' is used" in bare.notices[0]
    folder = tmp_path / "model"
    shutil.copytree(tiny_base, folder)
    (folder / "chat_template.jinja").write_text(OWN)
    own = tokenizer_of(str(folder), fallback="zephyr")
    assert (own.tokenizer.chat_template, own.template, own.notices) == (OWN, "tokenizer", ())
    assert reads == [str(tiny_base), str(folder)]


def test_without_a_template_and_a_fallback_there_is_an_error(tiny_base: Path) -> None:
    with pytest.raises(DataError, match="no chat template of its own"):
        tokenizer_of(str(tiny_base), fallback="tokenizer")


def test_a_subject_reads_the_tokenizer_once_until_it_answers(
    tiny_base: Path, reads: list[str]
) -> None:
    ref = ModelRef("m", "folder", str(tiny_base))
    subject = subject_of(ref, model=Model(chat_template="zephyr"), at_once=1)
    said: list[str] = []
    answerer = subject.load(said.append)
    engine = getattr(answerer, "engine")  # noqa: B009  # of weights here; the protocol has none
    assert isinstance(engine, Engine)
    assert template_hash(engine.tokenizer) == subject.template_sha256
    assert subject.render is not None
    assert "pasta" in subject.render([Message("user", "pasta")])
    answerer.close()
    assert reads == [str(tiny_base)]
