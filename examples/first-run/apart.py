"""Do training rows and questions share an entity, a value or an instruction's wording?"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks import Task

_SPELLED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
NUMBER_WORDS = {word: number for number, word in enumerate(_SPELLED.split())}
RUN = 4
"""A run of this many words in the prompts of both is shared wording."""


def words(text: str) -> list[str]:
    """The words of `text` in lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())


def normalised(text: str) -> str:
    """`text` without case and punctuation."""
    return " ".join(words(text))


def values(text: str) -> set[int]:
    """The numbers of `text`, in digits or words."""
    return {
        int(word) if word.isdigit() else NUMBER_WORDS[word]
        for word in words(text)
        if word.isdigit() or word in NUMBER_WORDS
    }


def runs(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """Every run of `RUN` words in `texts`."""
    return {
        tuple(found[start : start + RUN])
        for found in map(words, texts)
        for start in range(len(found) - RUN + 1)
    }


def texts(
    dialogues: Sequence[dict[str, Any]], ratings: Sequence[dict[str, Any]]
) -> tuple[list[str], list[str]]:
    """The prompts of the training rows, and every text in them."""
    prompts = [text for row in dialogues for text in row["data"][::2]]
    prompts += [row["instruction"] for row in ratings]
    answers = [text for row in dialogues for text in row["data"][1::2]]
    answers += [item["response"] for row in ratings for item in row["completions"]]
    return prompts, [*prompts, *answers]


def share_nothing(train: tuple[list[str], list[str]], asked: Mapping[str, Sequence[Task]]) -> None:
    """Raise ValueError at the first thing that two splits share."""
    prompts, everything = train
    seen_words = {word for text in everything for word in words(text)}
    seen_values = {number for text in everything for number in values(text)}
    seen_runs = runs(prompts)
    for split, tasks in asked.items():
        entities = {entity.lower() for task in tasks for entity in task.entities}
        numbers = {
            number
            for task in tasks
            for text in (task.prompt, task.answer)
            for number in values(text)
        }
        wording = runs(task.prompt for task in tasks)
        shared = {
            "entities": entities & seen_words,
            "values": numbers & seen_values,
            "wording": wording & seen_runs,
        }
        for kind, found in shared.items():
            if found:
                raise ValueError(f"{split} shares {kind} with an earlier split: {sorted(found)}")
        seen_words |= {word for task in tasks for word in words(task.prompt)}
        seen_values |= numbers
        seen_runs |= wording
