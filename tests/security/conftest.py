"""Hostile models: copies of the tiny base in which one thing is changed."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import cli

__all__ = ["cli"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Hostile:
    """Makes hostile model folders; `mark` is a file that their code would write."""

    base: Path
    root: Path
    mark: Path

    def copy(self, name: str) -> Path:
        """A working copy of the tiny base."""
        return shutil.copytree(self.base, self.root / name)

    def code(self, *, kind: str = "own_kind") -> str:
        """A Python module that leaves the mark where it is imported, and a model that works."""
        return (
            f"open({str(self.mark)!r}, 'w').write('ran')\n"
            "from transformers import MistralConfig, MistralForCausalLM\n"
            f"class OwnConfig(MistralConfig):\n    model_type = '{kind}'\n"
            "class OwnModel(MistralForCausalLM):\n    config_class = OwnConfig\n"
        )

    def with_code(self, folder: Path, *, kind: str = "own_kind") -> Path:
        """Let a folder need its own code."""
        (folder / "own_code.py").write_text(self.code(kind=kind))
        names = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"}
        edit(folder / "config.json", model_type=kind, auto_map=names)
        return folder


@pytest.fixture
def hostile(tiny_base: Path, tmp_path: Path) -> Hostile:
    """Hostile models of this test."""
    root = tmp_path / "hostile"
    root.mkdir()
    return Hostile(tiny_base, root, tmp_path / "CODE-RAN")


def edit(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(values | changes), encoding="utf-8")
