"""What is installed, trained on and judged with is named exactly, so that it cannot be swapped."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from zephyrctl import environment
from zephyrctl.config.layers import load
from zephyrctl.config.paths import is_local
from zephyrctl.config.recipes import packaged
from zephyrctl.evaluation.files import pinned
from zephyrctl.models import named

ROOT = Path(__file__).resolve().parents[2]
COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.]*)")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in lines)):
        match = PIN.fullmatch(line)
        assert match is not None, f"not an exact version: {line}"
        assert normal(match[1]) not in found, f"twice: {line}"
        found[normal(match[1])] = match[2]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_that_setup_installs_has_one_exact_version() -> None:
    """All that pyproject.toml asks for, and all that those packages ask for in turn."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    waiting = [Requirement(t) for t in (*project["dependencies"], *extras["dev"], *extras["demo"])]
    seen: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        name = normal(wanted.name)
        if name in seen:
            continue
        seen.add(name)
        try:
            for text in distribution(name).requires or ():
                asked = Requirement(text)
                if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                    waiting.append(asked)
        except PackageNotFoundError:  # for another platform, or another build of torch
            continue
    exact = pins()
    # torch names the exact versions of its own CUDA libraries.
    there = {
        name
        for name in seen
        if environment.package_version(name) and not name.startswith(("nvidia-", "cuda-", "triton"))
    }
    assert sorted(there - exact.keys() - {"setuptools", "pip", "wheel"}) == []


def test_setup_and_its_stamp_use_the_pins() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-c constraints.txt" in text
    assert re.search(r"\$\(STAMP\):.*pyproject.toml constraints.txt", text)


@pytest.mark.parametrize("name", [item.name for item in packaged()])
def test_every_packaged_recipe_names_commits(name: str) -> None:
    recipe = load(recipe=name, env={}).recipe
    base = recipe.model.base
    if base not in ("tiny", "smollm2-135m-instruct") and not is_local(base, suffixes=()):
        assert COMMIT.fullmatch(recipe.model.revision or ""), base
    for part in (recipe.data.sft, recipe.data.dpo):
        for source in (*part.train, *part.test):
            if not is_local(source.path):
                assert COMMIT.fullmatch(source.revision or ""), source.path


def test_public_files_of_benchmarks_have_a_commit_and_a_digest() -> None:
    files: list[Any] = [
        item
        for value in vars(pinned).values()
        for item in (value if isinstance(value, tuple | list) else ())
        if isinstance(item, pinned.PinnedFile)
    ]
    assert files
    for item in files:
        assert COMMIT.fullmatch(item.revision), item
        assert SHA256.fullmatch(item.sha256), item


def test_the_model_of_the_package_index_has_a_version_and_a_digest() -> None:
    assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", named.SMOLLM2_WHEEL.requirement)
    assert SHA256.fullmatch(named.SMOLLM2_WHEEL.sha256)
