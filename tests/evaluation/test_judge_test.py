"""Judges tested on pairs of answers that people voted on."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.voted import write_voted

from zephyrctl.cli.judge_card import card_lines
from zephyrctl.config.layers import load
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError
from zephyrctl.evaluation import judge_test
from zephyrctl.evaluation.judge_card import find_card, judge_room, save_card, summary_lines
from zephyrctl.evaluation.judges.contract import JudgeReply


class Scripted:
    """A judge that decides by a rule on what it is shown."""

    name = "scripted"
    is_deterministic = True

    def __init__(self, rule, notices: tuple[str, ...] = ()) -> None:
        self.identity: dict[str, Any] = {"rule": rule.__name__}
        self.notices = notices
        self.asked = 0
        self._rule = rule

    def decide(self, requests, *, on_reply) -> None:
        for index, request in enumerate(requests):
            self.asked += 1
            on_reply(index, JudgeReply(self._rule(request)))

    def close(self) -> None:
        pass


def longer(request) -> str:
    first, second = request.user.split("|")[1:3]
    return "[[A]]" if len(first) > len(second) else "[[B]]"


def first_shown(request) -> str:
    return "[[A]]"


def silent(request) -> str:
    return "" if request.question_id % 2 else longer(request)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    folder = write_voted(tmp_path / "mt_bench")
    return load(flags={"eval.data_dir": str(folder), "eval.bootstrap": 200}).recipe


def measured(recipe: Recipe, judge: Any, *, pairs: int = 10, seed: int = 0) -> dict[str, Any]:
    exam = judge_test.prepare(recipe, judge, pairs=pairs, seed=seed)
    rows = judge_test.sit(exam, folder=judge_room(judge), on_done=lambda done, total: None)
    return judge_test.card_of(exam, rows, replicates=recipe.eval.bootstrap)


def test_a_judge_is_held_against_people_and_beside_gpt_4(recipe: Recipe):
    card = measured(recipe, Scripted(longer))
    found = card["agreement"]["judge"]
    # Two experts on each of ten pairs: the judge misses question 81 and the tie of 82.
    assert (found["with_ties"]["agree"], found["with_ties"]["total"]) == (16, 20)
    assert (found["without_ties"]["agree"], found["without_ties"]["total"]) == (16, 18)
    assert card["agreement"]["gpt_4"]["with_ties"]["value"] == 0.8
    assert card["agreement"]["people"]["with_ties"] == {
        "agree": 10, "total": 10, "value": 1.0, "low": pytest.approx(0.72, abs=0.01),
        "high": pytest.approx(1.0), "n": 10,
    }  # fmt: skip
    assert card["agreement"]["published"]["gpt_4"] == {"with_ties": 0.66, "without_ties": 0.85}
    assert card["votes"] == 20  # the paper's authors are left out
    assert card["order"]["flips"] == 0
    assert card["order"]["first_shown_wins"]["value"] == 0.5
    assert card["length"]["judge"]["value"] == 1.0
    assert card["length"]["people"]["value"] == pytest.approx(16 / 18)


def test_a_judge_that_prefers_a_place_flips_with_the_order(recipe: Recipe):
    card = measured(recipe, Scripted(first_shown))
    assert card["order"]["value"] == 1.0
    assert card["order"]["first_shown_wins"]["value"] == 1.0
    assert card["length"]["judge"]["n"] == 0  # every pair is a tie
    assert card["agreement"]["judge"]["with_ties"]["agree"] == 2


def test_a_judge_without_verdicts_gets_no_agreement(recipe: Recipe):
    card = measured(recipe, Scripted(silent))
    assert card["agreement"]["judge"] is None
    assert card["unparsed"] == 5
    assert card["coverage"] == 0.5
    assert "under 80 %" in card["notices"][0]
    assert card_lines(card)


def test_a_second_test_asks_only_what_is_missing(recipe: Recipe):
    judge = Scripted(longer)
    measured(recipe, judge, pairs=4)
    assert judge.asked == 8
    again = Scripted(longer)
    measured(recipe, again, pairs=10)
    assert again.asked == 12
    done = Scripted(longer)
    measured(recipe, done, pairs=4)
    assert done.asked == 0


def test_a_sample_is_fixed_by_its_seed(recipe: Recipe):
    def items(seed: int):
        return judge_test.prepare(recipe, Scripted(longer), pairs=3, seed=seed).items

    assert items(0) == items(0)
    assert len({tuple(items(seed)) for seed in range(5)}) > 1


def test_pairs_of_equal_answers_are_not_asked_about(recipe: Recipe):
    folder = Path(str(recipe.eval.data_dir)) / "human_judgments"
    rows = (folder / "model_answer_x.jsonl").read_text().splitlines()
    theirs = (folder / "model_answer_y.jsonl").read_text().splitlines()
    (folder / "model_answer_x.jsonl").write_text("\n".join([theirs[0], *rows[1:]]))
    exam = judge_test.prepare(recipe, Scripted(longer), pairs=10, seed=0)
    assert exam.available == 9


def test_votes_without_answers_are_an_error(recipe: Recipe):
    folder = Path(str(recipe.eval.data_dir)) / "human_judgments"
    (folder / "model_answer_y.jsonl").unlink()
    with pytest.raises(DataError, match="no pair of answers that an expert voted on"):
        judge_test.prepare(recipe, Scripted(longer), pairs=10, seed=0)


def test_a_card_is_found_by_the_judges_identity(recipe: Recipe):
    judge, other = Scripted(longer), Scripted(first_shown)
    card = measured(recipe, judge)
    settings = recipe.eval.judge
    assert find_card(judge, settings) is None
    save_card(judge, card)
    found = find_card(judge, settings)
    assert found is not None
    assert max(map(len, found.pop("lines"))) <= 90
    assert found == json.loads(json.dumps(card))
    assert find_card(other, settings) is None
    assert find_card(judge, settings.model_copy(update={"fence": True})) is None


def test_a_card_is_told_in_a_few_lines(recipe: Recipe):
    card = measured(recipe, Scripted(longer))
    first, _, agreement, habits, people = summary_lines(card)
    assert f"on {card['pairs']} pairs" in first
    rate = card["agreement"]["judge"]["without_ties"]["value"]
    assert f"{100 * rate:.0f} %" in agreement
    assert "(GPT-4 85%, people 81%)" in agreement
    assert "the longer answer wins 100 % [" in habits
    assert people.startswith("(by people ")


def test_a_card_fits_eighty_columns(recipe: Recipe):
    card = measured(recipe, Scripted(longer, notices=("a long notice " * 12,)))
    lines = card_lines(card)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "judge scripted" in text
    assert "GPT-4, published" in text
    assert "66 %" in text


def test_the_recorded_verdicts_of_gpt_4_agree_as_gpt_4_does(
    mt_bench_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from zephyrctl.evaluation.judges.open import open_judge

    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    votes = mt_bench_dir / "human_judgments" / "gpt4_pair_turn1.jsonl"
    flags = {"eval.data_dir": str(mt_bench_dir), "eval.judge.spec": f"replay:{votes}"}
    recipe = load(flags={**flags, "eval.bootstrap": 200}).recipe
    judge = open_judge(recipe)
    exam = judge_test.prepare(recipe, judge, pairs=60, seed=3, turn=1)
    rows = judge_test.sit(exam, folder=tmp_path, on_done=lambda done, total: None)
    card = judge_test.card_of(exam, rows, replicates=200)
    assert card["agreement"]["judge"] == card["agreement"]["gpt_4"]
    assert card["order"]["first_shown_wins"] is None
    assert card["coverage"] == 1.0
