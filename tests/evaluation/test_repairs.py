"""Asking once more for a verdict that a judgment lacks."""

import json

from tests.evaluation.mt_bench.small import answers, open_small, silent
from tests.evaluation.saying import Saying

from zephyrctl.evaluation.benchmark import Match
from zephyrctl.evaluation.judges.contract import JudgeReply

SFT = Match("sft")
GIVEN = {"sft": answers("hi", "hi!", "2", "4")}


def says(verdicts, repair="[[6]]"):
    """A judge by question and turn; what it says when it is asked for the rating alone."""

    def reply(request):
        if "Reply with" in request.user:
            return repair
        return verdicts.get((request.question_id, request.turn), "Rating: [[8]]")

    return reply


def test_a_judgment_without_rating_is_repaired_once_and_counted(tmp_path):
    judge = Saying(says({(1, 2): "Fine, seven out of ten."}))
    bench = open_small(tmp_path, judge)
    path = tmp_path / "judgments.jsonl"
    rows = bench.judge(GIVEN, SFT, path=path, on_done=silent)
    assert len(judge.asked) == 5
    asked = judge.asked[-1]
    assert "Fine, seven out of ten." in asked.user
    assert "hi!" not in asked.user  # its own text, and not the answer
    assert asked.max_tokens is not None
    repaired = [row for row in rows if "repairs" in row]
    assert [(row["question_id"], row["turn"], row["rating"]) for row in repaired] == [(1, 2, 6)]
    assert repaired[0]["repairs"] == rows[1]["key"]

    scores = bench.aggregate(rows, SFT)
    assert scores.scores[0].value == (8 + 6 + 8 + 8) / 4
    assert scores.details["repaired"] == 1
    assert scores.details["unparsed"] == 0
    assert scores.details["fastchat"]["average"] == 8  # upstream's figure is without it
    assert any("asking the judge" in notice for notice in scores.notices)

    written = path.read_bytes()
    again = bench.judge(GIVEN, SFT, path=path, on_done=silent)
    assert len(judge.asked) == 5
    assert again == rows
    assert path.read_bytes() == written


def test_what_repairs_nothing_stays_unparsed(tmp_path):
    judge = Saying(says({(2, 1): "Hm."}, repair="[[none]]"))
    bench = open_small(tmp_path, judge)
    rows = bench.judge(GIVEN, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    details = bench.aggregate(rows, SFT).details
    assert (details["n"], details["unparsed"], details["repaired"]) == (3, 1, 0)


def test_a_judge_that_said_nothing_is_not_asked_again(tmp_path):
    judge = Saying(says({(2, 1): "  "}))
    bench = open_small(tmp_path, judge)
    bench.judge(GIVEN, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    assert len(judge.asked) == 4


def test_recorded_judgments_are_never_repaired(tmp_path):
    judge = Saying(says({(2, 1): "Hm."}))
    bench = open_small(tmp_path, judge, **{"judge.spec": "replay:x.jsonl"})
    bench.judge(GIVEN, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    assert len(judge.asked) == 4


def test_a_rating_out_of_range_is_repaired_too(tmp_path):
    judge = Saying(says({(1, 1): "[[85]]"}, repair="[[9]]"))
    bench = open_small(tmp_path, judge)
    rows = bench.judge(GIVEN, SFT, path=tmp_path / "j.jsonl", on_done=silent)
    first = json.loads((tmp_path / "j.jsonl").read_text().splitlines()[0])
    assert (first["score"], first["rating"]) == (85, None)  # what upstream would read, and ours
    assert bench.aggregate(rows, SFT).by_question[1] == (9 + 8) / 2


def test_a_game_without_winner_is_repaired_in_its_own_order(tmp_path):
    def reply(request):
        if "Reply with" in request.user:
            return JudgeReply("[[B]]")
        return f"Undecided: {request.user}" if request.order == 2 else "[[A]]"

    judge = Saying(reply)
    bench = open_small(tmp_path, judge, **{"mt_bench.mode": "pair"})
    match = Match("dpo", "sft")
    given = {"dpo": answers("a", "b", "c", "d"), "sft": answers("e", "f", "g", "h")}
    rows = bench.judge(given, match, path=tmp_path / "j.jsonl", on_done=silent)
    assert len(judge.asked) == 12
    scores = bench.aggregate(rows, match)
    assert (scores.details["wins"], scores.details["errors"]) == (4, 0)
    assert scores.details["repaired"] == 4
    assert scores.details["fastchat"]["win_rate"] is None
