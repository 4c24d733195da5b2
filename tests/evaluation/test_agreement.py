"""Agreement of judges with people: the paper's counts, and their parts by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from zephyrctl.errors import DataError
from zephyrctl.evaluation import agreement
from zephyrctl.evaluation.votes import Opinion, read_human_votes, read_verdicts

# arXiv 2306.05685, table 5, first turn: agreeing and all comparisons.
PUBLISHED = {
    "with_ties": (886, 1343),
    "without_ties": (727, 859),
    "human_human_with_ties": (454, 721),
    "human_human_without_ties": (388, 479),
}


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vote(winner: str, *, judge: str = "expert_1", question: int = 81, **other: object):
    names = {"model_a": "x", "model_b": "y"}
    return {"question_id": question, "turn": 1, **names, "winner": winner, "judge": judge, **other}


def opinion(winner, *, question: int = 81, models: tuple[str, str] = ("x", "y")) -> Opinion:
    return Opinion((question, 1, *models), winner, "someone")


def test_the_papers_counts_are_reproduced(mt_bench_dir: Path):
    folder = mt_bench_dir / "human_judgments"
    votes = agreement.of_turn(read_human_votes(folder / "human.jsonl").votes, 1)
    verdicts = read_verdicts(folder / "gpt4_pair_turn1.jsonl")
    judge = agreement.with_people(verdicts.by_item, votes)
    found = agreement.table(judge, agreement.among_people(votes))
    for name, (agree, total) in PUBLISHED.items():
        assert found[name] == {"agree": agree, "total": total}
        parts = [part[name] for part in found["by_category"].values()]
        assert sum(part["agree"] for part in parts) == agree
        assert sum(part["total"] for part in parts) == total
    assert list(found["by_category"]) == [
        "writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities",
    ]  # fmt: skip
    assert found["by_category"]["math"]["without_ties"] == {"agree": 71, "total": 74}
    assert found["by_category"]["writing"]["without_ties"] == {"agree": 87, "total": 120}
    assert sum(not verdict.is_consistent for verdict in verdicts.by_item.values()) == 188


def test_votes_are_read_in_whichever_order_their_models_stand(tmp_path: Path):
    rows = [
        vote("model_a"),
        vote("model_b", model_a="y", model_b="x"),
        vote("tie", judge="author_3"),
        vote("tie", judge=["gpt-4", "pair-v2"]),
    ]
    found = read_human_votes(lines(tmp_path / "human.jsonl", rows))
    assert [one.winner for one in found.votes] == ["model_1", "model_1"]
    assert (found.authors, found.models) == (1, 1)


def test_a_json_list_reads_as_json_lines_do(tmp_path: Path):
    path = tmp_path / "human.json"
    path.write_text(json.dumps([vote("tie"), vote("model_b")]))
    assert [one.winner for one in read_human_votes(path).votes] == ["tie", "model_2"]


@pytest.mark.parametrize(
    ("games", "winner", "is_consistent"),
    [
        (("model_1", "model_1"), "model_1", True),
        (("model_1", "model_2"), "tie", False),
        (("tie", "tie"), "tie", True),
        (("model_2", "tie"), "tie", False),
    ],
)
def test_a_win_needs_both_orders(tmp_path: Path, games, winner, is_consistent):
    row = {"question_id": 81, "turn": 1, "model_1": "x", "model_2": "y", "judge": ["gpt-4", "p"]}
    row |= {"g1_winner": games[0], "g2_winner": games[1]}
    (found,) = read_verdicts(lines(tmp_path / "pair.jsonl", [row])).by_item.values()
    assert (found.winner, found.is_consistent) == (winner, is_consistent)


def test_the_last_verdict_on_a_pair_counts_and_unread_ones_are_counted(tmp_path: Path):
    rows = [
        vote("model_a", judge="gpt4_pair"),
        vote("model_a", judge="gpt4_pair", model_a="y", model_b="x"),
        vote("error", judge="gpt4_pair", question=82),
    ]
    found = read_verdicts(lines(tmp_path / "pair.jsonl", rows))
    assert [one.winner for one in found.by_item.values()] == ["model_2"]
    assert (found.duplicates, found.errors) == (1, 1)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question_id": 1, "winner": "tie", "judge": "expert_1"}, "model_1"),
        (vote("nobody"), "'nobody' is no vote"),
    ],
)
def test_a_broken_vote_names_its_line(tmp_path: Path, row, words):
    path = lines(tmp_path / "human.jsonl", [vote("tie"), row])
    with pytest.raises(DataError, match=words) as caught:
        read_human_votes(path)
    assert caught.value.where == f"{path}:2"


def test_every_two_votes_on_a_pair_are_compared():
    votes = [opinion("model_1"), opinion("model_1"), opinion("tie"), opinion("tie", question=82)]
    found = agreement.among_people(votes)
    assert agreement.counted(found) == {"agree": 1, "total": 3}
    assert agreement.counted(agreement.without_ties(found)) == {"agree": 1, "total": 1}


def test_kappa_is_cohens_over_both_orientations():
    rng = np.random.default_rng(7)
    labels = ("model_1", "model_2", "tie")
    pairs = [
        agreement.Compared(81 + place % 20, labels[rng.integers(3)], labels[rng.integers(3)])
        for place in range(90)
    ]
    pairs += [agreement.Compared(81 + place, "model_1", "model_1") for place in range(20)]
    # The definition, label by label, over every pair and its mirror image.
    swap = {"model_1": "model_2", "model_2": "model_1", "tie": "tie"}
    a = [pair.a for pair in pairs] + [swap[pair.a] for pair in pairs]
    b = [pair.b for pair in pairs] + [swap[pair.b] for pair in pairs]
    observed = np.mean([x == y for x, y in zip(a, b, strict=True)])
    chance = sum(a.count(label) * b.count(label) for label in labels) / len(a) ** 2
    found = agreement.kappa(pairs, replicates=200, seed=0)
    assert found.value == pytest.approx((observed - chance) / (1 - chance), abs=1e-12)
    assert found.low < found.value < found.high


def test_kappa_does_not_depend_on_which_model_is_first():
    pairs = [
        agreement.Compared(81, "model_1", "model_1"),
        agreement.Compared(82, "model_1", "model_2"),
        agreement.Compared(83, "tie", "model_1"),
        agreement.Compared(84, "model_2", "model_2"),
    ]
    swap = {"model_1": "model_2", "model_2": "model_1", "tie": "tie"}
    turned = [
        agreement.Compared(pair.question_id, swap[pair.a], swap[pair.b]) if place % 2 else pair
        for place, pair in enumerate(pairs)
    ]
    values = [agreement.kappa(these, replicates=100, seed=0).value for these in (pairs, turned)]
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_nothing_compared_is_no_number():
    assert np.isnan(agreement.kappa([], replicates=100, seed=0).value)
    assert agreement.rate([], replicates=100, seed=0).n == 0
