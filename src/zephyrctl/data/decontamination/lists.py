"""Which prompts will be judged, and which lists of them are not on this machine?

Formats: MT-Bench's `question.jsonl` (`turns`), AlpacaEval's JSON (`instruction`), HumanEval's
JSONL (`prompt` and `canonical_solution`), TruthfulQA's CSV (`Question`), the questions of `eval
rules` (`prompt`), and lines of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl import environment
from zephyrctl.config.paths import DATA_SUFFIXES, expand_home, is_local
from zephyrctl.config.schema import Recipe
from zephyrctl.data.sources import read_file
from zephyrctl.errors import DataError, NetworkError

_PROMPT_COLUMNS = ("turns", "instruction", "prompt", "question", "text")
_EVERYDAY_CODE = ("return x + y", "return len(string)", "return n**2", "return ''.join(strings)")
"""Solutions of HumanEval that anybody writes; alignment-handbook's decontamination lets them pass
(the last one is misspelt there)."""
_DOCSTRING = re.compile(r'"""(.*?)"""' + r"|'''(.*?)'''", re.DOTALL)


@dataclass(frozen=True)
class QuestionList:
    """One list of judged prompts; `texts` is None where the list is absent.

    `solutions` are texts that count only where they stand whole, punctuation included, in any
    turn: a few lines of a program are not worth noting, all of them are.
    """

    name: str
    place: str
    texts: tuple[str, ...] | None
    solutions: tuple[str, ...] = ()


def load_lists(recipe: Recipe) -> list[QuestionList]:
    """The lists of `decontaminate.against`; NetworkError for an absent one that is required.

    The preset `h4-2024` leaves out prompts equal to a question of TruthfulQA: where that file is
    absent, the list stands here as one more that was not checked.
    """
    settings = recipe.data.decontaminate
    lists = [_load(name, recipe) for name in settings.against]
    absent = [item for item in lists if item.texts is None]
    if absent and settings.required:
        names = ", ".join(f"{item.name} ({item.place})" for item in absent)
        raise NetworkError(
            f"the training data cannot be checked against: {names}",
            where="data.decontaminate",
            hint="put the files there, or --set data.decontaminate.required=false",
        )
    return lists + _wanted_by_preset(recipe)


def _wanted_by_preset(recipe: Recipe) -> list[QuestionList]:
    settings = recipe.data.dpo.binarize
    if settings.preset != "h4-2024" or not recipe.data.dpo.train:
        return []
    if settings.truthful_qa is None:
        return [QuestionList("truthful-qa", "data.dpo.binarize.truthful_qa is not set", None)]
    path = expand_home(settings.truthful_qa)
    absent = QuestionList("truthful-qa", f"{path} does not exist", None)
    return [] if path.exists() else [absent]


def files_of(name: str, recipe: Recipe) -> list[Path]:
    """The files behind an item of `decontaminate.against`; none where the list is absent."""
    place, _ = _place(name, recipe)
    return [] if place is None else _files(name, place)


def _place(name: str, recipe: Recipe) -> tuple[Path | None, str]:
    """Where a list is looked for, or why nowhere."""
    if name == "rules":
        place, missing = recipe.eval.rules.questions, "eval.rules.questions is not set"
    elif name in _BENCHMARKS:
        place = recipe.eval.data_dir or _cached(name)
        missing = f"not fetched yet; zephyrctl eval fetch {name}, or set eval.data_dir"
    else:
        place, missing = name, ""
    return (expand_home(place), "") if place else (None, missing)


def _cached(name: str) -> Path | None:
    """The folder that `eval fetch` and the benchmark itself keep its files in, once they did."""
    folder = environment.benchmark_cache(name)
    return folder if _files(name, folder) else None


_BENCHMARKS = {
    "mt-bench": ("question.jsonl", "mt_bench/question.jsonl"),
    "alpaca-eval": ("alpaca_eval*.json", "alpaca_eval/alpaca_eval*.json", "alpaca_eval/*.json"),
}
"""Where the benchmarks' files lie below `eval.data_dir`; the first place that has any counts."""


def _files(name: str, path: Path) -> list[Path]:
    if name in _BENCHMARKS:
        for pattern in _BENCHMARKS[name]:
            if found := sorted(path.glob(pattern)):
                return found
        return []
    if path.is_dir():
        named = path / "question.jsonl"
        if named.is_file():
            return [named]
        return sorted(p for p in path.iterdir() if p.name.endswith((*DATA_SUFFIXES, ".txt")))
    return [path] if path.exists() else []


def _load(name: str, recipe: Recipe) -> QuestionList:
    path, missing = _place(name, recipe)
    if path is None:
        return QuestionList(name, missing, None)
    files = _files(name, path)
    if not files:
        looked = " or ".join(str(path / item) for item in _BENCHMARKS.get(name, ("",)))
        return QuestionList(name, f"{looked} does not exist", None)
    entries = [entry for file in files for entry in _entries(file)]
    # A folder of AlpacaEval may hold the same instructions once per model.
    texts = tuple(dict.fromkeys(text for found, _ in entries for text in found))
    solutions = tuple(dict.fromkeys(text for _, found in entries for text in found))
    if not texts:
        raise DataError("the question file holds no prompt", where=str(path))
    return QuestionList(name, str(path), texts, solutions)


def read_questions(path: Path) -> Iterator[str]:
    """The prompts of a file, in its order; of HumanEval's the docstrings."""
    return (text for texts, _ in _entries(path) for text in texts)


def _entries(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Prompts and solutions of every row of a file."""
    if not is_local(path.name):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"the question list cannot be read: {error}", where=str(path)
            ) from error
        yield from (((line,), ()) for line in lines if line.strip())
        return
    for row in read_file(path):
        if row.value is None:
            raise DataError(row.problem, where=row.place, hint="repair the line")
        yield _entry(row.value, row.place)


def _entry(row: Mapping[str, Any], place: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    by_name = {str(name).lower(): value for name, value in row.items()}
    if "prompt" in by_name and "canonical_solution" in by_name:
        solution = str(by_name["canonical_solution"]).strip()
        kept = (solution,) if solution and solution not in _EVERYDAY_CODE else ()
        return (docstring(str(by_name["prompt"])),), kept
    column = next((name for name in _PROMPT_COLUMNS if by_name.get(name)), None)
    if column is None:
        raise DataError(
            "the row holds no prompt",
            where=place,
            hint=f"known columns: {', '.join(_PROMPT_COLUMNS)}",
        )
    value = by_name[column]
    return tuple(str(text) for text in (value if isinstance(value, list) else [value])), ()


def docstring(prompt: str) -> str:
    """The last docstring of a HumanEval prompt (a helper function may come first), or all of it."""
    found = _DOCSTRING.findall(prompt)
    return "".join(found[-1]).strip() if found else prompt.strip()
