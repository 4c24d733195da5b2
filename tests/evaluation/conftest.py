"""Where the public evaluation files lie, for the tests that compare with published figures."""

import os
from pathlib import Path

import pytest

BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[3] / "shared" / "data"


def _folder(name: str, title: str) -> Path:
    folder = Path(os.environ.get("ZEPHYRCTL_TEST_DATA", BESIDE_THE_REPOSITORY)) / name
    if not folder.is_dir():
        pytest.skip(f"{title}'s public files are not at {folder}; set ZEPHYRCTL_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def mt_bench_dir() -> Path:
    """MT-Bench's questions, prompts, answers and judgments; they are not part of this package."""
    return _folder("mt_bench", "MT-Bench")


@pytest.fixture(scope="session")
def alpaca_eval_dir() -> Path:
    """AlpacaEval's instructions, annotations and prompts; they are not part of this package."""
    return _folder("alpaca_eval", "AlpacaEval")
