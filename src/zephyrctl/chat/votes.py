"""Which of two replies did a person prefer, and where is that kept?

A choice becomes one row of `chats/prefs.jsonl` for each reply it was made against: a source of
`data.dpo` as it is. A tie, and a "none of them", is no pair, nor is a choice against an empty
reply, which data preparation would drop; such votes go into `undecided.jsonl` beside it. Every
vote is one write to one file under a lock, so that a kill loses a vote whole or not at all, and
chats that run at the same time lose nothing. A tally is read from both files anew.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zephyrctl.data.messages import Message, to_json
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.atomic import append_records, parse_line

PAIRS, UNDECIDED = "prefs.jsonl", "undecided.jsonl"
LETTERS = "abcd"
TIE, NONE = "tie", "none"


@dataclass(frozen=True)
class Answered:
    """A model's whole reply, shown under `letter`. `cut` is true where the limit of tokens ended
    it; `made` tells the model from another training of the same name, where that is known."""

    letter: str
    model: str
    text: str
    cut: bool = False
    made: str | None = None


@dataclass(frozen=True)
class Question:
    """What is voted on: the conversation up to the question, and the replies as they were shown."""

    prompt: tuple[Message, ...]
    replies: tuple[Answered, ...]
    sampling: Sampling
    blind: bool


@dataclass(frozen=True)
class Ballot:
    """A vote without its texts: `shown` are the models in their order, `preferred` those whose
    reply was chosen (several where theirs were the same), empty for a tie or none."""

    id: str
    choice: str
    shown: tuple[str, ...]
    preferred: tuple[str, ...]
    blind: bool
    made: Mapping[str, str | None]


@dataclass(frozen=True)
class Tally:
    """What the files of votes say. `torn` names files whose last line a kill cut off; `strange`
    counts lines that are no votes of a chat."""

    ballots: tuple[Ballot, ...]
    torn: tuple[str, ...] = ()
    strange: int = 0


def is_blank(text: str) -> bool:
    """Whether a reply says nothing: the `empty_answer` of data preparation, which drops its row."""
    return not text.strip()


def choice_of(text: str, letters: Sequence[str], *, hinted: Sequence[str]) -> str:
    """What was typed after /prefer: one of `letters`, `tie` or `none`; the hint is the first of
    `hinted`, which are not refused later, else a tie."""
    choice = text.strip().lower()
    known = [*letters, TIE, NONE]
    if choice not in known:
        given = f", not '{text.strip()}'" if choice else ""
        raise UsageError(
            f"/prefer takes one of {', '.join(known)}{given}",
            hint=f"/prefer {[*hinted, TIE][0]}",
        )
    return choice


def keep(question: Question, choice: str, *, folder: Path) -> tuple[Ballot, list[dict[str, Any]]]:
    """Write a vote into `folder`; returns it and the pairs that were stored.

    UsageError for a letter where all replies are the same word for word: there is nothing that
    one is preferred over, so that only `tie` and `none` are votes on them. Nor can an empty reply
    be preferred.
    """
    ballot = ballot_of(question, choice)
    rows = pairs_of(question, ballot)
    if rows:
        _append(folder / PAIRS, rows)
    else:
        _append(folder / UNDECIDED, [_undecided(question, ballot)])
    return ballot, rows


def ballot_of(question: Question, choice: str) -> Ballot:
    """The vote that `choice` is on `question`; see `keep` for what is refused."""
    shown = tuple(reply.model for reply in question.replies)
    preferred: tuple[str, ...] = ()
    if choice not in (TIE, NONE):
        best = next(reply.text for reply in question.replies if reply.letter == choice)
        if is_blank(best):
            raise UsageError(
                f"{choice.upper()}'s reply is empty: a model would learn to say nothing",
                hint="/prefer another letter, tie or none",
            )
        preferred = tuple(reply.model for reply in question.replies if reply.text == best)
        if len(preferred) == len(shown):
            raise UsageError(
                "the replies are the same word for word: none is better", hint="/prefer tie"
            )
    made = {reply.model: reply.made for reply in question.replies}
    return Ballot(secrets.token_hex(6), choice, shown, preferred, question.blind, made)


def pairs_of(question: Question, ballot: Ballot) -> list[dict[str, Any]]:
    """The rows of a choice: chosen against each other reply that says something, once for replies
    that are the same."""
    if not ballot.preferred:
        return []
    chosen = next(r for r in question.replies if r.model == ballot.preferred[0])
    others: dict[str, Answered] = {}
    for reply in question.replies:
        if reply.text != chosen.text and not is_blank(reply.text):
            others.setdefault(reply.text, reply)
    record = _record(question, ballot)
    return [
        {
            "id": f"{ballot.id}-{number}",
            "prompt": to_json(question.prompt),
            "chosen": [{"role": "assistant", "content": chosen.text}],
            "rejected": [{"role": "assistant", "content": other.text}],
            "chosen_model": chosen.model,
            "rejected_model": other.model,
            "vote": record,
        }
        for number, other in enumerate(others.values(), start=1)
    ]


def _undecided(question: Question, ballot: Ballot) -> dict[str, Any]:
    return {
        "prompt": to_json(question.prompt),
        "replies": [{"model": r.model, "content": r.text} for r in question.replies],
        "vote": _record(question, ballot),
    }


def _record(question: Question, ballot: Ballot) -> dict[str, Any]:
    return {
        "id": ballot.id,
        "choice": ballot.choice,
        "shown": list(ballot.shown),
        "preferred": list(ballot.preferred),
        "blind": ballot.blind,
        "made": dict(ballot.made),
        "cut": [reply.model for reply in question.replies if reply.cut],
        "sampling": {**question.sampling.to_json(), "seed": question.sampling.seed},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One write; the lock also keeps a torn tail from being mended by two chats at once."""
    try:
        with _locked(path):
            append_records(path, rows, sync=True)
    except OSError as error:
        raise UsageError(f"the vote cannot be kept in {path}: {error.strerror}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield  # closing the file, also by a kill, lets go of the lock


def read(folder: Path) -> Tally:
    """Every vote in `folder`; see `Tally` for what could not be read."""
    ballots: dict[str, Ballot] = {}
    torn, strange = [], 0
    for name in (PAIRS, UNDECIDED):
        path = folder / name
        try:
            lines = path.read_bytes().split(b"\n") if path.exists() else []
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = parse_line(line)
            ballot = _ballot_in(row)
            if ballot is not None:
                ballots.setdefault(ballot.id, ballot)
            elif row is None and number == len(lines):
                torn.append(name)
            else:
                strange += 1
    return Tally(tuple(ballots.values()), tuple(torn), strange)


def _ballot_in(row: Mapping[str, Any] | None) -> Ballot | None:
    """The vote of a row; None for one that somebody else has written."""
    vote: Any = (row or {}).get("vote")
    try:
        shown, preferred = tuple(vote["shown"]), tuple(vote["preferred"])
        made = dict(vote["made"])
        found = Ballot(vote["id"], vote["choice"], shown, preferred, bool(vote["blind"]), made)
    except (KeyError, TypeError, ValueError):
        return None
    names = (found.id, found.choice, *shown)
    is_sound = all(isinstance(name, str) for name in names) and set(preferred) <= set(shown)
    return found if is_sound and len(shown) > 1 else None
