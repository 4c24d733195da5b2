"""Write the first-run data: dialogues, ratings, questions, and the list of planted rows.

Run `python examples/first-run/generate.py`; one seed gives the same bytes on every machine.
"""

import argparse
import itertools
import json
import random
from pathlib import Path
from typing import Any

import apart
import dirt
from phrasings import COURTESIES, DISCLAIMERS, REFUSALS
from tasks import FAMILIES, Task, build
from words import pools

SEED = 20261122
FOLDER = Path(__file__).resolve().parents[2] / "src" / "zephyrctl" / "recipes" / "first-run"
DIALOGUES = 660
RATINGS = 660
TURNS = 6
"""Every so many-th dialogue has two exchanges."""
QUESTIONS = {"dev": 120, "test": 240}
CHATTY = 0.5
"""Share of the teacher's answers that go on after the right answer."""
MODELS = ("tutor-a", "tutor-b", "tutor-c", "tutor-d")
Row = dict[str, Any]


def tasks_of(split: str, *, count: int, seen: set[str], rng: random.Random) -> list[Task]:
    """`count` tasks, the families in turn, none asked before."""
    pool = pools(SEED)[split]
    found: list[Task] = []
    for family in itertools.cycle(FAMILIES):
        if len(found) == count:
            return found
        task = build(family, rng=rng, pool=pool)
        while apart.normalised(task.prompt) in seen:
            task = build(family, rng=rng, pool=pool)
        seen.add(apart.normalised(task.prompt))
        found.append(task)
    raise AssertionError("the families never end")


def goes_on(task: Task, *, long: bool, rng: random.Random) -> str:
    """The right answer with the dominant flaw: it does not end there."""
    answer = task.answer if task.answer[-1] in ".!?" else task.answer + "."
    parts = [answer, task.explanation] if long else [answer]
    return " ".join([*parts, rng.choice(COURTESIES)])


def taught(task: Task, *, rng: random.Random) -> str:
    """What the teacher of the dialogues answers."""
    if rng.random() >= CHATTY:
        return task.answer
    return goes_on(task, long=rng.random() < 0.4, rng=rng)


def dialogues(seen: set[str]) -> list[Row]:
    """Rows in UltraChat's schema: `data` holds user and assistant in turn."""
    rng = random.Random(SEED + 1)
    rows = []
    stream = iter(tasks_of("train", count=2 * DIALOGUES, seen=seen, rng=rng))
    for number, task in enumerate(itertools.islice(stream, DIALOGUES), start=1):
        data = [task.prompt, taught(task, rng=rng)]
        if number % TURNS == 0:
            more = next(stream)
            data += [more.prompt, taught(more, rng=rng)]
        rows.append({"id": f"first-run-{number:04d}", "data": data})
    return rows


def completion(model: str, response: str, score: float, critique: str) -> Row:
    """One rated completion in UltraFeedback's raw schema; `score` is out of ten."""
    rating = str(max(1, min(5, round(score / 2))))
    aspects = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    return {
        "model": model,
        "response": response,
        "overall_score": score,
        "fine-grained_score": float(rating),
        "critique": critique,
        "annotations": {aspect: {"Rating": rating} for aspect in aspects},
    }


def rated(task: Task, *, rng: random.Random) -> Row:
    """One prompt with four completions, rated by the rules; the best passes every check."""
    worst = rng.choice(
        (
            (rng.choice(DISCLAIMERS) + " " + task.answer, 3.0, "It opens with a disclaimer."),
            (task.wrong, 2.0, "It is wrong."),
            (rng.choice(REFUSALS), 1.0, "It does not help at all."),
        )
    )
    answers = [
        (task.answer, 9.0, "It is right, in the form asked for, and ends there."),
        (goes_on(task, long=False, rng=rng), 6.0, "It is right, but does not end there."),
        (goes_on(task, long=True, rng=rng), 5.0, "It is right, but goes on and on."),
        worst,
    ]
    models = list(MODELS)
    rng.shuffle(models)
    rng.shuffle(answers)
    completions = [completion(m, *answer) for m, answer in zip(models, answers, strict=True)]
    return {
        "source": "first-run",
        "instruction": task.prompt,
        "models": models,
        "completions": completions,
        "correct_answers": [],
        "incorrect_answers": [],
    }


def ratings(seen: set[str]) -> list[Row]:
    """Rows in UltraFeedback's raw schema."""
    rng = random.Random(SEED + 2)
    found = tasks_of("train", count=RATINGS, seen=seen, rng=rng)
    return [rated(task, rng=rng) for task in found]


def questions(split: str, seen: set[str]) -> tuple[list[Task], list[Row]]:
    """The tasks of a split of questions, and their rows for the benchmark `rules`."""
    rng = random.Random(SEED + {"dev": 3, "test": 4}[split])
    found = tasks_of(split, count=QUESTIONS[split], seen=seen, rng=rng)
    rows = [
        {
            "question_id": f"{split}-{number:03d}-{task.family}",
            "category": task.family,
            "turns": [task.prompt],
            "checks": list(task.checks),
            "reference": task.answer,
        }
        for number, task in enumerate(found, start=1)
    ]
    return found, rows


def generate() -> dict[str, str]:
    """The text of every file by its name."""
    seen: set[str] = set()
    asked = {split: questions(split, seen) for split in QUESTIONS}
    clean = {"dialogues": dialogues(seen), "ratings": ratings(seen)}
    train = apart.texts(clean["dialogues"], clean["ratings"])
    apart.share_nothing(train, {split: tasks for split, (tasks, _) in asked.items()})
    held_out = [task.prompt for task in asked["test"][0]]
    files: dict[str, list[Row]] = {
        "questions.jsonl": asked["test"][1],
        "dev_questions.jsonl": asked["dev"][1],
    }
    planted: dict[str, dict[str, list[int]]] = {}
    rng = random.Random(SEED + 5)
    for kind, rows in clean.items():
        soiled = dirt.plant(kind, rows, held_out=held_out, rng=rng)
        files[f"{kind}.jsonl"], planted[kind] = soiled
    text = {
        name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for name, rows in files.items()
    }
    text["planted.json"] = json.dumps(planted, indent=1) + "\n"
    return text


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in generate().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{folder / name}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
