"""An export that is stopped leaves what was there, and says so; a killed one is cleared away."""

import os
import signal
from pathlib import Path

import pytest

from zephyrctl.errors import Interrupted, Terminated
from zephyrctl.publishing.staging import staged_export


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
