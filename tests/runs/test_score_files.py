"""What stands beside the scores is read from each score file, and a torn one is left out."""

import json
import math
import os
from pathlib import Path

from zephyrctl.runs.score_files import read_score_files
from zephyrctl.runs.store import Run


def write(run: Run, place: str, **record: object) -> None:
    path = run.root / "eval" / place / "scores.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_categories_facts_and_the_judges_card_are_read(tmp_path: Path) -> None:
    run = Run(tmp_path)
    score = {"benchmark": "mt-bench", "model": "dpo", "judge": "gpt-4", "metric": "average"}
    write(
        run,
        "mt-bench/dpo/gpt-4",
        scores=[{**score, "value": 7.1}, {**score, "metric": "mean_words", "value": 212.0}],
        categories={"math": {"value": 4.0, "low": 3.0, "high": 5.0, "n": 20},
                    "stem": {"value": 9.0, "low": None, "high": None, "n": 1}},
        unparsed=3, coverage=0.98, references="corrected",
        about={"template_sha256": "ab" * 32, "opponent": "sft"},
        judge_card={"lines": ["85 % agreement"]}, notices=["cut"],
    )  # fmt: skip
    (file,) = read_score_files(run)
    assert (file.benchmark, file.model, file.judge, file.opponent) == (
        "mt-bench", "dpo", "gpt-4", "sft",
    )  # fmt: skip
    math_, stem = file.categories
    assert (math_.name, math_.value, math_.low, math_.high, math_.n) == ("math", 4.0, 3.0, 5.0, 20)
    assert math.isnan(stem.low)
    facts = dict(file.facts)
    assert facts["coverage"] == 0.98
    assert facts["mean words"] == 212.0
    assert facts["template"] == "abababab"
    assert file.judge_card == ("85 % agreement",)


def test_categories_under_their_own_metric_are_read_too(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(
        run,
        "rules/sft/code",
        scores=[{"benchmark": "rules", "model": "sft", "judge": None, "metric": "pass_rate"}],
        categories={"capitals": {"pass_rate": 0.5, "n": 10}},
    )
    (file,) = read_score_files(run)
    assert file.categories[0].value == 0.5
    assert dict(file.facts) == {"template": "unknown"}


def test_the_template_of_imported_answers_is_unknown(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, "mt-bench/m/j", scores=[], about={"imported": {}, "template_sha256": None})
    (file,) = read_score_files(run)
    assert dict(file.facts) == {"template": "unknown"}


def test_an_endpoint_applies_its_own_template(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, "rules/far/code", scores=[], about={"template_sha256": None})
    (file,) = read_score_files(run)
    assert dict(file.facts) == {"template": "the endpoint's own"}


def test_a_torn_file_is_left_out_and_one_without_scores_keeps_its_place(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, "mt-bench/dpo/j", scores=[], coverage=0.3)
    torn = run.root / "eval" / "mt-bench" / "sft" / "j" / "scores.json"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"scores": [')
    (file,) = read_score_files(run)
    assert (file.benchmark, file.model) == ("mt-bench", "dpo")


def test_a_score_of_other_questions_or_other_answers_says_so(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def scored(place: str, model: str, at: int, opponent: str | None = None, **about: object):
        score = {"benchmark": "mt-bench", "model": model, "judge": "j", "metric": "average"}
        write(run, place, scores=[{**score, "value": 1}], about={**about, "opponent": opponent})
        os.utime(run.root / "eval" / place / "scores.json", (at, at))

    scored("mt-bench/base/j", "base", 1, benchmark_digest="few", answers={"base": "b"})
    both = {"dpo": "old", "sft": "s"}
    scored("mt-bench/dpo/j/vs-sft", "dpo", 2, "sft", benchmark_digest="all", answers=both)
    scored("mt-bench/sft/j", "sft", 3, benchmark_digest="all", answers={"sft": "s"})
    scored("mt-bench/dpo/j", "dpo", 4, benchmark_digest="all", answers={"dpo": "new"})
    stale = {(file.model, file.opponent): file.stale for file in read_score_files(run)}
    assert stale[("sft", None)] is stale[("dpo", None)] is None
    assert "base: scored earlier on other questions" in str(stale[("base", None)])
    assert stale[("dpo", "sft")] == "dpo against sft: scored earlier on other answers of dpo"
