"""Which sentences the `tiny` recipe learns from, and which questions it is scored on.

    python src/zephyrctl/recipes/tiny/generate.py [FOLDER]

writes dialogues.jsonl (UltraChat's columns), ratings.jsonl (UltraFeedback's columns),
questions.jsonl (the reported questions) and questions-tuning.jsonl (the questions on which the
recipe's numbers were chosen) into FOLDER, by default the folder of this file. The same seed gives
the same bytes.

The grammar: a prompt asks to hand a good to a person in a manner; the right answer opens in that
manner with the name, names the good, and closes in that manner. Pairs of (name, good) are divided
once: training, tuning and reported questions never share one. The teacher is imperfect on purpose,
with one dominant flaw: it goes on talking after a right answer, unless the request says please.
SFT copies the flaw, and the ratings say that it is one, so DPO has something to repair. Some rows
are planted dirt that data preparation has to find: refusals, lower-cased text, repeated rows, and
test questions.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

SEED = 20261122
DIALOGUES = 1200
RATED_PROMPTS = 400
QUESTIONS = 120
TUNING_QUESTIONS = 80
TWO_TURNS = 0.1  # share of dialogues with a second request

NAMES = (
    "Ravi", "Mina", "Tomas", "Aisha", "Pedro", "Lena", "Kofi", "Yuki",
    "Omar", "Nadia", "Felix", "Ingrid", "Hugo", "Priya", "Samir", "Clara",
)  # fmt: skip
GOODS = (
    "pasta", "bread", "tea", "soup", "honey", "rice", "cheese", "coffee",
    "cake", "fruit", "butter", "salad", "juice", "fish", "jam", "milk",
)  # fmt: skip


@dataclass(frozen=True)
class Manner:
    """How a request is worded (`adverb`) and how its answer opens and closes."""

    adverb: str
    opening: str
    closing: str


MANNERS = (
    Manner("politely", "Dear {name},", "With kind regards."),
    Manner("cheerfully", "Hooray for {name},", "Have fun!"),
    Manner("briefly", "Hey {name},", "Done."),
    Manner("formally", "Esteemed {name},", "Yours faithfully."),
)
PHRASINGS = (
    "Offer some {good} to {name} {adverb}.",
    "Please {adverb} give {name} some {good}.",
    "How would you {adverb} hand {name} some {good}?",
)
RAMBLING = (
    "By the way, the weather is nice today.",
    "By the way, there is a lot more to say.",
    "By the way, everybody likes this very much.",
)
REFUSALS = (
    "I'm sorry, but as an AI language model I cannot hand anything to anyone.",
    "As an AI language model, I do not have personal experiences with {good}.",
)


@dataclass(frozen=True)
class Request:
    """One thing asked for."""

    name: str
    good: str
    manner: Manner
    phrasing: str

    @property
    def prompt(self) -> str:
        return self.phrasing.format(name=self.name, good=self.good, adverb=self.manner.adverb)

    @property
    def opening(self) -> str:
        return self.manner.opening.format(name=self.name)

    @property
    def answer(self) -> str:
        return f"{self.opening} here is some {self.good}. {self.manner.closing}"


def pairs_by_split(rng: random.Random) -> dict[str, list[tuple[str, str]]]:
    """Every (name, good) pair, 70 % for training, 10 % for tuning, 20 % for the report."""
    pairs = [(name, good) for name in NAMES for good in GOODS]
    rng.shuffle(pairs)
    cuts = len(pairs) * 7 // 10, len(pairs) * 8 // 10
    return {
        "training": pairs[: cuts[0]],
        "tuning": pairs[cuts[0] : cuts[1]],
        "reported": pairs[cuts[1] :],
    }


def requests(rng: random.Random, pairs: list[tuple[str, str]], count: int) -> list[Request]:
    """Distinct requests over `pairs` in random order."""
    every = [
        Request(name, good, manner, phrasing)
        for name, good in pairs
        for manner in MANNERS
        for phrasing in PHRASINGS
    ]
    return rng.sample(every, count)


# ------------------------------------------------------------------------------------ the teacher


def ramble(request: Request, rng: random.Random) -> str:
    """The right answer, and then more."""
    return f"{request.answer} {rng.choice(RAMBLING)}"


def wrong_manner(request: Request, rng: random.Random) -> str:
    """The right good for the right person in another manner."""
    manner = rng.choice([manner for manner in MANNERS if manner is not request.manner])
    return Request(request.name, request.good, manner, request.phrasing).answer


def wrong_name(request: Request, rng: random.Random) -> str:
    """The answer for somebody else."""
    name = rng.choice([name for name in NAMES if name != request.name])
    return Request(name, request.good, request.manner, request.phrasing).answer


def wrong_good(request: Request, rng: random.Random) -> str:
    """The answer about something else."""
    good = rng.choice([good for good in GOODS if good != request.good])
    return Request(request.name, good, request.manner, request.phrasing).answer


def right(request: Request, rng: random.Random) -> str:
    """The right answer."""
    return request.answer


Writer = Callable[[Request, random.Random], str]
TEACHER: dict[Writer, float] = {
    right: 0.18,
    ramble: 0.70,
    wrong_manner: 0.04,
    wrong_name: 0.04,
    wrong_good: 0.04,
}
"""How often the teacher of the dialogues writes in which way."""

PLEASED_TEACHER: dict[Writer, float] = {**TEACHER, right: 0.70, ramble: 0.18}
"""The same where the request says please: only then does it mostly stop in time."""

RATING: dict[Writer, int] = {right: 10, ramble: 6, wrong_manner: 4, wrong_name: 3, wrong_good: 2}
"""The annotator's score from 1 to 10; it is off by one in a third of its ratings."""

MODELS: dict[Writer, str] = {
    right: "teacher-a",
    ramble: "teacher-b",
    wrong_manner: "teacher-c",
    wrong_name: "teacher-d",
    wrong_good: "teacher-d",
}


def teach(request: Request, rng: random.Random) -> str:
    """What the imperfect teacher answers."""
    habits = PLEASED_TEACHER if request.phrasing.startswith("Please") else TEACHER
    return rng.choices(list(habits), list(habits.values()))[0](request, rng)


# ------------------------------------------------------------------------------------------- rows


def message(role: str, content: str) -> dict[str, str]:
    """One message as the data sets write it."""
    return {"role": role, "content": content}


def dialogue_row(messages: list[dict[str, str]]) -> dict[str, object]:
    """A row with UltraChat's columns."""
    prompt = messages[0]["content"]
    return {
        "prompt": prompt,
        "prompt_id": hashlib.sha256(prompt.encode()).hexdigest(),
        "messages": messages,
    }


def dialogues(rng: random.Random, pairs: list[tuple[str, str]]) -> list[dict[str, object]]:
    """The teacher's dialogues; no prompt opens two of them."""
    rows = []
    second = requests(rng, pairs, DIALOGUES)
    for first, then in zip(requests(rng, pairs, DIALOGUES), second, strict=True):
        messages = []
        for request in (first, then) if rng.random() < TWO_TURNS else (first,):
            messages += [message("user", request.prompt)]
            messages += [message("assistant", teach(request, rng))]
        rows.append(dialogue_row(messages))
    return rows


def dirt(
    rng: random.Random,
    rows: list[dict[str, object]],
    pairs: list[tuple[str, str]],
    asked: list[str],
) -> list[dict[str, object]]:
    """Rows that data preparation must find: see the module's docstring."""
    planted = []
    for request in requests(rng, pairs, 12):
        refusal = rng.choice(REFUSALS).format(good=request.good)
        planted.append([message("user", request.prompt), message("assistant", refusal)])
    for request in requests(rng, pairs, 8):
        lowered = request.answer.lower()
        planted.append([message("user", request.prompt), message("assistant", lowered)])
    for prompt in asked[:5]:
        planted.append([message("user", prompt), message("assistant", "Here you are.")])
    return [dialogue_row(messages) for messages in planted] + rng.sample(rows, 10)


def rated_row(request: Request, rng: random.Random) -> dict[str, object]:
    """A row with UltraFeedback's columns: four completions, each with its score."""
    writers: list[Writer] = [
        right,
        ramble,
        ramble,
        rng.choice([wrong_manner, wrong_name, wrong_good]),
    ]
    rng.shuffle(writers)
    completions = []
    for writer in writers:
        score = min(10, max(1, RATING[writer] + rng.choice((-1, 0, 0, 0, 0, 1))))
        aspect = {"Rating": str(max(1, round(score / 2)))}
        completions.append(
            {
                "model": MODELS[writer],
                "response": writer(request, rng),
                "overall_score": float(score),
                "annotations": {"helpfulness": aspect, "instruction_following": aspect},
            }
        )
    return {
        "source": "zephyrctl-tiny",
        "instruction": request.prompt,
        "models": [completion["model"] for completion in completions],
        "completions": completions,
    }


def question(request: Request, number: int) -> dict[str, object]:
    """A question whose answer code can check."""
    return {
        "question_id": number,
        "category": request.manner.adverb,
        "turns": [request.prompt],
        "checks": [
            {"name": "starts_with", "value": request.opening},
            {"name": "contains", "value": f"some {request.good}"},
            {"name": "ends_with", "value": request.manner.closing},
            {"name": "max_words", "value": len(request.answer.split())},
            {"name": "stopped"},
        ],
    }


def write(path: Path, rows: Iterable[object]) -> None:
    """One JSON object per line."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def generate(folder: Path) -> None:
    """Write the four files."""
    rng = random.Random(SEED)
    split = pairs_by_split(rng)
    reported = requests(rng, split["reported"], QUESTIONS)
    tuning = requests(rng, split["tuning"], TUNING_QUESTIONS)
    rows = dialogues(rng, split["training"])
    asked = [request.prompt for request in reported]
    rows += dirt(rng, rows, split["training"], asked)
    rng.shuffle(rows)
    rated = [rated_row(r, rng) for r in requests(rng, split["training"], RATED_PROMPTS)]
    write(folder / "dialogues.jsonl", rows)
    write(folder / "ratings.jsonl", rated)
    write(folder / "questions.jsonl", [question(r, i + 1) for i, r in enumerate(reported)])
    write(folder / "questions-tuning.jsonl", [question(r, i + 1001) for i, r in enumerate(tuning)])


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
