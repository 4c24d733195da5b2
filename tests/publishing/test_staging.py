"""An export that is stopped leaves what was there, and says so; a killed one is cleared away."""

import os
import signal
from pathlib import Path

import pytest

from zephyrctl.errors import Interrupted, Terminated
from zephyrctl.publishing.staging import staged_export, told_what_is_left


def stopped(out: Path, number: int) -> None:
    with staged_export(out) as folder:
        (folder / "model.safetensors").write_text("half")
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)]
)
def test_a_stopped_export_leaves_what_was_there_before(
    number: int, error: type[Exception], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for words in ("nothing of it is left", "as it was before"):
        with pytest.raises(error, match=words):
            stopped(out, number)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert [path.name for path in tmp_path.iterdir()] == (["out"] if out.exists() else [])
        out.mkdir(exist_ok=True)
        (out / "model.safetensors").write_text("older")
    assert (out / "model.safetensors").read_text() == "older"


def test_what_a_kill_left_is_hidden_and_removed_by_the_next_export(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with staged_export(tmp_path / "out") as folder:
            (folder / "model.safetensors").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.partial-")
    with staged_export(tmp_path / "out") as folder:
        (folder / "model.safetensors").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_or_after_the_writing_says_what_is_there(number: int, tmp_path: Path) -> None:
    def stop(out: Path | None) -> None:
        with told_what_is_left(out):
            if out is not None and out.name == "written":
                with staged_export(out) as folder:
                    (folder / "model.safetensors").write_text("whole")
            os.kill(os.getpid(), number)

    def said(out: Path | None) -> str:
        with pytest.raises((Interrupted, Terminated)) as caught:
            stop(out)
        assert caught.value.hint == "the same command begins anew"
        return caught.value.message.partition("; ")[2]

    (tmp_path / "there").mkdir()
    assert said(None) == "nothing was written"
    assert said(tmp_path / "none") == f"nothing of it is left at {tmp_path / 'none'}"
    assert said(tmp_path / "there") == f"{tmp_path / 'there'} is as it was before"
    assert said(tmp_path / "written") == f"{tmp_path / 'written'} was whole by then"
