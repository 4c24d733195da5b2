"""Does a training row contain a prompt that will be judged?

Two tests against every prompt of the question lists: a shared run of `ngram` words in any turn
(prompts with fewer words: all of them in one run of a user turn; with fewer than six: nothing
else in the turn), and Jaccard similarity of word 3-grams between a user turn and the prompt.
Words are compared without case and punctuation, so re-cased and re-punctuated copies are found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zephyrctl.config.paths import DATA_SUFFIXES, is_local
from zephyrctl.config.schema import Recipe
from zephyrctl.data.filters import turns
from zephyrctl.data.messages import Record
from zephyrctl.data.sources import read_file
from zephyrctl.data.text import ngrams, words
from zephyrctl.errors import DataError, NetworkError

CONTAINED_FROM = 6
"""A short prompt of at least so many words matches inside a longer turn; a shorter one would be
found in half of all texts."""

_PROMPT_COLUMNS = ("turns", "instruction", "prompt", "question", "text")


@dataclass(frozen=True)
class QuestionList:
    """One list of judged prompts; `texts` is None where the list is absent."""

    name: str
    place: str
    texts: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Match:
    """Why a row was found: the list, the prompt's words, and which test found it."""

    list: str
    prompt: str
    how: str


def load_lists(recipe: Recipe) -> list[QuestionList]:
    """The lists of `decontaminate.against`; NetworkError for an absent one that is required."""
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
    return lists


def _load(name: str, recipe: Recipe) -> QuestionList:
    if name == "rules":
        place = recipe.eval.rules.questions
        missing = "eval.rules.questions is not set"
    elif name == "mt-bench":
        place = recipe.eval.data_dir and str(Path(recipe.eval.data_dir) / "question.jsonl")
        missing = "eval.data_dir is not set"
    else:
        place, missing = name, "no such file"
    if not place:
        return QuestionList(name, missing, None)
    path = Path(place).expanduser()
    if not path.exists():
        return QuestionList(name, f"{path} does not exist", None)
    texts = tuple(text for file in _files(path) for text in read_questions(file))
    if not texts:
        raise DataError("the question file holds no prompt", where=str(path))
    return QuestionList(name, str(path), texts)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    named = path / "question.jsonl"
    if named.is_file():
        return [named]
    return sorted(p for p in path.iterdir() if p.name.endswith((*DATA_SUFFIXES, ".txt")))


def read_questions(path: Path) -> Iterator[str]:
    """The prompts of a file: MT-Bench's `turns`, AlpacaEval's `instruction`, or lines of text."""
    if not is_local(path.name):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"the question list cannot be read: {error}", where=str(path)
            ) from error
        yield from (line for line in lines if line.strip())
        return
    for row in read_file(path):
        if row.value is None:
            raise DataError(row.problem, where=row.place, hint="repair the line")
        column = next((name for name in _PROMPT_COLUMNS if row.value.get(name)), None)
        if column is None:
            raise DataError(
                "the row holds no prompt",
                where=row.place,
                hint=f"known columns: {', '.join(_PROMPT_COLUMNS)}",
            )
        value = row.value[column]
        yield from (str(text) for text in (value if isinstance(value, list) else [value]))


class Index:
    """All judged prompts, ready to be looked up in a row; built once, read-only after."""

    def __init__(self, lists: Iterable[QuestionList], *, ngram: int, similarity: float) -> None:
        self._n = ngram
        self._similarity = similarity
        self._prompts: list[tuple[str, str, int]] = []
        self._runs: dict[int, dict[tuple[str, ...], int]] = defaultdict(dict)
        self._whole: dict[tuple[str, ...], int] = {}
        self._by_gram: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for item in lists:
            for text in item.texts or ():
                self._add(item.name, text)

    def __len__(self) -> int:
        return len(self._prompts)

    def _add(self, name: str, text: str) -> None:
        tokens = words(text)
        if not tokens:
            return
        number = len(self._prompts)
        grams = set(ngrams(tokens, 3))
        self._prompts.append((name, text, len(grams)))
        self._whole.setdefault(tokens, number)
        if len(tokens) >= CONTAINED_FROM:
            length = min(self._n, len(tokens))
            for run in ngrams(tokens, length):
                self._runs[length].setdefault(run, number)
        for gram in grams:
            self._by_gram[gram].append(number)

    def find(self, record: Record) -> Match | None:
        """The first judged prompt that the row contains, or None."""
        if not self._prompts:
            return None
        for message in turns(record):
            found = self._in_turn(words(message.content), is_user=message.role == "user")
            if found is not None:
                return found
        return None

    def _in_turn(self, tokens: Sequence[str], *, is_user: bool) -> Match | None:
        if is_user and (number := self._whole.get(tuple(tokens))) is not None:
            return self._match(number, "same words")
        for length, runs in self._runs.items():
            if length < self._n and not is_user:
                continue
            for run in ngrams(tokens, length):
                if (number := runs.get(run)) is not None:
                    return self._match(number, f"{length} words in a row")
        return self._similar(tokens) if is_user else None

    def _similar(self, tokens: Sequence[str]) -> Match | None:
        grams = set(ngrams(tokens, 3))
        shared = Counter(number for gram in grams for number in self._by_gram.get(gram, ()))
        for number, count in shared.most_common():
            union = len(grams) + self._prompts[number][2] - count
            if count / union >= self._similarity:
                return self._match(number, f"similarity {count / union:.2f}")
        return None

    def _match(self, number: int, how: str) -> Match:
        name, text, _ = self._prompts[number]
        return Match(name, text, how)
