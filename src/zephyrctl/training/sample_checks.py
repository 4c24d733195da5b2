"""What in a model's own answers should worry its owner? (C7)

Pure measures of a set of answers to the same held-out prompts, now and before training. Small sets
say little: every threshold asks for at least two answers, and most compare with the start.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zephyrctl.data.filters.truecase import truecase
from zephyrctl.data.refusals import find_refusal
from zephyrctl.runs.verdict import Check

Rows = Sequence[Mapping[str, object]]

_MARKER = re.compile(
    r"<\|(?:user|assistant|system|im_start|im_end|start_header_id|end_header_id)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|^###? ?(?:Human|User|Assistant):",
    re.MULTILINE,
)
_RUN, _FEWEST_RUNS = 4, 8
LENGTH_FACTOR = 3.0


@dataclass(frozen=True)
class Measures:
    """Of one set of N answers: numbers of answers, and the mean length in characters."""

    answers: int
    stopped: int
    empty: int
    distinct: int
    repeating: int
    with_markers: int
    refusing: int
    lowercase: int
    characters: float


def measure(rows: Rows) -> Measures:
    """Count what is looked at; `rows` have `completion` and `stopped`."""
    texts = [str(row["completion"]).strip() for row in rows]

    def count(is_so: Callable[[str], bool]) -> int:
        return sum(map(is_so, texts))

    return Measures(
        answers=len(texts),
        stopped=sum(bool(row["stopped"]) for row in rows),
        empty=count(lambda text: not text),
        distinct=len(set(texts)),
        repeating=count(_repeats),
        with_markers=count(lambda text: bool(_MARKER.search(text))),
        refusing=count(lambda text: find_refusal(text) is not None),
        lowercase=count(_starts_sentences_small),
        characters=sum(map(len, texts)) / max(1, len(texts)),
    )


def samples(now: Measures, before: Measures | None, *, share_done: float) -> list[Check]:
    """Checks on answers of the model in training; `before`: its answers before the first step."""
    if not now.answers:
        return []
    n = now.answers
    found = [
        _few(
            "answers are there", now.empty, n, before.empty if before else 0, share=0.5,
            text=f"{now.empty} of {n} sample answers are empty",
        ),
        _differ(now),
    ]  # fmt: skip
    if before is None:
        return found
    found += [
        _few(
            "answers do not repeat", now.repeating, n, before.repeating, share=0.5,
            text=f"{now.repeating} of {n} sample answers repeat themselves",
        ),
        _few(
            "answers do not refuse", now.refusing, n, before.refusing, share=0.25,
            text=f"{now.refusing} of {n} sample answers refuse or disclaim, {before.refusing} did "
            "at the start: do the training data? (filter drop_refusals)",
        ),
        _few(
            "answers begin sentences with capitals", now.lowercase, n, before.lowercase, share=0.25,
            text=f"{now.lowercase} of {n} sample answers begin sentences in lower case, "
            f"{before.lowercase} did at the start: do the training data? (filter fix_truecase)",
        ),
        _stop(now, before),
    ]  # fmt: skip
    if share_done >= 0.5:
        text = (
            f"{now.with_markers} of {n} sample answers hold a role marker: the model goes on and "
            "talks to itself; is the end of each turn trained?"
        )
        held = _few("answers hold no role markers", now.with_markers, n, 0, share=0.1, text=text)
        found.append(held)
    return found


def length(now: Measures, before: Measures) -> Check | None:
    """The mean length against that of the model DPO started from; None for fewer than 3 answers."""
    if now.answers < 3 or not before.characters:
        return None
    name, band = "length of answers", f"within a factor of {LENGTH_FACTOR:.0f} of the start"
    if not 1 / LENGTH_FACTOR < now.characters / before.characters < LENGTH_FACTOR:
        text = (
            f"sample answers have {now.characters:.0f} characters on average, "
            f"{before.characters:.0f} at the start"
        )
        return Check(name, "warn", text, now.characters, band)
    return Check(name, "pass", value=now.characters, band=band)


def _few(name: str, count: int, answers: int, before: int, *, share: float, text: str) -> Check:
    """More than `share` of the answers, at least two (of a single answer, that one), and more than
    before training."""
    band = f"at most {share:.0%}, or no more than at the start"
    is_many = count > share * answers and count >= min(2, answers) and count > before
    if is_many:
        return Check(name, "warn", text, count / answers, band)
    return Check(name, "pass", value=count / answers, band=band)


def _differ(now: Measures) -> Check:
    same = now.answers >= 3 and now.distinct == 1 and now.empty == 0
    text = f"all {now.answers} sample answers are the same text"
    state = "warn" if same else "pass"
    return Check("answers differ", state, text if same else "", now.distinct, "more than 1")


def _stop(now: Measures, before: Measures) -> Check:
    name, band = "answers end", "at least half as many as at the start"
    least = max(2, now.answers / 4) if now.answers > 1 else 1
    if before.stopped >= least and now.stopped < before.stopped / 2:
        text = (
            f"only {now.stopped} of {now.answers} sample answers end by themselves, "
            f"{before.stopped} did at the start"
        )
        return Check(name, "warn", text, now.stopped / now.answers, band)
    return Check(name, "pass", value=now.stopped / now.answers, band=band)


def _repeats(text: str) -> bool:
    """Whether most runs of four words were seen before in the same text."""
    words = text.split()
    runs = [tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)]
    return len(runs) >= _FEWEST_RUNS and len(set(runs)) < len(runs) / 2


def _starts_sentences_small(text: str) -> bool:
    return truecase(text) != text
