"""Shares of the questions, the files of several processes, and what becomes of a half-done join."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.test_answers import Parrot, rows_of, rules

from zephyrctl.errors import Terminated
from zephyrctl.evaluation.answers import ask, gather
from zephyrctl.evaluation.benchmark import Answer
from zephyrctl.evaluation.rules import Rules
from zephyrctl.evaluation.sharing import AnswerFiles, Share, take_own_gpu
from zephyrctl.runs import signals

TALKS = rules(*([[f"first {n}", f"second {n}"] for n in range(7)] + [["same"], ["same"]]))
TOTAL = 16


def quietly(done: int, total: int) -> None:
    del done, total


def ask_as(rank: int, path: Path, *, of: int, parrot: Parrot | None = None) -> Parrot:
    parrot = parrot or Parrot()
    ask(TALKS, parrot.lazily(), path=path, on_progress=quietly, share=Share(rank, of))
    return parrot


def gathered(path: Path, *, of: int, benchmark: Rules = TALKS) -> list[Answer]:
    subject = Parrot().lazily().subject
    return gather(benchmark, subject, path=path, on_progress=quietly, share=Share(0, of))


def alone(path: Path) -> list[Answer]:
    ask_as(0, path, of=1)
    return gathered(path, of=1)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_shares_cover_everything_once_and_evenly(processes: int) -> None:
    costs = {f"q{n}": float(n * n % 17 + 1) for n in range(60)}
    shares = [Share(rank, processes).of(costs) for rank in range(processes)]
    assert sorted(key for share in shares for key in share) == sorted(costs)
    loads = [sum(costs[key] for key in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs.values())


def test_each_question_is_asked_by_one_process_and_equal_ones_once(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    parrots = [ask_as(rank, path, of=3) for rank in (2, 0, 1)]
    asked = [messages for parrot in parrots for messages in parrot.asked]
    assert len(asked) == TOTAL - 1
    assert min(len(parrot.asked) for parrot in parrots) >= 4
    for parrot in parrots:  # a conversation stays where it began
        ends = {messages[-1].content.split()[-1] for messages in parrot.asked}
        assert {m[0].content.split()[-1] for m in parrot.asked} == ends
    assert not path.exists()
    assert gathered(path, of=3) == alone(tmp_path / "alone.jsonl")
    assert [file.name for file in tmp_path.glob("answers*")] == ["answers.jsonl"]
    keys = [row["key"] for row in rows_of(path)]
    assert len(keys) == len(set(keys)) == TOTAL - 1


@pytest.mark.parametrize("then", [1, 2, 4])
def test_another_number_of_processes_asks_only_what_is_missing(tmp_path: Path, then: int) -> None:
    path = tmp_path / "answers.jsonl"
    for rank, dies_at in ((0, 5), (1, 2)):
        with pytest.raises(ConnectionError):
            ask_as(rank, path, of=2, parrot=Parrot(dies_at=dies_at))
    parrots = [ask_as(rank, path, of=then) for rank in range(then)]
    assert sum(len(parrot.asked) for parrot in parrots) == TOTAL - 1 - 7
    assert gathered(path, of=then) == alone(tmp_path / "alone.jsonl")
    assert len(rows_of(path)) == TOTAL - 1


def test_a_join_that_was_killed_half_way_leaves_no_row_twice(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    for rank in range(2):
        ask_as(rank, path, of=2)
    kept = {file: file.read_bytes() for file in tmp_path.glob("answers.rank*.jsonl")}
    before = gathered(path, of=2)
    for file, content in kept.items():  # joined, and killed before the parts were removed
        file.write_bytes(content)
    assert ask_as(1, path, of=2).asked == []
    assert gathered(path, of=2) == before
    keys = [row["key"] for row in rows_of(path)]
    assert len(keys) == len(set(keys)) == TOTAL - 1
    assert not list(tmp_path.glob("answers.rank*"))


def test_the_first_process_waits_for_the_others_and_counts_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    ask_as(0, path, of=2)
    seen: list[int] = []
    other = threading.Timer(0.3, ask_as, (1, path), {"of": 2})
    other.start()
    answers = gather(
        TALKS,
        Parrot().lazily().subject,
        path=path,
        on_progress=lambda done, total: seen.append(done),
        share=Share(0, 2),
    )
    other.join()
    assert len(answers) == TOTAL
    assert seen[0] < TOTAL
    assert seen[-1] == TOTAL


def test_a_signal_ends_the_waiting(tmp_path: Path) -> None:
    signals.install()
    began = time.monotonic()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(Terminated):
            gathered(tmp_path / "answers.jsonl", of=2)
    finally:
        signals.clear()
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert time.monotonic() - began < 5


def test_rows_of_another_state_of_the_model_go_when_the_files_are_joined(tmp_path: Path) -> None:
    files = AnswerFiles(tmp_path / "answers.jsonl", Share(1, 2))
    stale: dict[str, Any] = {"key": "old", "identity": "another", "answer": ""}
    files.add(stale)
    ask_as(0, files.path, of=2)
    ask_as(1, files.path, of=2)
    gathered(files.path, of=2)
    assert "old" not in {row["key"] for row in rows_of(files.path)}


@pytest.mark.parametrize(
    ("env", "left"),
    [
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "3,5"}, "5"),
        ({"WORLD_SIZE": "1", "LOCAL_RANK": "0", "CUDA_VISIBLE_DEVICES": "3,5"}, "3,5"),
        ({"WORLD_SIZE": "2", "LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": ""}, ""),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "0"),
    ],
)
def test_each_process_sees_its_own_gpu(env: dict[str, str], left: str) -> None:
    take_own_gpu(env)
    assert env["CUDA_VISIBLE_DEVICES"] == left


def test_an_unanswerable_prompt_is_kept_counted_and_said(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    told: list[str] = []
    parrot = Parrot(too_long="second 3")
    for _ in range(2):
        ask(TALKS, parrot.lazily(), path=path, on_progress=quietly)
        subject = parrot.lazily().subject
        answers = gather(TALKS, subject, path=path, on_progress=quietly, say=told.append)
    assert [a.question_id for a in answers if a.text == ""] == [3]
    assert len(parrot.asked) == TOTAL - 1
    (text,) = set(told)
    assert text == (
        "1 of 16 answers of m are empty; the first is question 3, turn 2: the prompt is too long"
    )
    assert json.loads(path.read_text().splitlines()[0])["problem"] is None
