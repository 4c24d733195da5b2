"""What is MT-Bench's protocol? Temperatures, judge prompts, and the arithmetic of its scores.

Source: lm-sys/FastChat 0e6d3e4, fastchat/llm_judge (gen_model_answer, gen_judgment, common,
show_result), Zheng et al. 2023, arXiv 2306.05685.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from zephyrctl.errors import DataError
from zephyrctl.evaluation.judges.contract import JudgeRequest
from zephyrctl.evaluation.mt_bench.formats import JudgePrompt, MtBenchFiles, Question
from zephyrctl.evaluation.verdicts import UNPARSED, parse_winner

# common.py, temperature_config; other categories get 0.7.
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
DEFAULT_TEMPERATURE = 0.7
NEEDS_REFERENCE = frozenset({"math", "reasoning", "coding"})

# question.jsonl: ids 81 to 160, ten in a row for each category, two turns each.
FIRST_ID, TURNS = 81, 2
CATEGORIES = (
    "writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities",
)  # fmt: skip
QUESTIONS = 10 * len(CATEGORIES)


def category_of(question_id: int | str) -> str | None:
    """The category of one of MT-Bench's own questions; None for another."""
    place = question_id - FIRST_ID if isinstance(question_id, int) else -1
    return CATEGORIES[place // 10] if 0 <= place < QUESTIONS else None


def temperature(category: str) -> float:
    """The sampling temperature of answers in a category."""
    return TEMPERATURES.get(category, DEFAULT_TEMPERATURE)


def single_request(
    files: MtBenchFiles, question: Question, answer: Sequence[str], *, turn: int
) -> JudgeRequest:
    """The rating of one turn (1 or 2) of one answer, given as the texts of its turns."""
    prompt = _prompt(files, "single", question, turn)
    if turn == 1:
        fields = {"question": question.turns[0], "answer": answer[0]}
    else:
        fields = {
            "question_1": question.turns[0],
            "question_2": question.turns[1],
            "answer_1": answer[0],
            "answer_2": answer[1],
        }
    fields |= _references(files, question)
    user = _filled(prompt, fields, question)
    return JudgeRequest(question.question_id, turn, prompt.name, prompt.system_prompt, user)


def pair_request(
    files: MtBenchFiles,
    question: Question,
    answers: tuple[Sequence[str], Sequence[str]],
    *,
    turn: int,
    order: int,
) -> JudgeRequest:
    """The comparison of two answers on one turn.

    `order` 1 shows the first answer as assistant A, 2 shows it as assistant B.
    """
    prompt = _prompt(files, "pair", question, turn)
    a, b = answers if order == 1 else reversed(answers)
    if turn == 1:
        fields = {"question": question.turns[0], "answer_a": a[0], "answer_b": b[0]}
    else:
        fields = {
            "question_1": question.turns[0],
            "question_2": question.turns[1],
            "answer_a_1": a[0],
            "answer_a_2": a[1],
            "answer_b_1": b[0],
            "answer_b_2": b[1],
        }
    fields |= _references(files, question)
    user = _filled(prompt, fields, question)
    return JudgeRequest(
        question.question_id, turn, prompt.name, prompt.system_prompt, user, order=order
    )


def pair_winner(order: int, judgment: str) -> str:
    """`model_1`, `model_2`, `tie` or `error` of one game; order 2 shows model_2 first."""
    winner = parse_winner(judgment)
    if winner is None:
        return "error"
    if winner == "tie":
        return "tie"
    return "model_1" if (winner == "A") == (order == 1) else "model_2"


def pair_outcome(first: str, second: str) -> str:
    """The outcome over both orders: a win needs both games, everything else is a tie."""
    if "error" in (first, second):
        return "error"
    return first if first == second else "tie"


def upstream_scores(
    rows: Sequence[Mapping[str, Any]], categories: Mapping[int | str, str]
) -> dict[str, Any]:
    """show_result.py's arithmetic: rows with −1 dropped, duplicates counted twice."""
    return _means([row for row in rows if row["score"] != UNPARSED], categories)


def _means(
    rows: Sequence[Mapping[str, Any]], categories: Mapping[int | str, str]
) -> dict[str, Any]:
    by_category: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_category[categories.get(row["question_id"], "unknown")].append(row["score"])
    return {
        "turn_1": _mean([row["score"] for row in rows if row["turn"] == 1]),
        "turn_2": _mean([row["score"] for row in rows if row["turn"] == 2]),
        "average": _mean([row["score"] for row in rows]),
        "by_category": {name: _mean(values) for name, values in sorted(by_category.items())},
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _prompt(files: MtBenchFiles, kind: str, question: Question, turn: int) -> JudgePrompt:
    math = question.category in NEEDS_REFERENCE
    base = f"{kind}-math-v1" if math else {"single": "single-v1", "pair": "pair-v2"}[kind]
    name = base if turn == 1 else f"{base}-multi-turn"
    if name not in files.prompts:
        raise DataError(f"the judge prompt '{name}' is missing", where="judge_prompts.jsonl")
    return files.prompts[name]


def _filled(prompt: JudgePrompt, fields: Mapping[str, str], question: Question) -> str:
    """The prompt with its fields; foreign texts are values here, never templates."""
    try:
        return prompt.prompt_template.format(**fields)
    except (LookupError, ValueError, AttributeError) as error:
        raise DataError(
            f"the judge prompt '{prompt.name}' cannot be filled for question "
            f"{question.question_id}: {error}",
            where="judge_prompts.jsonl",
            hint=f"its fields: {', '.join(fields)}",
        ) from None


def _references(files: MtBenchFiles, question: Question) -> dict[str, str]:
    if question.category not in NEEDS_REFERENCE:
        return {}
    turns = files.references.get(question.question_id)
    if turns is None:
        raise DataError(
            f"question {question.question_id} ({question.category}) has no reference answer",
            where="reference_answer/",
        )
    return {f"ref_answer_{place}": text for place, text in enumerate(turns, start=1)}
