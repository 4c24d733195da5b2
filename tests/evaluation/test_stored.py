"""Which stored scores compare, and what is said of those that do not."""

from pathlib import Path

import pytest
from tests.evaluation.scored_runs import add_scores, make_run

from zephyrctl.errors import UsageError
from zephyrctl.evaluation.stored import Side, compare_stored, pairs_of, side_of, sides_of
from zephyrctl.runs.store import Run

WORSE = {number: 4.0 + number % 3 for number in range(20)}
BETTER = {number: value + 1 + number % 2 for number, value in WORSE.items()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(root: Path) -> Run:
    made = make_run(root, "one")
    add_scores(made, "sft", WORSE)
    add_scores(made, "dpo", BETTER)
    return made


def test_two_models_of_a_run_are_compared_question_by_question(run: Run) -> None:
    (pair,) = pairs_of(Side(run, "sft"), Side(run, "dpo"))
    assert pair.reason is None
    found = compare_stored(pair, replicates=500, seed=0)
    assert (found.a, found.b, found.metric, found.judge) == ("sft", "dpo", "average", "gpt-4o")
    assert found.difference == pytest.approx(1.5)
    assert (found.n, found.wins, found.losses) == (20, 20, 0)
    assert found.categories["math"]["difference"] == pytest.approx(2)
    assert found.categories["writing"]["difference"] == pytest.approx(1)
    (back,) = pairs_of(Side(run, "dpo"), Side(run, "sft"))
    assert compare_stored(back, replicates=500, seed=0).difference == pytest.approx(-1.5)


def test_two_runs_are_compared_model_by_model(root: Path, run: Run) -> None:
    other = make_run(root, "two")
    add_scores(other, "dpo", WORSE)
    add_scores(other, "only-here", WORSE)
    (pair,) = pairs_of(Side(run, None), Side(other, None))
    found = compare_stored(pair, replicates=500, seed=0)
    assert (found.a, found.b) == ("one:dpo", "two:dpo")
    assert found.difference == pytest.approx(-1.5)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"digest": "d2", "references": "original"}, "references corrected and original"),
        ({"digest": "d2", "references": "corrected", "questions": 9}, "questions 20 and 9"),
        ({"digest": "d2", "references": "corrected"}, "the question files or the judge's settings"),
        ({"metric": "win_rate"}, "the metrics differ: average and win_rate"),
    ],
)  # fmt: skip
def test_what_was_had_otherwise_does_not_compare(
    root: Path, details: dict[str, str], reason: str
) -> None:
    run = make_run(root, "one")
    add_scores(run, "sft", WORSE, references="corrected", questions=20)
    add_scores(run, "dpo", BETTER, **{"questions": 20, **details})  # type: ignore[arg-type]
    (pair,) = pairs_of(Side(run, "sft"), Side(run, "dpo"))
    assert pair.reason is not None
    assert reason in pair.reason


def test_other_judges_do_not_compare_and_both_are_named(root: Path) -> None:
    run = make_run(root, "one")
    add_scores(run, "sft", WORSE, judge="gpt-4")
    add_scores(run, "dpo", BETTER, judge="claude")
    (pair,) = pairs_of(Side(run, "sft"), Side(run, "dpo"))
    assert pair.reason == "the judges differ: gpt-4 and claude"
    # Once one judge rated both, only that one is compared.
    add_scores(run, "sft", WORSE, judge="claude")
    (pair,) = pairs_of(Side(run, "sft"), Side(run, "dpo"))
    assert (pair.reason, pair.a.folder.name) == (None, "claude")


def test_win_rates_compare_against_one_opponent_only(root: Path, run: Run) -> None:
    add_scores(run, "sft", {1: 0.5, 2: 1.0}, opponent="base", metric="win_rate_vs_base")
    add_scores(run, "dpo", {1: 1.0, 2: 1.0}, opponent="base", metric="win_rate_vs_base")
    add_scores(run, "dpo", {1: 1.0, 2: 1.0}, opponent="sft", metric="win_rate_vs_sft")
    pairs = pairs_of(Side(run, "sft"), Side(run, "dpo"))
    assert [pair.a.match.opponent for pair in pairs] == [None, "base"]


def test_scores_of_an_earlier_version_are_to_be_had_again(run: Run) -> None:
    folder = add_scores(run, "base", WORSE)
    (folder / "by_question.jsonl").unlink()
    (pair,) = pairs_of(Side(run, "base"), Side(run, "dpo"))
    assert "score it again" in str(pair.reason)


def test_repeats_are_read_back(run: Run) -> None:
    folder = add_scores(run, "base", {1: 5.0, 2: 6.0})
    (folder / "by_question.jsonl").write_text(
        '{"question_id": 1, "category": "", "value": 5.0, "repeats": [4.0, 6.0]}\n'
        '{"question_id": 2, "category": "", "value": 6.0, "repeats": [6.0, 6.0]}\n'
    )
    (pair,) = pairs_of(Side(run, "base"), Side(run, "dpo"))
    found = compare_stored(pair, replicates=100, seed=0)
    assert (found.n, found.n_repeats) == (2, 1)  # of the other model there is one


@pytest.mark.parametrize(
    ("ref", "model"),
    [("one", None), ("one:dpo", "dpo"), ("@last", None), ("@last:sft", "sft"), ("dpo", "dpo"),
     ("one/dpo", "dpo"), ("one/sft/", "sft")],
)  # fmt: skip
def test_sides_are_named_in_many_ways(ref: str, model: str | None, run: Run, root: Path) -> None:
    found = side_of(ref, output_root=root)
    assert (found.run.root, found.model) == (run.root, model)


def test_a_path_with_a_model_is_a_side(run: Run, root: Path) -> None:
    found = side_of(f"{run.root}:dpo", output_root=root)
    assert (found.run.root, found.model) == (run.root, "dpo")


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("one", "one", "not compared with itself"),
        ("one:dpo", "dpo", "are the same model"),
        ("one:dqo", "one:sft", "did you mean 'dpo'"),
        ("two", "one", "no run 'two'"),
        ("one", "other", "have no model of one name"),
    ],
)
def test_what_cannot_be_compared_says_why(
    a: str, b: str, message: str, run: Run, root: Path
) -> None:
    other = make_run(root, "other")
    add_scores(other, "elsewhere", WORSE)
    add_scores(run, "dpo", BETTER)  # the last run is `one`
    with pytest.raises(UsageError, match=message):
        pairs_of(*sides_of(a, b, output_root=root))


def test_a_judge_or_benchmark_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(UsageError, match="judged nothing"):
        pairs_of(Side(run, "sft"), Side(run, "dpo"), judge="gpt-4")
    with pytest.raises(UsageError, match="did you mean 'mt-bench'"):
        pairs_of(Side(run, "sft"), Side(run, "dpo"), benchmark="mtbench")
