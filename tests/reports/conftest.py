"""A finished run for the tests of what is drawn from it."""

from pathlib import Path

import pytest
from tests.reports.run_files import make_full_run

from zephyrctl.runs.store import Run


@pytest.fixture
def full_run(tmp_path: Path) -> Run:
    """A run with all four stages finished."""
    return make_full_run(tmp_path)
