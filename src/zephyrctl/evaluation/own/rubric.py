"""What is a judge asked about an answer, by a rubric written in Jinja?

A rubric renders the judge's whole prompt for one turn from these variables:

    question      the user's text of this turn
    turn          its number, from 1
    turns         the user's texts up to this turn
    answer        the answer to be rated
    answers       the answers up to this turn
    reference     the reference of this turn; empty where there is none
    references    the references up to this turn; empty where there are none
    category      the question's category
    conversation  the messages up to this answer: role (user, assistant) and content

Answers come fenced (`fencing.py`), so that they cannot speak to the judge. Templates run in the
sandbox that transformers uses for chat templates, and a name that is not defined is an error.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.own.questions import OwnQuestion

if TYPE_CHECKING:
    from jinja2 import Template

PACKAGED = "rating.jinja"
_MOST_CHARACTERS = 2_000_000
_LONGEST_S = 10.0
_SAMPLE = "an answer 7c5e1d90"


@dataclass(frozen=True)
class Rubric:
    """A compiled rubric; `name` is what errors call it."""

    name: str
    source: str
    template: Template

    def render(self, question: OwnQuestion, answers: Sequence[str]) -> str:
        """The judge's prompt about the last of `answers`, in turn from the first.

        DataError with file and line where the rubric fails.
        """
        try:
            return self._rendered(_variables(question, answers)).strip()
        except DataError:
            raise
        except Exception as error:  # whatever a template's expressions can raise
            raise DataError(
                f"the rubric fails on question {question.question_id}, turn {len(answers)}: "
                f"{error or type(error).__name__}",
                where=f"{self.name}:{_line_of(error)}",
                hint="its variables: question, turn, turns, answer, answers, reference, "
                "references, category, conversation",
            ) from None

    def _rendered(self, variables: Mapping[str, Any]) -> str:
        began, parts, size = time.monotonic(), [], 0
        for part in self.template.generate(**variables):
            parts.append(part)
            size += len(part)
            if size > _MOST_CHARACTERS or time.monotonic() - began > _LONGEST_S:
                raise DataError(
                    "the rubric does not come to an end", where=self.name, hint="look at its loops"
                )
        return "".join(parts)


def read_rubric(path: Path | None) -> Rubric:
    """The rubric of a file, or the packaged one; DataError with the line of a broken template."""
    if path is None:
        source = files("zephyrctl.evaluation.own").joinpath(PACKAGED).read_text(encoding="utf-8")
        return compile_rubric(source, name=PACKAGED)
    try:
        source = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the rubric cannot be read: {error}",
            where="eval.own.rubric",
            hint="--rubric FILE, a Jinja template",
        ) from None
    return compile_rubric(source, name=str(path))


def compile_rubric(source: str, *, name: str) -> Rubric:
    """A rubric from its text."""
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, keep_trailing_newline=False
    )
    try:
        template = environment.from_string(source)
    except TemplateSyntaxError as error:
        raise DataError(
            f"the rubric is no Jinja template: {error.message}", where=f"{name}:{error.lineno}"
        ) from None
    if not source.strip():
        raise DataError("the rubric is empty", where=name)
    return Rubric(name, source, template)


def require_usable(rubric: Rubric, questions: Sequence[OwnQuestion], *, in_brackets: bool) -> None:
    """Render every turn of every question once, so that a rubric fails before anything is asked.

    `in_brackets` also asks of it that it tells the judge to write `[[rating]]`.
    """
    for question in questions:
        for turn in range(1, len(question.turns) + 1):
            prompt = rubric.render(question, [_SAMPLE] * turn)
            if _SAMPLE not in prompt:
                raise DataError(
                    f"the rubric leaves the answer out (question {question.question_id}, "
                    f"turn {turn})",
                    where=rubric.name,
                    hint="{{ answer }} puts it in",
                )
            if in_brackets and "[[" not in prompt:
                raise DataError(
                    "the rubric does not tell the judge how to write its rating",
                    where=rubric.name,
                    hint="let it ask for a line such as: Rating: [[6]]",
                )


def _variables(question: OwnQuestion, answers: Sequence[str]) -> dict[str, Any]:
    turn = len(answers)
    asked = list(question.turns[:turn])
    references = list(question.references[:turn])
    conversation = []
    for text, answer in zip(asked, answers, strict=True):
        conversation += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": answer},
        ]
    return {
        "question": asked[-1],
        "turn": turn,
        "turns": asked,
        "answer": answers[-1],
        "answers": list(answers),
        "reference": references[-1] if references else "",
        "references": references,
        "category": question.category,
        "conversation": conversation,
    }


def _line_of(error: BaseException) -> int:
    """The line of the template in which an error arose; Jinja rewrites tracebacks to tell it."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == "<template>"
    ]
    return lines[-1] or 1 if lines else 1
