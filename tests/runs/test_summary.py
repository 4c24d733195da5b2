"""The summary has exactly the promised shape."""

import pytest

from zephyrctl.errors import DataError
from zephyrctl.runs import manifest
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run, lock
from zephyrctl.runs.summary import COMPARISON_KEYS, SCORE_KEYS, summarize


def _score(model: str, value: float, **more: object) -> dict[str, object]:
    return {"benchmark": "rules", "model": model, "judge": None, "metric": "pass_rate",
            "value": value, "low": 0.1, "high": 0.9, "n": 20, **more}  # fmt: skip


def _comparison(a: str, b: str, **more: object) -> dict[str, object]:
    return {"benchmark": "rules", "a": a, "b": b, "difference": 0.2, "low": 0.1, "high": 0.3,
            "metric": "pass_rate", "judge": None, **more}  # fmt: skip


def test_a_run_is_summed_up(run: Run) -> None:
    manifest.begin(run.stage("sft"), inputs={}, seed=1, world_size=1)
    manifest.finish(run.stage("sft"), Result({"loss": 1.5}, []))
    scores = run.root / "eval" / "rules"
    write_json(scores / "dpo" / "code" / "scores.json", {"scores": [_score("dpo", 0.8, extra=1)]})
    write_json(scores / "base" / "code" / "scores.json", {"scores": [_score("base", 0.4)]})
    write_json(
        scores / "comparisons.json",
        {"comparisons": [_comparison("base", "dpo"), _comparison("base", "dpo", metric="other")]},
    )
    summary = summarize(run)
    assert list(summary) == ["run", "stages", "scores", "comparisons"]
    assert summary["run"] == "mine"
    assert list(summary["stages"]) == ["sft"]
    assert list(summary["stages"]["sft"]) == ["state", "seconds", "metrics"]
    assert summary["stages"]["sft"]["metrics"] == {"loss": 1.5}
    assert [score["model"] for score in summary["scores"]] == ["base", "dpo"]
    assert [tuple(score) for score in summary["scores"]] == [SCORE_KEYS] * 2
    assert [tuple(entry) for entry in summary["comparisons"]] == [COMPARISON_KEYS]


def test_a_stage_whose_process_is_gone_was_stopped(run: Run) -> None:
    with lock(run, purpose="test"):
        manifest.begin(run.stage("dpo"), inputs={}, seed=1, world_size=1)
        assert summarize(run)["stages"]["dpo"]["state"] == "running"
    assert summarize(run)["stages"]["dpo"]["state"] == "stopped"


def test_a_run_without_anything_is_summed_up_too(run: Run) -> None:
    assert summarize(run) == {"run": "mine", "stages": {}, "scores": [], "comparisons": []}


def test_a_score_without_its_value_is_refused(run: Run) -> None:
    broken = _score("base", 0.5)
    del broken["value"]
    write_json(run.root / "eval" / "rules" / "base" / "code" / "scores.json", {"scores": [broken]})
    with pytest.raises(DataError, match="lacks value"):
        summarize(run)
