"""Several models that answer one question: what is shown, what is hidden, and what goes on."""

import json
import os
import signal
from pathlib import Path

import pytest
from tests.chat.talkers import Scripted, chat, said

from zephyrctl.chat import votes
from zephyrctl.chat.comparison import HIDDEN, Comparison
from zephyrctl.chat.fitting import Free, Need
from zephyrctl.chat.repl import Repl
from zephyrctl.chat.rounds import shuffled
from zephyrctl.chat.seats import Bench, Seat, Seating, named_apart
from zephyrctl.chat.talker import Talker
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.references import ModelRef

WARM = Sampling(0.7)
NAMES = ("tiny/dpo", "tiny/sft", "tiny/base", "other")


def seats_of(*scripts: tuple[str, ...]) -> list[Seat]:
    talkers = [Scripted(*replies, name=name) for name, replies in zip(NAMES, scripts, strict=False)]
    return [seat_of(talker) for talker in talkers]


def seat_of(talker: Scripted) -> Seat:
    def reopen() -> Talker:
        talker.is_closed = False
        return talker

    return Seat(talker.name, talker.name, reopen, Need(8), talker=talker)


def converse(comparison: Comparison, *lines: str, sampling: Sampling = WARM) -> Repl:
    """Type the lines in a chat that compares, then leave by Ctrl-D."""
    own = comparison.own.talker
    assert own is not None
    return chat(
        *lines, talker=own, sampling=sampling, system="be kind", render="plain",
        comparison=comparison,
    )  # fmt: skip


def compare(
    folder: Path, *scripts: tuple[str, ...], blind: bool = False, seed: int = 0
) -> Comparison:
    return Comparison(Bench(seats_of(*scripts), folder), blind, seed)


def read_by(comparison: Comparison, place: int) -> list[tuple[list[str], Sampling]]:
    talker = comparison.bench.seats[place].talker
    assert isinstance(talker, Scripted)
    texts = [[message.content for message in messages] for messages in talker.read]
    return list(zip(texts, talker.sampled, strict=True))


def test_all_read_the_same_prompt_with_the_same_settings(tmp_path: Path) -> None:
    comparison = compare(tmp_path, ("from a",), ("from b",), ("from c",))
    converse(comparison, "hi", sampling=Sampling(0.7, seed=11))
    reads = [read_by(comparison, place) for place in range(3)]
    assert reads[0] == reads[1] == reads[2] == [(["be kind", "hi"], Sampling(0.7, seed=11))]


def test_the_preferred_reply_goes_on_for_all_and_without_a_vote_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare(tmp_path, ("a1", "a2", "a3"), ("b1", "b2", "b3"))
    repl = converse(comparison, "q1", "/prefer b", "q2", "q3")
    for place in (0, 1):
        assert read_by(comparison, place)[-1][0] == ["be kind", "q1", "b1", "q2", "a2", "q3"]
    assert [turn.content for turn in repl.session.turns] == ["q1", "b1", "q2", "a2", "q3", "a3"]
    assert "without a vote A goes on" in capsys.readouterr().err
    (row,) = [json.loads(line) for line in (tmp_path / votes.PAIRS).read_text().splitlines()]
    assert (row["chosen_model"], row["rejected_model"]) == ("tiny/sft", "tiny/dpo")
    assert [message["content"] for message in row["prompt"]] == ["be kind", "q1"]


def test_replies_stand_on_stdout_under_letters_and_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("from a",), ("from b",)), "hi", "/status")
    out, err = capsys.readouterr()
    assert [line.strip(" []") for line in out.splitlines() if line.strip()] == [
        "A tiny/dpo", "from a", "B tiny/sft", "from b",
    ]  # fmt: skip
    assert "compared  tiny/dpo, tiny/sft" in err


def blind_seed(*wanted: int) -> int:
    """A seed whose first shuffle of the question "hi" is `wanted`."""
    count = len(wanted)
    return next(
        seed for seed in range(1000)
        if shuffled(count, seed=seed, number=1, question="hi") == list(wanted)
    )  # fmt: skip


@pytest.mark.parametrize("one_by_one", [False, True])
def test_blind_a_chat_looks_the_same_whoever_says_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], one_by_one: bool
) -> None:
    lines = ("hi", "/status", "/history", "/stats", "/template", "/compare", "/prefer c")
    seen = []
    for order, dpo, sft in (((0, 1), "x y", "z"), ((1, 0), "z", "x y")):
        seed = blind_seed(*order)
        comparison = compare(tmp_path, (dpo,), (sft,), blind=True, seed=seed)
        comparison.bench.one_by_one = one_by_one
        converse(comparison, *lines)
        out, err = capsys.readouterr()
        seen.append((out, err.replace(f"seed {seed};", "seed;")))
    assert seen[0] == seen[1]
    assert [line.strip(" []") for line in seen[0][0].splitlines() if line.strip()] == [
        "A", "x y", "B", "z",
    ]  # fmt: skip
    assert f"last: {HIDDEN}" in seen[0][1]


def test_after_a_blind_vote_it_is_said_whose_the_replies_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = blind_seed(1, 0)
    comparison = compare(tmp_path, ("from dpo",), ("from sft",), blind=True, seed=seed)
    converse(comparison, "hi", "/prefer b", "/stats")
    err = capsys.readouterr().err
    assert "A was tiny/sft (2 tokens · 4.0 tokens/s" in err
    assert "B was tiny/dpo (2 tokens" in err
    assert "tiny/dpo over tiny/sft: 1 of 1 vote (100%" in err
    assert "shown first of 2: 0 of 1 vote (0%" in err
    assert "last: 2 tokens" in err


def test_the_blind_order_follows_from_the_seed_and_changes_with_the_question() -> None:
    orders = [shuffled(3, seed=5, number=number, question="q") for number in range(200)]
    assert orders == [shuffled(3, seed=5, number=number, question="q") for number in range(200)]
    counts = [orders.count(order) for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0],
                                                [2, 0, 1], [2, 1, 0])]  # fmt: skip
    assert sum(counts) == 200
    assert min(counts) > 15
    assert orders != [shuffled(3, seed=6, number=number, question="q") for number in range(200)]


def test_a_question_asked_first_in_two_chats_is_shuffled_anew_after_a_vote(tmp_path: Path) -> None:
    first = compare(tmp_path, ("x",), ("y",), blind=True)
    converse(first, "hi", "/prefer a")
    assert (first.asked, compare(tmp_path, (), (), blind=True).asked) == (1, 1)


def test_replies_that_are_the_same_are_said_and_only_tied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("same",), ("same",)), "hi", "/prefer a", "/prefer tie")
    err = capsys.readouterr().err
    assert "the same word for word; /prefer tie|none" in err
    assert "hint: /prefer tie" in err
    assert not (tmp_path / votes.PAIRS).exists()
    assert "no votes yet; 1 tied" in err


def test_of_three_replies_the_two_that_are_the_same_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("x",), ("y",), ("x",)), "hi")
    assert "(A and C are the same word for word; /prefer a|b|c|tie|none" in capsys.readouterr().err


def test_ctrl_c_keeps_what_came_and_asks_nobody_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare(tmp_path, ("one ^C two", "again"), ("never", "b"), ("never", "c"))
    repl = converse(comparison, "hi", "/prefer a")
    out, err = capsys.readouterr()
    assert "never" not in out
    assert "(stopped; B and C not asked: /regen" in err
    assert "no reply is whole" in err
    assert repl.session.turns[-1].content == "one two"


def test_ctrl_c_while_a_model_is_loaded_keeps_the_replies_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> Talker:
        raise KeyboardInterrupt

    comparison = compare(tmp_path, ("x",), ("y",), ("z",))
    third = comparison.bench.seats[2]
    third.talker, third.open = None, interrupted
    repl = converse(comparison, "hi", "/prefer b")
    assert "(stopped; C not asked: /regen" in capsys.readouterr().err
    assert repl.session.turns[-1].content == "y"


def test_lines_that_are_no_votes_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / votes.PAIRS).write_text('{"chosen": "x", "rejected": "y"}\n{"prompt": [')
    converse(compare(tmp_path, ("x",), ("y",)), "hi", "/prefer b")
    err = capsys.readouterr().err
    assert err.count("prefs.jsonl is torn") == 1
    assert err.count("that are no votes: 1") == 1


def test_two_whole_replies_can_be_voted_on_though_the_third_was_stopped(tmp_path: Path) -> None:
    comparison = compare(tmp_path, ("x",), ("y",), ("z ^C z",))
    converse(comparison, "hi", "/prefer c", "/prefer b")
    (ballot,) = votes.read(tmp_path).ballots
    assert (ballot.shown, ballot.preferred) == (("tiny/dpo", "tiny/sft"), ("tiny/sft",))


def test_a_model_that_fails_leaves_the_others_their_vote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compare(tmp_path, ("half !",), ("y",), ("z",))
    repl = converse(comparison, "hi", "/prefer a", "/prefer c")
    err = capsys.readouterr().err
    assert "error[network]" in err
    assert "takes one of b, c, tie, none, not 'a'" in err
    (ballot,) = votes.read(tmp_path).ballots
    assert ballot.shown == ("tiny/sft", "tiny/base")
    assert repl.session.turns[-1].content == "z"


def test_where_only_one_replied_there_is_nothing_to_vote_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("!",), ("y",)), "hi", "/prefer b")
    err = capsys.readouterr().err
    assert "only B replied" in err
    assert not list(tmp_path.iterdir())


def test_where_nobody_replied_the_question_is_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repl = converse(compare(tmp_path, ("!",), ("!",)), "hi", "/prefer a")
    assert "no reply came" in capsys.readouterr().err
    assert [turn.role for turn in repl.session.turns] == ["user"]


def test_a_vote_for_an_empty_reply_is_refused_and_one_against_it_makes_no_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("x",), ("",)), "hi", "/prefer b", "/prefer a")
    err = capsys.readouterr().err
    assert "(/prefer a|tie|none; without a vote A goes on)" in err
    assert "B's reply is empty" in err
    assert "B is empty, so there is no pair; A goes on" in err
    assert "tiny/dpo over tiny/sft: 1 of 1 vote" in err
    assert not (tmp_path / votes.PAIRS).exists()
    converse(compare(tmp_path, ("x",), ("",), ("z",)), "hi", "/prefer a")
    (row,) = map(json.loads, (tmp_path / votes.PAIRS).read_text().splitlines())
    assert (row["chosen_model"], row["rejected_model"]) == ("tiny/dpo", "tiny/base")
    assert "! B is empty: no pair with it" in capsys.readouterr().err


def test_ctrl_c_as_a_vote_is_written_lets_nobody_vote_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sync = os.fsync

    def interrupted(descriptor: int) -> None:
        sync(descriptor)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("os.fsync", interrupted)
    repl = converse(compare(tmp_path, ("x",), ("y",)), "hi", "/prefer b", "/prefer a")
    err = capsys.readouterr().err
    assert "kept already" in err
    assert "Ctrl-D or /quit leaves" in err
    assert [ballot.preferred for ballot in votes.read(tmp_path).ballots] == [("tiny/sft",)]
    assert said(repl) == ["be kind", "hi", "y"]


def test_blind_an_error_that_names_its_model_waits_for_the_vote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost() -> Talker:
        raise UsageError("no model at /models/tiny/sft")

    comparison = compare(tmp_path, ("y !",), (), ("z",), ("w",), blind=True)
    second = comparison.bench.seats[1]
    second.talker, second.open = None, lost
    converse(comparison, "hi", "/prefer tie")
    before, _, told = capsys.readouterr().err.partition("(tie: counted")
    assert before.count("failed; an error names its model") == 2
    assert "error[" not in before
    assert "/models/tiny/sft" in told
    assert "error[network]" in told
    assert " was tiny/sft (no reply)" in told


def test_blind_with_nothing_to_vote_on_an_error_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("!",), ("y",), blind=True), "hi", "/stats")
    err = capsys.readouterr().err
    assert "error[network]" in err
    assert "was tiny/dpo (no reply)" in err
    assert "there is nothing to vote on" in err
    assert HIDDEN not in err


def test_what_models_no_longer_read_is_said_by_name_once_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "word " * 30
    comparison = compare(tmp_path, ("a", "b", "c"), ("d", "e", "f"), blind=True)
    own = comparison.own.talker
    assert isinstance(own, Scripted)
    own.context = 1000
    for seat in comparison.bench.seats[1:]:
        assert isinstance(seat.talker, Scripted)
        seat.talker.context = 100
    converse(comparison, long, long, long, "/status", "/new", "/status")
    err = capsys.readouterr().err
    assert err.count("the context of 100 tokens is full: tiny/sft no longer reads the first") == 1
    assert err.count("left out  the first 4 messages, by tiny/sft") == 1


@pytest.mark.parametrize(
    ("then", "why"),
    [
        ("/prefer a", "kept already"),
        ("/prefer b\n/undo", "has changed"),
        ("/undo", "has changed"),
        ("/new", "has changed"),
        ("/system other", "has changed"),
    ],
)
def test_a_vote_holds_once_and_for_the_conversation_it_was_asked_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], then: str, why: str
) -> None:
    converse(compare(tmp_path, ("x",), ("y",)), "hi", *then.split("\n"), "/prefer a")
    err = capsys.readouterr().err
    assert why in err
    assert ("kept already" in err) == (why == "kept already")
    assert len(votes.read(tmp_path).ballots) == ("/prefer" in then)


def test_regen_asks_all_again_and_can_be_voted_on(tmp_path: Path) -> None:
    comparison = compare(tmp_path, ("x", "x2"), ("y", "y2"))
    repl = converse(comparison, "hi", "/prefer a", "/regen", "/prefer b")
    assert [row["chosen"][0]["content"] for row in map(
        json.loads, (tmp_path / votes.PAIRS).read_text().splitlines())] == ["x", "y2"]  # fmt: skip
    assert repl.session.turns[-1].content == "y2"
    assert [sampling.seed for _, sampling in read_by(comparison, 1)] == [0, 1]


def test_a_cut_reply_is_said_and_marked_in_its_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("x y cut",), ("z",)), "hi", "/prefer a")
    assert "! cut short: A;" in capsys.readouterr().err
    row = json.loads((tmp_path / votes.PAIRS).read_text())
    assert row["vote"]["cut"] == ["tiny/dpo"]


def test_before_a_question_there_is_nothing_to_vote_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, (), ()), "/prefer a")
    assert "ask a question first" in capsys.readouterr().err


def test_models_that_do_not_fit_are_in_memory_one_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seats = seats_of(("a1", "a2"), ("b1", "b2"))
    other = seats[1].talker
    assert isinstance(other, Scripted)
    other.close()
    seats[1].talker = None
    bench = Bench(seats, tmp_path)
    bench.fill(lambda: Free(8, "memory"))
    err = capsys.readouterr().err
    assert "they need 8 bytes more, and 8 bytes of memory are free" in err
    assert "one after the other" in err
    repl = converse(Comparison(bench), "q1", "/prefer b", "q2")
    err = capsys.readouterr().err
    assert "do not fit together" in err.partition("q")[0] or "do not fit" not in err
    assert [turn.content for turn in repl.session.turns] == ["q1", "b1", "q2", "a2"]
    assert [seat.talker is None for seat in seats] == [True, False]
    assert bench.one_by_one


def test_models_that_fit_are_all_loaded_at_once(tmp_path: Path) -> None:
    seats = seats_of((), (), ())
    seats[1].talker = seats[2].talker = None
    bench = Bench(seats, tmp_path)
    bench.fill(lambda: Free(100, "memory"))
    assert not bench.one_by_one
    assert all(seat.talker is not None for seat in seats)


def test_two_to_four_different_models_are_compared() -> None:
    seats = seats_of((), (), (), ())
    named_apart(seats, list(NAMES))
    with pytest.raises(UsageError, match="2 to 4"):
        named_apart([*seats, seats[0]], [*NAMES, "x"])
    with pytest.raises(UsageError, match="2 to 4"):
        named_apart(seats[:1], NAMES[:1])
    with pytest.raises(UsageError, match="there already"):
        named_apart([seats[0], seats[0]], ["x", "y"])


def test_models_of_one_name_are_told_apart_by_their_references() -> None:
    seats = [Seat("model", f"/{place}", lambda: Scripted(name="x")) for place in "ab"]
    named_apart(seats, ["/a/model", "/b/model"])
    assert [seat.name for seat in seats] == ["/a/model", "/b/model"]


def folder_seating(*folders: Path, root: Path) -> tuple[Seating, dict[str, Scripted]]:
    from zephyrctl.config.schema import Recipe

    talkers = {str(folder): Scripted("one", "two", name=str(folder)) for folder in folders}
    seating = Seating(
        find=lambda ref: ModelRef(Path(ref).name, "folder", ref),
        recipe=lambda ref: Recipe(),
        load=lambda ref: talkers[ref.target],
        output_root=root,
        device="cpu",
    )
    return seating, talkers


def test_a_comparison_begins_and_ends_within_a_chat(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.symlink_to(tiny_base)
    seating, talkers = folder_seating(tiny_base, other, root=tmp_path / "runs")
    own = talkers[str(tiny_base)]
    repl = chat(
        "/compare", f"/compare {other} blind", "hi", "/prefer tie", "/compare open", "/model x",
        "/compare a b c d", "/compare off now", "/compare off", "alone", "/prefer a",
        talker=own, render="plain", seating=seating,
    )  # fmt: skip
    err = capsys.readouterr().err
    assert err.count("only one model answers here") == 2
    assert "blind, comparing tiny, other" in err
    assert "several models are compared" in err
    assert "2 to 4 models are compared, not 5" in err
    assert "'off' stands alone" in err
    assert "goes on alone" in err
    assert repl.comparison is None
    assert (own.is_closed, talkers[str(other)].is_closed) == (False, True)
    assert (tmp_path / "runs" / "chats" / votes.UNDECIDED).exists()
    assert [turn.content for turn in repl.session.turns][2:] == ["alone", "two"]


@pytest.mark.parametrize(
    ("scripts", "said_then"),
    [
        ((("x ^C y",), ("z",)), "no reply is whole"),
        ((("same",), ("same",)), "hint: /prefer tie"),
        ((("",), ("y",)), "hint: /prefer b"),
    ],
)
def test_a_vote_alone_hints_one_that_is_taken(
    scripts: tuple[tuple[str, ...], ...],
    said_then: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    converse(compare(tmp_path, *scripts), "hi", "/prefer")
    assert said_then in capsys.readouterr().err


def test_what_is_taken_back_after_a_vote_leaves_the_vote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(compare(tmp_path, ("x", "z"), ("y", "w")), "hi", "/prefer b", "q", "/undo", "/undo")
    assert capsys.readouterr().err.count("(the vote on its replies stays in the tally)") == 0
    converse(compare(tmp_path, ("x",), ("y",)), "hi", "/prefer b", "/undo")
    assert "(the vote on its replies stays in the tally)" in capsys.readouterr().err
