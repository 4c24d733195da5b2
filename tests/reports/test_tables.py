"""Tables say value, interval, judge and number; the end of a stage says what came of it."""

from math import nan
from pathlib import Path
from typing import Any

import pytest
from tests.reports.run_files import HOSTILE, finish_stage, make_run, write_training

from zephyrctl.cli.runs_views import show_lines
from zephyrctl.reports.account import account_lines, read_account
from zephyrctl.reports.closing import closing_lines, next_command
from zephyrctl.reports.tables import (
    aligned,
    comparison_lines,
    difference_words,
    interval_words,
    results_lines,
    side_words,
    value_words,
)
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.score_files import Category, ScoreFile
from zephyrctl.runs.store import Run
from zephyrctl.runs.summary import summarize
from zephyrctl.runs.verdict import Check, to_metric


def test_results_stand_with_their_interval_and_differences(full_run: Run) -> None:
    assert results_lines(summarize(full_run)) == [
        "rules · checked by code",
        "  model  pass rate  95 % interval  refusals  hedges   n",
        "  base      30.0 %   [23.0, 37.0]    20.0 %   0.0 %  10",
        "  sft       60.0 %   [53.0, 67.0]    10.0 %   0.0 %  10",
        "  dpo       90.0 %   [83.0, 97.0]     0.0 %   0.0 %  10",
        "  sft − base  +30.0 points   [-1.0, +40.0]  not told apart from 0",
        "  dpo − base  +60.0 points  [+45.0, +72.0]  above 0",
    ]


def test_a_judged_score_names_its_judge_and_a_missing_one_is_a_dash() -> None:
    scores = [
        {"benchmark": "mt-bench", "model": model, "judge": "gpt-4\x1b[2J", "metric": metric,
         "value": 6.2375, "low": 5.93, "high": 6.55, "n": 160}
        for model, metric in (("sft", "overall"), ("dpo", "overall"), ("dpo", "turn_1"))
    ]  # fmt: skip
    lines = results_lines({"scores": scores, "comparisons": []})
    assert lines[0] == "mt-bench · judge gpt-4"
    assert lines[2].split() == ["sft", "6.24", "[5.93,", "6.55]", "160"]
    assert lines[3].split() == ["dpo", "6.24", "[5.93,", "6.55]", "160"]
    assert lines[4].split() == ["sft", "dpo"]
    assert lines[5].split() == ["turn", "1", "–", "6.24", "[5.93,", "6.55]"]


def test_a_judged_block_goes_on_with_categories_and_with_what_stands_behind_the_scores() -> None:
    score = {"benchmark": "mt-bench", "model": "dpo", "judge": "gpt-4", "metric": "average",
             "value": 7.1, "low": 6.8, "high": 7.4, "n": 160}  # fmt: skip
    file = ScoreFile(
        "mt-bench", "dpo", "gpt-4", None,
        categories=(Category("math", 4.0, 3.0, 5.0, 20), Category("stem", 9.0, nan, nan, 1)),
        facts=(("n", 160), ("coverage", 0.99375), ("references", "corrected")),
        judge_card=("agreement 85 %\x1b[2J",),
    )  # fmt: skip
    lines = results_lines({"scores": [score], "comparisons": []}, [file])
    assert lines[3:] == [
        "                      dpo",
        "  math  4.00 [3.00, 5.00]",
        "  stem             9.00 –",
        "  dpo: n 160, coverage 99.4 %, references corrected",
        "  agreement 85 %",
    ]


def test_columns_and_facts_stand_in_the_order_of_the_table_and_stale_scores_are_marked() -> None:
    scores = [
        {"benchmark": "mt-bench", "model": model, "judge": "j", "metric": "average",
         "value": 7.0, "low": 6.0, "high": 8.0, "n": 2} for model in ("sft", "dpo")
    ]  # fmt: skip
    category = tuple(Category(name, 7.0, 6.0, 8.0, 1) for name in ("math", "stem"))
    files = [
        ScoreFile("mt-bench", "dpo", "j", None, categories=category, facts=(("n", 2),)),
        ScoreFile(
            "mt-bench", "sft", "j", None, categories=category, facts=(("n", 2),), stale="sft: old"
        ),
    ]
    lines = results_lines({"scores": scores, "comparisons": []}, files)
    assert lines[4].split() == ["sft", "dpo"]
    assert [line.split()[0] for line in lines[5:7]] == ["math", "stem"]
    assert lines[7:] == ["  sft: n 2", "  dpo: n 2", "  ! sft: old"]


def test_a_comparison_stands_below_the_scores_of_its_own_judge_only() -> None:
    scores = [
        {"benchmark": "mt-bench", "model": model, "judge": judge, "metric": "average",
         "value": 7.0, "low": 6.0, "high": 8.0, "n": 2}
        for judge in ("one", "two") for model in ("sft", "dpo")
    ]  # fmt: skip
    compared = {**COUNTED, "benchmark": "mt-bench", "a": "sft", "b": "dpo", "judge": "two"}
    lines = results_lines({"scores": scores, "comparisons": [compared]})
    heads = [line for line in lines if "judge" in line]
    assert len(heads) == 2
    differences = [at for at, line in enumerate(lines) if "dpo − sft" in line]
    assert len(differences) == 1
    assert differences[0] > lines.index(heads[1])


def test_a_stale_score_that_code_gave_is_marked_too() -> None:
    score = {"benchmark": "rules", "model": "sft", "judge": None, "metric": "pass_rate",
             "value": 0.5, "low": 0.4, "high": 0.6, "n": 2}  # fmt: skip
    file = ScoreFile("rules", "sft", None, None, facts=(("n", 2),), stale="sft: old")
    lines = results_lines({"scores": [score], "comparisons": []}, [file])
    assert lines[3:] == ["  ! sft: old"]


def test_pairs_stand_in_lines_of_their_own_with_their_intervals() -> None:
    def score(model: str, metric: str, value: float) -> dict[str, Any]:
        return {"benchmark": "mt-bench", "model": model, "judge": "j", "metric": metric,
                "value": value, "low": value - 0.1, "high": value + 0.1, "n": 2}  # fmt: skip

    alone = [score("sft", "average", 6.0), score("dpo", "average", 7.0)]
    pairs = [score("dpo", "win_rate_vs_sft", 0.6), score("dpo", "win_rate_vs_base", 0.8)]
    words = [
        "  dpo against sft: win rate 60.0 % [50.0, 70.0], n 2",
        "  dpo against base: win rate 80.0 % [70.0, 90.0], n 2",
    ]
    both = results_lines({"scores": [*alone, *pairs], "comparisons": []})
    assert both[1].split() == ["model", "average", "95", "%", "interval", "n"]
    assert both[4:] == words
    assert results_lines({"scores": pairs, "comparisons": []})[1:] == words


def test_no_scores_no_table() -> None:
    assert results_lines({"scores": [], "comparisons": []}) == []


@pytest.mark.parametrize(
    ("value", "metric", "benchmark", "words"),
    [
        (0.635, "pass_rate", "rules", "63.5 %"),
        (12.88, "length_controlled_winrate", "alpaca-eval", "12.9 %"),
        (6.24, "overall", "mt-bench", "6.24"),
        (287, "avg_length", "alpaca-eval", "287"),
        (None, "pass_rate", "rules", "–"),
        (54.25, "win_rate_vs_sft", "alpaca-eval", "54.2 %"),
        (0.5425, "win_rate_vs_sft", "mt-bench", "54.2 %"),
        (0.02, "refusal_rate", "alpaca-eval", "2.0 %"),
    ],
)
def test_values_have_the_unit_of_their_metric(
    value: float | None, metric: str, benchmark: str, words: str
) -> None:
    assert value_words(value, metric=metric, benchmark=benchmark) == words


def test_an_interval_is_written_in_the_places_of_its_value() -> None:
    entry = {"low": 1.4e-17, "high": 0.138}
    assert interval_words(entry, benchmark="rules", metric="pass_rate") == "[0.0, 13.8]"


def test_a_difference_of_nothing_has_no_minus() -> None:
    entry = {"benchmark": "alpaca-eval", "difference": -1e-9, "low": -1e-9, "high": 1e-9}
    assert difference_words(entry) == "+0.0 points"
    shown = interval_words(entry, benchmark="alpaca-eval", signed=True)
    assert shown == "[+0.0, +0.0]"


def test_rates_differ_in_points_and_ratings_in_ratings() -> None:
    assert difference_words({"benchmark": "rules", "difference": 0.225}) == "+22.5 points"
    assert difference_words({"benchmark": "mt-bench", "difference": -0.86}) == "-0.86"
    assert difference_words({"benchmark": "alpaca-eval", "difference": 3.25}) == "+3.2 points"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.1, 0.2, "above 0"), (-0.2, -0.1, "below 0"), (-0.1, 0.2, "not told apart from 0"),
     (0.0, 0.2, "not told apart from 0"), (None, None, "")],
)  # fmt: skip
def test_a_difference_says_on_which_side_of_zero_it_is(
    low: float | None, high: float | None, words: str
) -> None:
    assert side_words({"low": low, "high": high}) == words


def test_columns_line_up() -> None:
    assert aligned([["a", "1"], ["bb", "22"]]) == ["a    1", "bb  22"]
    assert aligned([]) == []


def test_the_account_counts_every_row_and_says_what_was_not_checked(full_run: Run) -> None:
    lines = account_lines(read_account(full_run.root / "data" / "account.json"))
    assert lines == [
        "sft  448 kept  of 512  (420 train, 28 test)  removed: 40 refusal, 24 duplicate",
        "dpo  300 kept  of 300  (280 train, 20 test)",
        "sft: 12 case restored, 7 cut to their length limit",
        "! NOT CHECKED against mt-bench: eval.data_dir is not set",
    ]


def test_a_missing_or_torn_account_is_no_account(tmp_path: Path) -> None:
    assert read_account(tmp_path / "account.json") is None
    (tmp_path / "account.json").write_text('{"sft": {"rows')
    assert read_account(tmp_path / "account.json") is None


def test_dpo_ends_with_start_end_best_and_drift(full_run: Run) -> None:
    lines = closing_lines(full_run, "dpo")
    assert lines[0].startswith("✓ dpo finished in 1:02 ")
    table = {line.split("  ")[1].strip(): line.split() for line in lines if line.startswith("  ")}
    assert table["loss"][1:] == ["0.693", "0.493", "0.493", "@60"]
    assert table["accuracy"][1:] == ["0.50", "0.80", "0.80", "@60"]
    assert table["chosen logp"][2:] == ["-262.1", "-282.1"]
    assert "  drift of the chosen logp -20.0 nats (on data, not KL)" in lines
    assert any(line.startswith("! chosen log-probs fell") for line in lines)
    assert "  learning rate up to 4.93e-07" in lines


def test_one_evaluation_at_the_end_shows_training_and_that_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo")
    write_training(run, "sft", steps=10)
    finish_stage(run, "sft")
    lines = closing_lines(run, "sft")
    assert lines[1].split() == ["training", "start", "end", "best"]
    assert any(line.strip().startswith("held out at step 0: loss ") for line in lines)


def test_the_verdict_of_a_stage_stands_under_its_numbers(tmp_path: Path) -> None:
    checks = [
        Check("loss falls", "pass", value=0.5, band="below 2"),
        Check("reward accuracy", "warn", "too good", 0.99, "0.5 to 0.97"),
        Check("weights move", "fail", "nothing is trained", 0.0, "above 90 %"),
        Check("number of steps", "not checked", "no published run"),
    ]
    run = make_run(tmp_path / "demo")
    write_training(run, "dpo", steps=10)
    finish_stage(run, "dpo", metrics={"canaries": to_metric(checks)})
    told = [line.strip() for line in closing_lines(run, "dpo")]
    start = told.index("canaries: 1 passed, 1 to look at, 1 failed, 1 not checked")
    assert told[start + 1 : start + 4] == [
        "! reward accuracy 0.99 (expected 0.5 to 0.97)",
        "FAILED weights move 0 (expected above 90 %)",
        "not checked: number of steps (no published run)",
    ]
    shown = "\n".join(show_lines(run, samples=False))
    assert "1 to look at" in shown
    assert to_metric(checks)["state"] == "fail"


def test_a_stage_of_an_older_version_has_no_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo")
    write_training(run, "dpo", steps=10)
    finish_stage(run, "dpo")
    assert not any("canaries" in line for line in closing_lines(run, "dpo"))


def test_an_unfinished_stage_has_no_summary(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo")
    assert closing_lines(run, "sft") == []
    finish_stage(run, "sft", state="failed")
    assert closing_lines(run, "sft") == []


def test_notices_of_foreign_origin_are_cleaned(full_run: Run) -> None:
    line = next(line for line in closing_lines(full_run, "data") if "NOT CHECKED </" in line)
    assert HOSTILE.partition("\x1b")[0].rstrip() in line
    assert "\x1b" not in line


def test_every_stage_names_the_command_that_comes_next(full_run: Run) -> None:
    root = full_run.root
    assert next_command(full_run, "data") == f"zephyrctl sft -c {root}/config.yaml"
    assert next_command(full_run, "sft") == f"zephyrctl dpo -c {root}/config.yaml"
    assert next_command(full_run, "dpo").startswith(f"zephyrctl chat {root}/dpo")
    assert next_command(full_run, "eval").endswith(f"zephyrctl report {root}")


def test_notices_carry_their_level(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo")
    write_training(run, "sft", steps=10)
    reporter = Reporter(run.stage("sft").path, rank=0)
    reporter.notice("read as messages")
    reporter.notice("answers repeat", level="warning")
    finish_stage(run, "sft", notices=["read as messages", "answers repeat"])
    assert closing_lines(run, "sft")[-3:-1] == ["note: read as messages", "! answers repeat"]


COUNTED = {
    "benchmark": "mt-bench", "a": "sft", "b": "dpo", "metric": "average", "difference": 0.86,
    "low": 0.55, "high": 1.18, "n": 80, "p_better": 0.994, "wins": 51, "ties": 9, "losses": 20,
    "n_repeats": 1, "repeats_needed": 1, "repeats_are_a_bound": False, "questions_needed": 80,
}  # fmt: skip


def test_a_counted_comparison_says_how_often_b_is_better() -> None:
    (line,) = comparison_lines([COUNTED], benchmark="mt-bench")
    assert line == "  dpo − sft  +0.86  [+0.55, +1.18]  P(better) 0.99  win/tie/loss 51/9/20"


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        ({"repeats_needed": 4, "repeats_are_a_bound": True},
         "needs 4 or more repeats (1 now), or about 1,310 questions like these (80 now)"),
        ({"repeats_needed": 7, "n_repeats": 3},
         "needs about 7 repeats (3 now), or 1,310 questions like these (80 now)"),
        ({"repeats_needed": None, "n_repeats": 3},
         "no number of repeats would do; needs about 1,310 questions like these (80 now)"),
        ({"repeats_needed": None, "n_repeats": 3, "questions_needed": 500_000},
         "no number of repeats or questions that can be had would do it"),
    ],
)  # fmt: skip
def test_a_difference_that_is_not_told_apart_says_what_would_tell(
    needed: dict[str, Any], words: str
) -> None:
    entry = {**COUNTED, "difference": 0.1, "low": -0.3, "questions_needed": 1310, **needed}
    _, line = comparison_lines([entry], benchmark="mt-bench")
    assert line.strip().startswith("not told apart: ")
    assert line.endswith(words)


def test_differences_of_win_rates_are_points() -> None:
    entry = {**COUNTED, "metric": "win_rate_vs_base", "difference": 0.1, "low": 0.05, "high": 0.15}
    assert "+10.0 points  [+5.0, +15.0]" in comparison_lines([entry], benchmark="mt-bench")[0]
