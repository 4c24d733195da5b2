"""Answers are asked for once, kept as they come, and asked again only when something changed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.data.messages import Message
from zephyrctl.evaluation.answers import LazyAnswerer, collect
from zephyrctl.evaluation.benchmark import Answer
from zephyrctl.evaluation.rules import Rules, parse_question
from zephyrctl.generation.answerer import Subject
from zephyrctl.generation.sampling import Completion, Sampling


@dataclass
class Parrot:
    """An answerer that keeps what it is asked, dies at the `dies_at`-th question, and does not
    find room for the prompt that ends with `too_long`."""

    dies_at: int | None = None
    too_long: str | None = None
    asked: list[list[Message]] = field(default_factory=list)
    loads: int = 0

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        sampling: Sampling,
        on_done: Callable[[int, Completion], None],
    ) -> None:
        del sampling
        # Backwards, as an engine that sorts by length may.
        for index in reversed(range(len(prompts))):
            if self.dies_at is not None and len(self.asked) == self.dies_at:
                raise ConnectionError("the machine went away")
            self.asked.append(list(prompts[index]))
            said = prompts[index][-1].content
            if said == self.too_long:
                on_done(index, Completion("", 0, 99, False, 0.0, "the prompt is too long"))
                continue
            on_done(index, Completion(f"re: {said}", 2, 3, True, 0.1))

    def close(self) -> None:
        pass

    def lazily(self, identity: dict[str, Any] | None = None) -> LazyAnswerer:
        def load(say: Callable[[str], None]) -> "Parrot":
            del say
            self.loads += 1
            return self

        subject = Subject("m", "parrot", None, identity or {"model": 1}, load)
        return LazyAnswerer(subject, on_load=lambda: None)


def rules(*turns: list[str]) -> Rules:
    rows = [
        {"question_id": number, "turns": texts, "checks": ["stopped"]}
        for number, texts in enumerate(turns)
    ]
    return Rules([parse_question(json.dumps(row), where="here") for row in rows], max_new_tokens=8)


THREE = rules(["one"], ["two"], ["three"])


def ask(parrot: Parrot, path: Path, benchmark: Rules = THREE, **identity: Any) -> list[Answer]:
    return collect(
        benchmark, parrot.lazily(identity or None), path=path, on_progress=lambda done, total: None
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    answers = ask(Parrot(), tmp_path / "a.jsonl")
    assert [(answer.question_id, answer.text) for answer in answers] == [
        (0, "re: one"), (1, "re: two"), (2, "re: three"),
    ]  # fmt: skip


def test_a_rerun_asks_nothing_and_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = ask(Parrot(), path)
    before = path.read_bytes()
    again = Parrot()
    assert ask(again, path) == first
    assert (again.asked, again.loads) == ([], 0)
    assert path.read_bytes() == before


def test_what_was_answered_before_a_failure_is_kept_and_only_the_rest_asked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(ConnectionError):
        ask(Parrot(dies_at=2), path)
    assert len(rows_of(path)) == 2
    rest = Parrot()
    assert ask(rest, path) == ask(Parrot(), tmp_path / "whole.jsonl")
    assert [messages[-1].content for messages in rest.asked] == ["one"]
    keys = [row["key"] for row in rows_of(path)]
    assert len(keys) == len(set(keys)) == 3


def test_a_torn_last_line_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = ask(Parrot(), path)
    path.write_bytes(path.read_bytes()[:-20])
    again = Parrot()
    assert ask(again, path) == first
    assert len(again.asked) == 1
    assert len(rows_of(path)) == 3


def test_later_turns_carry_the_models_own_replies(tmp_path: Path) -> None:
    parrot = Parrot()
    answers = ask(parrot, tmp_path / "a.jsonl", rules(["a", "b"], ["c"]))
    assert [(a.question_id, a.turn, a.text) for a in answers] == [
        (0, 1, "re: a"), (0, 2, "re: b"), (1, 1, "re: c"),
    ]  # fmt: skip
    assert parrot.asked[-1] == [
        Message("user", "a"), Message("assistant", "re: a"), Message("user", "b"),
    ]  # fmt: skip


def test_the_same_prompt_twice_is_asked_once(tmp_path: Path) -> None:
    parrot = Parrot()
    answers = ask(parrot, tmp_path / "a.jsonl", rules(["same"], ["same"]))
    assert [answer.text for answer in answers] == ["re: same", "re: same"]
    assert len(parrot.asked) == 1


def test_another_model_is_asked_anew_and_the_old_answers_go(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    ask(Parrot(), path, model="before")
    again = Parrot()
    ask(again, path, model="after")
    assert len(again.asked) == 3
    assert len(rows_of(path)) == 3


def test_fewer_questions_keep_the_other_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    ask(Parrot(), path)
    ask(Parrot(), path, rules(["one"]))
    again = Parrot()
    ask(again, path)
    assert again.asked == []


def test_a_longer_limit_is_another_answer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    ask(Parrot(), path)
    longer = Rules(THREE.questions, max_new_tokens=9)
    again = Parrot()
    ask(again, path, longer)
    assert len(again.asked) == 3


def test_progress_counts_what_was_there_already(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(ConnectionError):
        ask(Parrot(dies_at=1), path)
    seen: list[tuple[int, int]] = []
    collect(
        THREE,
        Parrot().lazily(),
        path=path,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (1, 3)
    assert seen[-1] == (3, 3)
    assert seen == sorted(seen)
