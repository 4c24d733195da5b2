"""What makes a score mean less than it seems?

Answers that were cut, go round in circles, say the same to every question, or speak to the judge;
and a judge that is of one family with the teacher. A doubt changes no score: it is a sentence
beside it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.data.filters.repetition import Repetition, drop_repetition
from zephyrctl.data.filters.special_tokens import MARKUP, ends_a_turn
from zephyrctl.data.filters.views import Drop
from zephyrctl.data.messages import Dialogue, Message
from zephyrctl.data.pipeline.near_duplicates import PERMUTATIONS, band_rows, signatures
from zephyrctl.data.text import without_code
from zephyrctl.data.word_hashes import word_hashes
from zephyrctl.evaluation.benchmark import Answer, Question

MOSTLY_CUT = 0.2
"""More answers than this cut at the limit are a warning."""
OFTEN_REPETITIVE = 0.05
OFTEN_ALIKE = 0.05
"""Long answers to different questions are alike only where they answer neither: fifteen public
models with 160 answers each to MT-Bench have not one."""
OFTEN_THE_SAME = 0.25
"""Short answers may well be the same: "Yes." is right more than once."""
ALIKE = 0.8
"""Jaccard similarity of the runs of three words, estimated."""
_LONG = 20
"""Words from which an answer is long."""

_CONTROL = re.compile("|".join(MARKUP))
_TO_THE_JUDGE = re.compile(
    r"\[\[(?:\d+\.?\d*|[ABC])\]\]"  # a verdict, as FastChat's parser wants it
    r"|(?:\[|<\|)The (?:Start|End) of (?:Reference|Assistant)\b[^\]>\n]{0,60}(?:\]|\|>)"
    r"|['\"]?\bmodel_identifier\b['\"]?"  # the fields of AlpacaEval's prompts
    r"|['\"]model['\"]\s*:\s*['\"](?:model_[12]|[mM])['\"]"
    r"|\"\"\"\s*\}"  # the end of an answer in them
    r"|## (?:Model Outputs|Best Model Identifier)\b",
)
# Names of OpenAI's, Anthropic's, … models begin like this, whatever stands before a slash.
_FAMILIES = {
    "OpenAI": r"gpt|chatgpt|o\d(?:-|$)|text-davinci|davinci",
    "Anthropic": r"claude",
    "Google": r"gemini|gemma|palm|bard",
    "Meta": r"(?:meta-)?llama",
    "Mistral": r"(?:open-)?(?:mistral|mixtral|ministral|magistral)",
    "Qwen": r"qwen|qwq",
    "DeepSeek": r"deepseek",
}
# Who wrote or rated public data sets, by a part of their name (their cards on the Hub).
_TEACHERS = {
    "ultrafeedback": ("rated the preferences", "GPT-4", "OpenAI"),
    "nectar": ("ranked the preferences", "GPT-4", "OpenAI"),
    "orca_dpo": ("wrote the preferred answers", "GPT-4", "OpenAI"),
    "ultrachat": ("wrote the dialogues", "gpt-3.5-turbo", "OpenAI"),
    "openhermes": ("wrote the dialogues", "GPT-4", "OpenAI"),
    "magpie": ("wrote the dialogues", "Llama 3", "Meta"),
}


def doubts(answers: Sequence[Answer], questions: Sequence[Question], *, model: str) -> list[str]:
    """A sentence for each thing in a model's answers that makes its scores mean less."""
    if not answers:
        return []
    found = [
        _ended(answers),
        _empty(answers),
        _repetitive(answers, questions),
        _alike(answers),
        _speaks_to_the_judge(answers),
        _control_tokens(answers),
    ]
    return [f"{model}: {text}" for text in found if text]


def judge_doubts(judge_name: str | None, recipe: Recipe) -> list[str]:
    """A sentence where the judge is of one family with who wrote or rated the training data.

    A judge prefers what its own family writes, and such a model was trained to write that
    (arXiv 2404.13076, 2410.21819).
    """
    family = family_of(judge_name or "")
    if family is None:
        return []
    data = recipe.data
    paths = [source.path for source in (*data.sft.train, *data.dpo.train)]
    said: list[str] = []
    for name, (did, teacher, of_family) in _TEACHERS.items():
        if of_family == family and any(name in path.lower() for path in paths):
            said.append(f"{teacher} {did} ({name})")
    if not said:
        return []
    return [
        f"the judge {judge_name} is of the teacher's family ({family}): {' and '.join(said)}; "
        "such a judge prefers what its own family writes. A second judge of another family "
        "would tell"
    ]


def family_of(name: str) -> str | None:
    """Who makes a model, by its name; None where the name does not say."""
    bare = name.rpartition("/")[2].lower()
    for family, pattern in _FAMILIES.items():
        if re.match(pattern, bare):
            return family
    return None


def _ended(answers: Sequence[Answer]) -> str | None:
    cut = sum(not answer.stopped for answer in answers)
    if cut == len(answers):
        return "no answer was ended by the model itself; was its end token trained?"
    if cut > MOSTLY_CUT * len(answers):
        return f"{cut} of {len(answers)} answers were cut at the token limit"
    return None


def _empty(answers: Sequence[Answer]) -> str | None:
    empty = sum(not answer.text.strip() for answer in answers)
    return f"{empty} of {len(answers)} answers are empty" if empty else None


def _repetitive(answers: Sequence[Answer], questions: Sequence[Question]) -> str | None:
    """By the data filter's detector, which knows what the user asked for."""
    damaged = drop_repetition(Repetition.model_validate({"name": "drop_repetition"}), frozenset())
    asked = {question.question_id: question.turns for question in questions}
    reasons: Counter[str] = Counter()
    for answer in answers:
        turns = asked.get(answer.question_id, ())[: answer.turn]
        messages = (*(Message("user", t) for t in turns), Message("assistant", answer.text))
        verdict = damaged(Dialogue(messages, "", ""))
        if isinstance(verdict, Drop):
            reasons[verdict.reason] += 1
    count = sum(reasons.values())
    if count <= OFTEN_REPETITIVE * len(answers):
        return None
    words = ", ".join(f"{reason} {times}" for reason, times in reasons.most_common())
    return f"{count} of {len(answers)} answers repeat themselves ({words})"


def _alike(answers: Sequence[Answer]) -> str | None:
    """Answers that are nearly the same as one to another question: a null model's are."""
    texts: dict[str, Answer] = {}
    questions: dict[str, set[Any]] = defaultdict(set)
    for answer in answers:
        texts.setdefault(answer.text, answer)
        questions[answer.text].add(answer.question_id)
    asked = len({answer.question_id for answer in answers})
    if asked < 2:
        return None
    text = max(questions, key=lambda text: len(questions[text]))
    if text.strip() and len(questions[text]) > max(3, OFTEN_THE_SAME * asked):
        times = sum(answer.text == text for answer in answers)
        return f"{times} of {len(answers)} answers are the same: {_quoted(text)}"
    alike = _near(questions)
    alike |= {t for t, of in questions.items() if len(of) > 1 and _words(t) >= _LONG}
    count = sum(answer.text in alike for answer in answers)
    if count <= max(2, OFTEN_ALIKE * len(answers)):
        return None
    example = min(alike, key=len)
    return (
        f"{count} of {len(answers)} answers are nearly the same as one to another question: "
        f"{_quoted(example)}"
    )


def _near(questions: dict[str, set[Any]]) -> set[str]:
    """Long texts like another one that answers another question."""
    long = [text for text in questions if _words(text) >= _LONG]
    if not long:
        return set()
    marks = signatures([[word_hashes(text)] for text in long])
    found: set[int] = set()
    for places in _sharing_a_band(marks):
        others = marks[places]
        for place in places:
            if place in found:
                continue
            (like,) = ((others == marks[place]).mean(axis=1) >= ALIKE).nonzero()
            mine = questions[long[place]]
            twins = [places[at] for at in like if questions[long[places[at]]] != mine]
            found.update((place, *twins) if twins else ())
    return {long[place] for place in found}


def _sharing_a_band(marks: Any) -> Iterator[list[int]]:
    """Rows of `marks` that agree in a whole band: two alike ones do in some, by the odds."""
    rows = band_rows(ALIKE)
    for start in range(0, PERMUTATIONS, rows):
        groups: dict[bytes, list[int]] = defaultdict(list)
        for place, band in enumerate(marks[:, start : start + rows]):
            groups[band.tobytes()].append(place)
        yield from (places for places in groups.values() if len(places) > 1)


def _speaks_to_the_judge(answers: Sequence[Answer]) -> str | None:
    # In code, double brackets are lists and triple quotes are docstrings.
    hits = [(a, m.group()) for a in answers if (m := _TO_THE_JUDGE.search(without_code(a.text)))]
    return _with_example(hits, len(answers), "hold what belongs to a judge's prompt or verdict")


def _control_tokens(answers: Sequence[Answer]) -> str | None:
    hits: list[tuple[Answer, str]] = []
    for answer in answers:
        match = _CONTROL.search(answer.text)
        if match is not None:
            hits.append((answer, match.group()))
        elif ends_a_turn(answer.text):
            hits.append((answer, "</s>"))
    return _with_example(hits, len(answers), "hold control tokens of a chat template")


def _with_example(hits: Sequence[tuple[Answer, str]], total: int, what: str) -> str | None:
    if not hits:
        return None
    answer, text = hits[0]
    return f"{len(hits)} of {total} answers {what}: {_quoted(text)} (question {answer.question_id})"


def _words(text: str) -> int:
    return len(text.split())


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return f"'{line if len(line) <= 60 else line[:59] + '…'}'"
