"""Keys that the commands inherit reach no file: neither a run of all stages nor the caches."""

import subprocess
from pathlib import Path

import pytest
from tests.e2e.conftest import CANARY, Shell

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def files_with(word: str, *folders: Path) -> list[str]:
    """The files below `folders` that hold a word, also inside what looks like no text."""
    found = subprocess.run(
        ["grep", "-rlaF", word, *map(str, folders)], capture_output=True, text=True, check=False
    )
    assert found.returncode in (0, 1), found.stderr
    return found.stdout.splitlines()


def test_a_run_of_all_stages_writes_no_key_anywhere(shell: Shell, straight: Path) -> None:
    assert shell.env["OPENAI_API_KEY"] == f"sk-{CANARY}"
    assert (straight / "report.html").is_file()
    assert files_with("tiny", straight)  # the search itself works
    assert files_with(CANARY, shell.folder) == []


def test_no_pickle_is_written_but_the_trainers_own_states(straight: Path) -> None:
    names = {path.name for path in straight.rglob("*") if path.suffix in (".bin", ".pkl", ".pt")}
    assert names <= {"optimizer.pt", "scheduler.pt"}
    assert not list(straight.rglob("training_args.bin"))
    for stage in ("sft", "dpo"):
        model = {path.suffix for path in (straight / stage / "model").iterdir()}
        assert model <= {".json", ".jinja", ".safetensors", ".md", ".model", ".txt"}
