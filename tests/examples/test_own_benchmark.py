"""The example of an own benchmark: its files hold, and its commands give what its README says."""

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.examples.commands import run

from zephyrctl.cli.doctor_judge import check
from zephyrctl.config import layers
from zephyrctl.evaluation.own.questions import read_questions
from zephyrctl.evaluation.own.rubric import read_rubric, require_usable
from zephyrctl.evaluation.rules import read_questions as read_rules

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own-benchmark"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in README.splitlines() if line.startswith("zephyrctl ")]
QUESTIONS = read_questions(EXAMPLE / "questions.jsonl")
BASE, RUN = "base", "runs/own-benchmark"
LOCAL = "openai+http://localhost:8000/v1:MODEL"


def test_the_readme_counts_questions_turns_references_and_categories() -> None:
    turns = sum(len(question.turns) for question in QUESTIONS)
    referenced = sum(bool(question.references) for question in QUESTIONS)
    counted = f"{len(QUESTIONS)} questions with {turns} turns, {referenced} with references"
    assert f"| `questions.jsonl` | {counted}, in the categories" in README
    assert list(Counter(question.category for question in QUESTIONS)) == [
        "price", "time", "form", "advice",
    ]  # fmt: skip
    shown = next(line for line in README.splitlines() if line.startswith('{"question_id"'))
    assert shown in (EXAMPLE / "questions.jsonl").read_text(encoding="utf-8").splitlines()


def test_the_same_file_is_checked_by_code_turn_by_turn() -> None:
    checked = read_rules(EXAMPLE / "questions.jsonl")
    assert [question.turns for question in checked] == [question.turns for question in QUESTIONS]
    assert all(len(each.checks) == len(each.turns) and all(each.checks) for each in checked)


def test_the_rubric_speaks_of_the_category_the_reference_and_the_turns_before() -> None:
    rubric = read_rubric(EXAMPLE / "rubric.jinja")
    require_usable(rubric, QUESTIONS, in_brackets=True)
    by_id = {question.question_id: question for question in QUESTIONS}
    price = rubric.render(by_id[2], ["40 euros.", "An hour."])
    assert "Customer: How much is a new saddle?\nCounter: 40 euros.\nCustomer: How long" in price
    assert "The workshop's own list says: About 10 minutes." in price
    assert "wrong or missing number" in price
    advice = rubric.render(by_id[16], ["Yes."])
    assert "list says" not in advice
    assert "hurt the rider" in advice
    assert "another form" in rubric.render(by_id[10], ["60"])


def test_nothing_stands_in_the_way_of_the_recipe() -> None:
    recipe = layers.load(config=EXAMPLE / "recipe.yaml", env={}, cwd=EXAMPLE).recipe
    assert recipe.eval.benchmarks == ["rules", "own"]
    assert recipe.eval.own.questions == recipe.eval.rules.questions
    assert {finding.state for finding in check(recipe)} == {"ok"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that sees the examples as a clone does."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


@pytest.mark.e2e
def test_the_base_model_scores_what_the_readme_says(folder: Path) -> None:
    # Both benchmarks at once, and judged answers cut short, for time: the judge's ratings do not
    # depend on what they say.
    short = ("--set", "eval.models=[base]", "--set", "eval.own.max_new_tokens=8")
    config = ("-c", "examples/own-benchmark/recipe.yaml")
    done = run(folder, "run", *config, "--from", "eval", "--until", "eval", *short)
    judged, ruled = scores(done, "own-questions"), scores(done, "rules")
    assert judged["average"]["n"] == 22
    assert judged["average"]["value"] == pytest.approx(told_of_base("judge `local:tiny`"), abs=0.5)
    [recorded] = [word for words in COMMANDS for word in words if word.startswith("replay:")]
    judgments = folder / recorded.removeprefix("replay:").replace("/sft/", f"/{BASE}/")
    assert judgments.read_bytes().count(b"\n") == 22
    assert ruled["pass_rate"]["value"] == told_of_base("checked by code") == 0
    assert ruled["stopped_rate"]["value"] == told_of_base("answers that") == 0
    # Random weights may write other tokens on another processor.
    assert ruled["mean_words"]["value"] == pytest.approx(told_of_base("mean words"), abs=1)

    shown = command("eval", "show", RUN, "--benchmark", "own-questions")
    shown = run(folder, *shown[: shown.index("--model")], "--model", BASE)
    assert len(shown["rows"]) == 10


@pytest.mark.e2e
def test_the_commands_can_be_given_with_this_judge_and_with_others(folder: Path) -> None:
    assert run(folder, *command("eval", "rules"), BASE, "--dry-run")["steps"]
    [served] = [
        each[1:] for each in COMMANDS if LOCAL in each and "eval.judge.scoring=text" in each
    ]
    assert run(folder, *served, BASE, "--dry-run")["judge"]["usd"] == 0
    [hosted] = [each[1:] for each in COMMANDS if "openai:MODEL" in each]
    assert {*hosted} - {*served} == {"openai:MODEL", "--max-cost", "1"}
    rated = [each[1:] for each in COMMANDS if each[1:3] == ["eval", "mt-bench"]]
    assert len(rated) == 4
    assert all(set(rated[0]) <= set(each) for each in rated)


def command(*words: str) -> list[str]:
    """The README's only command that begins with these words, without `zephyrctl`."""
    [found] = [each[1:] for each in COMMANDS if tuple(each[1 : len(words) + 1]) == words]
    return found


def told_of_base(row: str) -> float:
    """What the table of the README says of `base`."""
    line = next(line for line in README.splitlines() if line.startswith(f"| {row}"))
    return float(re.findall(r"[\d.]+", line.split("|")[2])[0])


def scores(summary: dict[str, Any], benchmark: str) -> dict[str, dict[str, Any]]:
    """The scores of one benchmark in a command's JSON, by their metric."""
    return {row["metric"]: row for row in summary["scores"] if row["benchmark"] == benchmark}
