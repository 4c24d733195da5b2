"""The command line run in this process, in an empty folder."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from zephyrctl import terminal
from zephyrctl.cli.app import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("config", "check")` as a user would type it, in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    for name in list(os.environ):
        if re.match(r"ZEPHYRCTL_(?!CACHE|OFFLINE|TEST_)", name):
            monkeypatch.delenv(name)

    def run(*args: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(args))
        terminal.set_color("auto")
        captured = capsys.readouterr()
        code = stopped.value.code
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return run
