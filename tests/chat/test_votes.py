"""Votes on replies: what is stored, what a training reads of it, and how the tally is kept."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.chat import standing, votes
from zephyrctl.chat.votes import Answered, Ballot, Question
from zephyrctl.config.schema import Recipe
from zephyrctl.data.load import load_split
from zephyrctl.data.messages import Message
from zephyrctl.data.prepare import prepare
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.store import open_run

SAMPLING = Sampling(0.7, max_new_tokens=20, seed=3)


def question(
    *texts: str, models: Sequence[str] = ("sft", "dpo", "base", "other"), blind: bool = True,
    prompt: Sequence[Message] = (Message("user", "Which sea is salty?"),),
) -> Question:  # fmt: skip
    replies = tuple(map(Answered, "abcd", models, texts))
    return Question(tuple(prompt), replies, SAMPLING, blind)


SOUND = {"id": "i", "choice": "a", "shown": ["x", "y"], "preferred": ["x"], "blind": True,
         "made": {}}  # fmt: skip


def of(*models: str) -> dict[str, str | None]:
    return dict.fromkeys(models)


def rows(folder: Path, name: str = votes.PAIRS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_a_choice_is_stored_against_each_other_reply(tmp_path: Path) -> None:
    votes.keep(question("The Red Sea.", "None.", "All."), "b", folder=tmp_path)
    stored = rows(tmp_path)
    assert [row["chosen"][0]["content"] for row in stored] == ["None.", "None."]
    assert [row["rejected"][0]["content"] for row in stored] == ["The Red Sea.", "All."]
    assert [(row["chosen_model"], row["rejected_model"]) for row in stored] == [
        ("dpo", "sft"), ("dpo", "base"),
    ]  # fmt: skip
    assert all(row["prompt"] == [{"role": "user", "content": "Which sea is salty?"}]
               for row in stored)  # fmt: skip
    assert stored[0]["vote"]["sampling"] == {
        "temperature": 0.7, "top_p": 1.0, "top_k": 0, "max_new_tokens": 20, "seed": 3,
    }  # fmt: skip


@pytest.mark.parametrize("choice", ["tie", "none"])
def test_a_tie_and_none_are_counted_and_are_no_pair(tmp_path: Path, choice: str) -> None:
    _, pairs = votes.keep(question("x", "y"), choice, folder=tmp_path)
    assert pairs == []
    assert not (tmp_path / votes.PAIRS).exists()
    (duel,) = standing.duels(votes.read(tmp_path).ballots, of("sft", "dpo"))
    assert (duel.ties, duel.none, duel.decided) == (choice == "tie", choice == "none", 0)


def test_replies_that_are_the_same_cannot_be_preferred_but_tied(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="word for word"):
        votes.keep(question("x", "x"), "a", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    votes.keep(question("x", "x"), "tie", folder=tmp_path)
    assert standing.duels(votes.read(tmp_path).ballots, of("sft", "dpo"))[0].ties == 1


def test_of_three_the_two_that_said_the_same_win_and_lose_together(tmp_path: Path) -> None:
    votes.keep(question("x", "x", "y"), "b", folder=tmp_path / "won")
    assert len(rows(tmp_path / "won")) == 1
    duels = standing.duels(votes.read(tmp_path / "won").ballots, of("sft", "dpo", "base"))
    assert [(d.a_wins, d.b_wins, d.ties) for d in duels] == [(0, 0, 1), (1, 0, 0), (1, 0, 0)]
    votes.keep(question("x", "x", "y"), "c", folder=tmp_path / "lost")
    assert len(rows(tmp_path / "lost")) == 1
    duels = standing.duels(votes.read(tmp_path / "lost").ballots, of("sft", "dpo", "base"))
    assert [(d.a_wins, d.b_wins, d.ties) for d in duels] == [(0, 0, 0), (0, 1, 0), (0, 1, 0)]


def test_an_empty_reply_cannot_be_preferred(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        votes.keep(question("", "x"), "a", folder=tmp_path)


@pytest.mark.parametrize("typed", ["c", "", "ab", "both", "1", "-"])
def test_only_shown_letters_tie_and_none_are_votes(typed: str) -> None:
    with pytest.raises(UsageError, match="one of a, b, tie, none"):
        votes.choice_of(typed, "ab", hinted="ab")
    assert [votes.choice_of(text, "abc", hinted="abc") for text in (" A", "c", "TIE", "none ")] == [
        "a", "c", "tie", "none",
    ]  # fmt: skip


def test_the_tally_counts_wins_and_what_was_blind_in_any_order() -> None:
    def ballot(number: int, first: str, won: str, *, blind: bool) -> Ballot:
        second = {"sft": "dpo", "dpo": "sft"}[first]
        return Ballot(str(number), "a" if won == first else "b", (first, second), (won,), blind, {})

    ballots = [ballot(i, "sft", "dpo", blind=False) for i in range(5)]
    ballots += [ballot(10 + i, "dpo", "dpo", blind=True) for i in range(3)]
    ballots += [ballot(20 + i, "sft", "sft", blind=True) for i in range(3)]
    (duel,) = standing.duels(ballots, of("dpo", "sft"))
    assert (duel.a_wins, duel.b_wins, duel.blind) == (8, 3, 6)
    # Wilson's interval of 8 of 11, by hand: 0.434 to 0.903.
    assert str(duel) == "dpo over sft: 8 of 11 votes (73%, 95% interval 43–90%); 6 blind"
    (place,) = standing.places(ballots)
    assert (place.of, place.first, place.decided) == (2, 6, 6)
    assert "6 of 6 votes (100%, 95% interval 61–100%); 50% without" in str(place)


def test_votes_on_another_training_of_the_same_name_do_not_count(tmp_path: Path) -> None:
    old, new = (Answered("b", "dpo", "x", made=made) for made in ("before", "after"))
    for mine in (old, old, new):
        votes.keep(
            Question((Message("user", "?"),), (Answered("a", "sft", "y"), mine), SAMPLING, False),
            "b",
            folder=tmp_path,
        )
    (duel,) = standing.duels(votes.read(tmp_path).ballots, {"dpo": "after", "sft": None})
    assert (duel.a_wins, duel.decided, duel.others) == (1, 1, 2)
    assert str(duel).endswith("; 2 of other trainings left out")


def test_the_tally_is_kept_over_sessions_and_says_a_torn_line(tmp_path: Path) -> None:
    for choice in ("a", "b", "b"):
        votes.keep(question("x", "y"), choice, folder=tmp_path)
    path = tmp_path / votes.PAIRS
    path.write_bytes(path.read_bytes() + b'{"prompt": [{"role": "us')
    tally = votes.read(tmp_path)
    assert (len(tally.ballots), tally.torn, tally.strange) == (3, (votes.PAIRS,), 0)
    votes.keep(question("x", "y"), "a", folder=tmp_path)
    tally = votes.read(tmp_path)
    assert (len(tally.ballots), tally.torn) == (4, ())
    assert len(rows(tmp_path)) == 4


def test_lines_of_others_are_counted_and_change_nothing(tmp_path: Path) -> None:
    votes.keep(question("x", "y"), "a", folder=tmp_path)
    path = tmp_path / votes.PAIRS
    odd = [
        '{"chosen": "x", "rejected": "y", "prompt": "p"}',
        "not json",
        '{"vote": 3}',
        json.dumps({"vote": {**SOUND, "id": 1}}),
        json.dumps({"vote": {**SOUND, "preferred": ["z"]}}),
    ]
    path.write_text("\n".join(odd) + "\n" + path.read_text())
    tally = votes.read(tmp_path)
    assert (len(tally.ballots), tally.strange, tally.torn) == (1, 5, ())


_VOTER = """
import sys
from pathlib import Path
from zephyrctl.chat.votes import Answered, Question, keep
from zephyrctl.data.messages import Message
from zephyrctl.generation.sampling import Sampling
folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for i in range(count):
    prompt = (Message("user", f"{name} {i} " + "long " * 2000),)
    replies = tuple(Answered(x, m, f"{m} {i}") for x, m in zip("abc", ("sft", "dpo", "base")))
    keep(Question(prompt, replies, Sampling(), True), "a" if i % 2 else "tie", folder=folder)
    print(i, flush=True)
"""


def voter(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _VOTER, str(folder), name, str(count)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_two_chats_that_vote_at_once_lose_nothing(tmp_path: Path) -> None:
    at_work = [voter(tmp_path, name, 40) for name in ("one", "two")]
    assert [process.wait(timeout=120) for process in at_work] == [0, 0]
    for process in at_work:
        process.communicate()
    tally = votes.read(tmp_path)
    assert (len(tally.ballots), tally.torn, tally.strange) == (80, (), 0)
    assert len(rows(tmp_path)) == 2 * 20 * 2
    assert len(rows(tmp_path, votes.UNDECIDED)) == 2 * 20


def test_a_chat_that_is_killed_keeps_every_vote_it_said_was_kept(tmp_path: Path) -> None:
    process = voter(tmp_path, "one", 100_000)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(7)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    kept = len(votes.read(tmp_path).ballots)
    assert kept >= len(said) + len(rest.split())
    votes.keep(question("x", "y"), "b", folder=tmp_path)
    tally = votes.read(tmp_path)
    assert (tally.torn, tally.strange) == ((), 0)
    assert len(tally.ballots) in (kept, kept + 1)


def test_the_file_of_votes_is_a_source_of_dpo_as_it_is(tmp_path: Path, tiny_base: Path) -> None:
    system = Message("system", "Answer in English.")
    for number in range(6):
        prompt = [
            system,
            Message("user", f"Which sea has number {number}?"),
            Message("assistant", f"Sea {number}."),
            Message("user", "Are you sure?"),
        ]
        said = f"Yes, sea {number} has it.", f"Not of {number} at all.", f"I know no sea {number}."
        asked = question(*said, prompt=prompt)
        votes.keep(asked, "abc"[number % 3], folder=tmp_path)
    votes.keep(question("x", "y"), "tie", folder=tmp_path)
    recipe = Recipe.model_validate({
        "name": "voted", "output_root": str(tmp_path / "runs"),
        "data": {"dpo": {"train": [{"path": str(tmp_path / votes.PAIRS)}], "test_size": 0}},
    })  # fmt: skip
    run = open_run(recipe)
    account = prepare(
        recipe, run, tokenizer_path=str(tiny_base), revision=None,
        reporter=run.stage("data").reporter(),
    )  # fmt: skip
    text = (run.stage("data").path / "dpo" / "train.jsonl").read_text(encoding="utf-8")
    prepared = [json.loads(line) for line in text.splitlines()]

    def sides(row: dict[str, Any]) -> tuple[str, str, str]:
        return json.dumps(row["prompt"]), row["chosen"][0]["content"], row["rejected"][0]["content"]

    assert sorted(map(sides, prepared)) == sorted(map(sides, rows(tmp_path)))
    assert len(prepared) == 12
    assert load_split(run, "dpo", "train").num_rows == 12
    assert [source.format for source in account.stages["dpo"].sources] == ["pairs"]
