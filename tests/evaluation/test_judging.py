"""What is asked again after a stop, a change, a torn line or a kill."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.errors import NetworkError, StoppedEarly
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply
from zephyrctl.evaluation.judging import judged, keep_only, kept_rows
from zephyrctl.evaluation.prices import Price
from zephyrctl.evaluation.spending import Meter
from zephyrctl.runs.atomic import read_jsonl


@dataclass
class Someone:
    """A judge that says how many questions it was asked, and counts what it was asked."""

    setting: str = "one"
    is_deterministic: bool = False
    meter: Meter | None = None
    fails_at: int | None = None
    asked: list[JudgeRequest] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    name: str = "someone"

    @property
    def identity(self) -> dict[str, Any]:
        return {"setting": self.setting}

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        self.rounds.append(len(requests))
        for index, request in enumerate(requests):
            if len(self.asked) == self.fails_at:
                raise NetworkError("gone")
            if self.meter is not None:
                self.meter.reserve(request)
            self.asked.append(request)
            reply = JudgeReply(f"reply {len(self.asked)}", prompt_tokens=10, completion_tokens=20)
            if self.meter is not None:
                self.meter.settle(request, reply)
            on_reply(index, reply)

    def close(self) -> None:
        pass


def request(number: int, text: str | None = None, **more: Any) -> JudgeRequest:
    return JudgeRequest(number, 1, "single", "Judge.", text or f"answer {number}", ("m",), **more)


def run(
    judge: Someone,
    requests: Sequence[JudgeRequest],
    path: Path,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    def row(index: int, reply: JudgeReply) -> dict[str, Any]:
        asked = requests[index]
        return {
            "question_id": asked.question_id,
            "turn": asked.turn,
            "order": asked.order,
            "sample": asked.sample,
            "judgment": reply.text,
        }

    return judged(judge, requests, path=path, make_row=row, on_done=on_done)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judge" / "judgments.jsonl"


def test_a_rerun_asks_for_nothing_and_says_the_same(path: Path):
    requests = [request(number) for number in range(4)]
    first = run(Someone(), requests, path)
    again = Someone()
    assert run(again, requests, path) == first
    assert again.asked == []


def test_only_what_is_missing_is_asked_after_an_error(path: Path):
    requests = [request(number) for number in range(6)]
    with pytest.raises(NetworkError):
        run(Someone(fails_at=4), requests, path)
    rest = Someone()
    seen: list[tuple[int, int]] = []
    rows = run(rest, requests, path, on_done=lambda done, total: seen.append((done, total)))
    assert [asked.question_id for asked in rest.asked] == [4, 5]
    assert [row["question_id"] for row in rows] == list(range(6))
    assert seen == [(4, 6), (5, 6), (6, 6)]
    assert len(read_jsonl(path)) == 6


def test_a_torn_last_line_costs_one_request(path: Path):
    requests = [request(number) for number in range(4)]
    run(Someone(), requests, path)
    content = path.read_bytes()
    for cut in (1, 2, 30, len(content.splitlines()[-1])):
        path.write_bytes(content[:-cut])
        rest = Someone()
        run(rest, requests, path)
        # A line that only lacks its newline is whole.
        assert [asked.question_id for asked in rest.asked] == ([] if cut == 1 else [3])
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["question_id"] for row in rows] == list(range(4))


def test_equal_requests_are_asked_once_and_judged_in_their_own_place(path: Path):
    """Two equal answers look the same in both orders, and the verdict means the opposite."""
    pair = [request(1, "same", order=1), request(1, "same", order=2)]
    judge = Someone()
    rows = run(judge, pair, path)
    assert len(judge.asked) == 1
    assert [row["order"] for row in rows] == [1, 2]
    assert {row["judgment"] for row in rows} == {"reply 1"}
    assert run(Someone(fails_at=0), pair, path) == rows


def test_a_deterministic_judge_is_asked_once_for_all_repeats(path: Path):
    repeats = [request(1, sample=sample) for sample in range(3)]
    judge, other = Someone(is_deterministic=True), Someone()
    assert [row["sample"] for row in run(judge, repeats, path)] == [0, 1, 2]
    assert len(judge.asked) == 1
    run(other, repeats, path.with_name("other.jsonl"))
    assert len(other.asked) == 3


def test_a_changed_answer_is_asked_for_and_the_old_judgment_is_set_aside(path: Path):
    old, new = [request(1), request(2)], [request(1, "retrained"), request(2)]
    rows = run(Someone(), old, path)
    judge = Someone()
    fresh = run(judge, new, path)
    keep_only(path, fresh)
    assert [asked.user for asked in judge.asked] == ["retrained"]
    assert read_jsonl(path) == fresh
    assert read_jsonl(path.with_name("earlier.jsonl")) == rows[:1]


def test_what_another_setting_paid_for_comes_back_with_it(path: Path):
    requests = [request(number) for number in range(3)]
    one = run(Someone("one"), requests, path)
    keep_only(path, one)
    two = run(Someone("two"), requests[:2], path)
    keep_only(path, two)
    assert read_jsonl(path) == two
    nobody = Someone("one", fails_at=0)
    back = run(nobody, requests, path)
    keep_only(path, back)
    assert back == one
    assert read_jsonl(path) == one
    assert len(kept_rows(path)) == 5
    assert len(read_jsonl(path.with_name("earlier.jsonl"))) == 2


def test_a_row_that_a_kill_left_in_both_files_counts_once(path: Path):
    rows = run(Someone(), [request(1), request(2)], path)
    keep_only(path, rows[:1])
    with path.open("a") as stream:  # the kill came before the second write
        stream.write(json.dumps(rows[1]) + "\n")
    nobody = Someone(fails_at=0)
    assert run(nobody, [request(1), request(2)], path) == rows
    keep_only(path, rows)
    assert read_jsonl(path) == rows
    assert not path.with_name("earlier.jsonl").exists()


def test_verdicts_of_code_are_left_as_they_are(path: Path):
    path.parent.mkdir()
    path.write_text('{"question_id": 1, "passed": true}\n')
    keep_only(path, [{"question_id": 1, "passed": True}])
    assert path.read_text() == '{"question_id": 1, "passed": true}\n'


def test_a_limit_cuts_no_request_off_and_loses_no_reply(path: Path):
    """Each request may cost 1.00 and does cost 0.20: rounds are cut so that no limit is passed."""
    price = Price(prompt=0.0, completion=10_000.0, origin="test")
    requests = [request(number, max_tokens=100) for number in range(40)]
    meter = Meter(price, max_cost=4.1, max_tokens=100)
    judge = Someone(meter=meter)
    with pytest.raises(StoppedEarly) as stopped:
        run(judge, requests, path)
    kept = read_jsonl(path)
    assert len(kept) == len(judge.asked) == meter.calls
    assert meter.spent_usd == pytest.approx(0.2 * len(kept))
    assert 4.1 - 1.0 < meter.spent_usd <= 4.1
    assert judge.rounds[0] == 4
    assert len(judge.rounds) < 12
    assert f"{len(kept)} judgments stand, {40 - len(kept)} requests are left" in str(
        stopped.value.where
    )
    rest = Someone(meter=Meter(price, max_cost=100.0, max_tokens=100))
    assert len(run(rest, requests, path)) == 40
    assert {a.question_id for a in rest.asked}.isdisjoint(a.question_id for a in judge.asked)


def test_without_a_limit_all_is_asked_in_one_round(path: Path):
    requests = [replace(request(number), max_tokens=None) for number in range(30)]
    judge = Someone(meter=Meter(None, max_cost=None, max_tokens=100))
    run(judge, requests, path)
    assert judge.rounds == [30]
