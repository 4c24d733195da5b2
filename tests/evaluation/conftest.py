"""Where the public evaluation files lie, for the tests that compare with published figures."""

import os
from pathlib import Path

import pytest

BESIDE_THE_REPOSITORY = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def mt_bench_dir() -> Path:
    """MT-Bench's questions, prompts, answers and judgments; they are not part of this package."""
    folder = Path(os.environ.get("ZEPHYRCTL_TEST_DATA", BESIDE_THE_REPOSITORY)) / "mt_bench"
    if not folder.is_dir():
        pytest.skip(f"MT-Bench's public files are not at {folder}; set ZEPHYRCTL_TEST_DATA")
    return folder
