"""The timing of checkpoints: a small one, whole."""

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_save_is_timed_in_its_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import checkpoint_save

    code = checkpoint_save.main(
        ["--gb", "0.004", "--repeat", "1", "--folder", str(tmp_path), "--json"]
    )

    found = json.loads(capsys.readouterr().out)
    assert found["bytes"] == pytest.approx(4e6, rel=0.01)
    assert found["save_s"] == pytest.approx(found["write_s"] + found["commit_s"], abs=1e-3)
    assert 0 < found["verify_s"] < found["save_s"]
    assert found["verify_share"] == pytest.approx(found["verify_s"] / found["save_s"], abs=1e-2)
    assert code == int(found["verify_share"] > found["promise"])
    assert list(tmp_path.iterdir()) == []
