"""The model cache: built once, whole or not at all, seen as absent when damaged."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from zephyrctl.models import cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def quiet(text: str) -> None:
    """Nobody listens."""


def write(folder: Path) -> None:
    (folder / "config.json").write_text("{}", encoding="utf-8")
    weights = folder / "model.safetensors"
    weights.write_bytes(b"weights")
    weights.chmod(0o600)


def get(build=write, name: str = "toy", say=quiet) -> cache.Entry:
    return cache.find_or_build(name, build=build, source="built", note="a toy", say=say)


def refuse(folder: Path) -> None:
    raise AssertionError("built again")


def test_the_second_request_finds_what_the_first_built():
    first = get()
    assert get(refuse) == first
    assert (first.source, first.note) == ("built", "a toy")
    assert len(first.digest) == 64


def test_the_digest_is_of_the_content_alone():
    assert get(name="one").digest == get(name="two").digest


def test_others_may_read_the_weights():
    assert (get().path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_failed_build_leaves_nothing(root: Path):
    def fail(folder: Path) -> None:
        write(folder)
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        get(fail)
    assert cache.find("toy") is None
    assert list((root / "models").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "missing", "record"])
def test_a_damaged_entry_is_built_again(damage: str):
    entry = get()
    if damage == "cut":
        (entry.path / "model.safetensors").write_bytes(b"weig")
    elif damage == "missing":
        (entry.path / "config.json").unlink()
    else:
        (entry.path / cache.RECORD).write_text("{", encoding="utf-8")
    assert cache.find("toy") is None
    assert get().digest == entry.digest


def test_two_processes_build_once_and_the_second_says_that_it_waits(root: Path):
    started, go_on = threading.Event(), threading.Event()

    def slow(folder: Path) -> None:
        started.set()
        go_on.wait(20)
        write(folder)

    code = (
        "import sys; from zephyrctl.models import cache\n"
        "def refuse(folder): raise SystemExit('built twice')\n"
        "e = cache.find_or_build('toy', build=refuse, source='built', note='', say=say)\n"
        "print(e.digest)"
    ).replace("say=say", "say=lambda t: (sys.stderr.write(t), sys.stderr.flush())")
    first = threading.Thread(target=get, args=(slow,))
    first.start()
    assert started.wait(20)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as second:
        assert second.stderr is not None
        assert second.stderr.read(7) == "another"  # it is waiting
        go_on.set()
        out, _ = second.communicate(timeout=20)
    first.join()
    assert second.returncode == 0
    found = cache.find("toy")
    assert found is not None
    assert out.strip() == found.digest


def test_a_folder_is_digested_again_only_when_it_changed(tmp_path: Path, monkeypatch):
    model = tmp_path / "model"
    model.mkdir()
    write(model)
    before = cache.folder_digest(model)
    monkeypatch.setattr(cache.digests, "digest_tree", refuse)
    assert cache.folder_digest(model) == before
    monkeypatch.undo()
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    (model / "README.md").write_text("new words", encoding="utf-8")
    assert cache.folder_digest(model) == before
    (model / "config.json").write_text('{"a": 1}', encoding="utf-8")
    assert cache.folder_digest(model) != before
