"""Three random kills in a whole run, by the script that strikes fifty (benchmarks/chaos.py)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.drills.conftest import Yard

pytestmark = [pytest.mark.e2e, pytest.mark.train, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos.py"
SEED = 39


def test_a_run_killed_at_random_moments_ends_like_a_straight_run(yard: Yard) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--seed", str(SEED), "--jobs", "1", "--json"],
        env=yard.env, capture_output=True, text=True, timeout=880, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == {"kills", "equal", "moments"}
    assert found["kills"] == found["equal"] == len(found["moments"]) == 3
    assert "ORPHANS" not in done.stderr
