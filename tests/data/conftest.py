"""Fixtures of the data room."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.data.tokenizers import load_tokenizer


@pytest.fixture(scope="session")
def zephyr_tokenizer(tiny_base: Path) -> Any:
    """The tiny model's tokenizer with the Zephyr template."""
    return load_tokenizer(str(tiny_base), chat_template="zephyr")


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as a JSONL file and returns its path."""

    def write(rows: Iterable[Any], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def recipe_of(tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe over the given `data` section, with its runs in the test's folder."""

    def make(data: dict[str, Any], **sections: Any) -> Recipe:
        return Recipe.model_validate(
            {"name": "test", "output_root": str(tmp_path / "runs"), "data": data, **sections}
        )

    return make
