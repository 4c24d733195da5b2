"""A model answers only in the template it was trained with."""

from pathlib import Path
from typing import Any

import pytest

from zephyrctl.data import template_lock
from zephyrctl.data.tokenizers import load_tokenizer, template_hash
from zephyrctl.errors import DataError


def locked(folder: Path, tokenizer: Any) -> template_lock.TemplateLock:
    return template_lock.write(
        folder,
        tokenizer=tokenizer,
        template="zephyr",
        stage="sft",
        base="tiny",
        base_digest="d" * 64,
        run="test",
    )


def test_folder_is_whole_and_its_own_tokenizer_passes(
    tmp_path: Path, zephyr_tokenizer: Any
) -> None:
    lock = locked(tmp_path, zephyr_tokenizer)
    assert (tmp_path / "chat_template.jinja").is_file()
    own = load_tokenizer(str(tmp_path))
    assert template_hash(own) == lock.template_sha256
    assert template_lock.check(tmp_path, own) == lock


def test_another_template_is_refused(tmp_path: Path, zephyr_tokenizer: Any) -> None:
    locked(tmp_path, zephyr_tokenizer)
    other: Any = load_tokenizer(str(tmp_path))
    other.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(DataError, match="trained with another chat template: 'zephyr'"):
        template_lock.check(tmp_path, other)


def test_folder_of_another_program_has_no_lock(tiny_base: Path, zephyr_tokenizer: Any) -> None:
    assert template_lock.check(tiny_base, zephyr_tokenizer) is None


def test_damaged_lock_is_an_error(tmp_path: Path, zephyr_tokenizer: Any) -> None:
    (tmp_path / "zephyrctl.json").write_text('{"stage": ')
    with pytest.raises(DataError, match="cannot be read"):
        template_lock.check(tmp_path, zephyr_tokenizer)
