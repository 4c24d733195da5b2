"""What is AlpacaEval's protocol? The annotators' prompts, the order of outputs, the preference.

Source: tatsu-lab/alpaca_eval cd543a1, annotators/pairwise_evaluator.py, completion_parsers.py and
evaluators_configs. A preference lies in 1..2: 1 where the baseline's output (`output_1`) wins, 2
where the model's (`output_2`) does.
"""

from __future__ import annotations

import ast
import json
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zephyrctl.evaluation.alpaca_eval.formats import Prompt, Version
from zephyrctl.evaluation.fencing import fence as enclosed_by
from zephyrctl.evaluation.judges.contract import JudgeRequest

DRAW = 1.5
"""The preference of two identical outputs, for which no judge is asked."""

_PLACE = re.compile(r"\{(instruction|output_1|output_2)\}")
_LETTER = re.compile(r"[^A-Za-z]*([mM])[^A-Za-z]*")


@dataclass(frozen=True)
class Annotator:
    """How a version asks its judge; `model` is the one upstream's figures were had from."""

    name: str
    model: str
    baseline: str
    max_tokens: int
    temperature: float
    top_logprobs: int
    options: tuple[str, ...]


ANNOTATORS: Mapping[Version, Annotator] = {
    1: Annotator("alpaca_eval_gpt4", "gpt-4", "text_davinci_003", 100, 0.0, 0, ()),
    2: Annotator(
        "weighted_alpaca_eval_gpt4_turbo",
        "gpt-4-1106-preview",
        "gpt4_1106_preview",
        1,
        1.0,
        5,
        ("m", "M"),
    ),
}


@dataclass(frozen=True)
class Pair:
    """Two outputs on one instruction: the baseline's and the model's."""

    instruction: str
    output_1: str
    output_2: str

    @property
    def is_same(self) -> bool:
        """Whether the outputs are identical, so that the preference is a draw without a judge."""
        return self.output_1 == self.output_2


def is_switched(instruction: str) -> bool:
    """Whether upstream shows the model's output first on this instruction.

    Seeded by the instruction alone, so the same for every model (`is_switched_outputs`, seed 0).
    """
    seed = f"is_switched_outputs{instruction}0"
    return random.Random(seed).choices([False, True])[0]


def request(
    prompt: Prompt, pair: Pair, *, question_id: int, version: Version, order: int, fence: bool
) -> JudgeRequest:
    """What the judge is asked about a pair.

    `order` 1 shows the baseline's output first, 2 the model's. Texts are put into the finished
    messages in one pass, so that neither `<|im_end|>` nor `{output_2}` in an output changes them;
    upstream splits the text into messages after it put the outputs in, and so loses the rest of
    the prompt. `fence` encloses each output as `evaluation.fencing` does.
    """
    annotator = ANNOTATORS[version]
    shown = (pair.output_1, pair.output_2) if order == 1 else (pair.output_2, pair.output_1)
    mark = enclosed_by(shown) if fence else None
    first, second = map(mark.enclose, shown) if mark else shown
    texts = {"instruction": pair.instruction, "output_1": first, "output_2": second}
    asked = JudgeRequest(
        question_id=question_id,
        turn=1,
        prompt_name=annotator.name,
        system=prompt.system,
        user=_PLACE.sub(lambda place: texts[place[1]], prompt.user),
        order=order,
        options=annotator.options,
        max_tokens=annotator.max_tokens,
        temperature=annotator.temperature,
        top_logprobs=annotator.top_logprobs,
    )
    return mark.explain(asked) if mark else asked


def preference(shown: float | None, *, order: int) -> float | None:
    """The preference for the model, from that for what was shown second."""
    if shown is None:
        return None
    return shown if order == 1 else 3 - shown


def shown_by_logprobs(logprobs: Mapping[str, float]) -> float | None:
    """Version 2: 2 − p(m) / (p(m) + p(M)), where m was shown first.

    A token that is not among those given has probability 0; None where neither is. Tokens with
    white space around the letter count only where neither letter stands alone.
    """
    first, second = _probability(logprobs, "m"), _probability(logprobs, "M")
    if first + second == 0:
        return None
    return 2 - first / (first + second)


def shown_by_letter(text: str) -> float | None:
    """Version 2 by a judge that gives no probabilities: the letter it wrote; 1 or 2."""
    found = _LETTER.fullmatch(text)
    return None if found is None else {"m": 1.0, "M": 2.0}[found[1]]


def shown_by_ranking(text: str) -> float | None:
    """Version 1: the rank of `model_1` in a list of models with their ranks; 1 or 2.

    The text is read as a Python literal or as JSON, never executed; None where it is neither, or
    the rank is not 1 or 2.
    """
    rows = _literal(text)
    if not isinstance(rows, list | tuple):
        return None
    for row in rows:
        if isinstance(row, dict) and row.get("model") == "model_1":
            rank = row.get("rank")
            return float(rank) if rank in (1, 2) and not isinstance(rank, bool) else None
    return None


def _probability(logprobs: Mapping[str, float], letter: str) -> float:
    if "m" in logprobs or "M" in logprobs:
        return math.exp(logprobs[letter]) if letter in logprobs else 0.0
    return sum(math.exp(value) for token, value in logprobs.items() if token.strip() == letter)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
