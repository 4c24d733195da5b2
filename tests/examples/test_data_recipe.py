"""The example of the data recipe gives the numbers that its README tells."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.examples.commands import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "data-recipe"
FILES = ("ultrachat.jsonl", "ultrafeedback.jsonl", "pairs.jsonl", "questions.jsonl")


def data(folder: Path, *words: str) -> dict[str, Any]:
    """One `zephyrctl data` command on the example; its JSON."""
    return run(folder, "data", *words, "-c", str(EXAMPLE / "recipe.yaml"))


def table_of_readme(*, heading: str) -> dict[str, list[str]]:
    """The first table that begins with `heading`: first cell → the others."""
    lines = (EXAMPLE / "README.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows: dict[str, list[str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        rows[first] = others
    return rows


def without_path(reason: str) -> str:
    """`contains a judged prompt (…/questions.jsonl)` depends on where the clone lies."""
    return re.sub(r" \(\S*\.jsonl\)", "", reason)


def counts(part: dict[str, Any]) -> dict[str, int]:
    """The account of a stage with the labels of the README."""
    found = {"in": part["rows_in"]}
    found |= {f"removed: {without_path(why)}": rows for why, rows in part["removed"].items()}
    found |= {f"kept: {split}": rows for split, rows in part["rows_out"].items()}
    return found | {f"repaired: {what}": rows for what, rows in part["repaired"].items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example is prepared."""
    folder = tmp_path_factory.mktemp("example")
    assert data(folder, "prepare")["stages"]["data"]["state"] == "finished"
    return folder


@pytest.mark.e2e
def test_the_readme_tells_what_became_of_every_row(folder: Path) -> None:
    account = data(folder, "stats")
    told = table_of_readme(heading="rows")
    for at, stage in enumerate(("sft", "dpo")):
        expected = {label: int(cells[at]) for label, cells in told.items() if cells[at] != "0"}
        assert counts(account[stage]) == expected
    assert [item["status"] for item in account["decontamination"]] == ["checked", "NOT CHECKED"]
    bias = account["dpo"]["length_bias"]
    text = " ".join((EXAMPLE / "README.md").read_text(encoding="utf-8").split())
    longer, mean = bias["chosen_longer"], bias["mean_difference"]
    assert f"in {longer:.0%} of the pairs, by {mean:.1f}".replace("%", " %") in text


@pytest.mark.e2e
@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_every_check_of_a_row_passes(folder: Path, stage: str) -> None:
    seen = data(folder, "inspect", "--stage", stage, "--index", "5")
    assert seen["passed"], seen["checks"]
    assert (seen["stage"], seen["split"], seen["index"]) == (stage, "train", 5)


def test_the_generator_writes_the_committed_bytes(tmp_path: Path) -> None:
    script = [sys.executable, str(EXAMPLE / "generate.py"), "--out", str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True, timeout=60)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (EXAMPLE / name).read_bytes(), name


def test_the_readme_counts_the_files_rows() -> None:
    told = table_of_readme(heading="file")
    for name in FILES:
        rows = (EXAMPLE / name).read_bytes().count(b"\n")
        assert told[f"`{name}`"][-1] == str(rows)
