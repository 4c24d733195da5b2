"""What will judging cost, in calls, tokens, dollars and time, before anything is asked?

The requests are built as they would be sent, from the answers that stand. Where a model's answers
are still to be written, texts of a stated length stand in for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.evaluation.benchmark import Answer, Benchmark, Match
from zephyrctl.evaluation.judges.contract import Judge, JudgeRequest
from zephyrctl.evaluation.judges.open import open_judge
from zephyrctl.evaluation.judging import kept_rows, key_of
from zephyrctl.evaluation.prices import Price, price_of
from zephyrctl.evaluation.scores import Places
from zephyrctl.evaluation.spending import TYPICAL_COMPLETION
from zephyrctl.evaluation.token_counts import prompt_about, prompt_at_most
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.references import resolve_model, safe_name
from zephyrctl.runs.store import Run

TYPICAL_ANSWER = 1400
"""Characters of an answer that is still to be written: the mean of ten models on MT-Bench is 1,426,
from 996 to 2,213."""
_CHARACTERS_A_TOKEN, _MOST_CHARACTERS_A_TOKEN = 4.4, 8
_ENOUGH = 10
"""So many judgments of the same judge say better how long the next ones are than a stated mean."""
# Rough figures of hosted services: seconds to the first token, and tokens a second after it.
_FIRST_TOKEN_S, _TOKENS_PER_S = 1.0, 50.0
_FILLER = "The answer goes on with a sentence of ordinary words and an ordinary length. "


@dataclass(frozen=True)
class Bill:
    """What one benchmark asks of its judge. Tokens and seconds are of the calls that are missing;
    the `_most` are not exceeded by what stands (a stand-in is taken at its token limit)."""

    benchmark: str
    judge: str
    questions: int
    turns: int
    matches: tuple[str, ...]
    repeats: int
    wanted: int
    found: int
    prompt_tokens: int
    prompt_tokens_most: int
    completion_tokens: int
    completion_tokens_most: int
    seconds: float | None
    """None for a judge that is no service."""
    price: Price | None
    stand_ins: tuple[str, ...]
    """Models with answers still to be written."""
    stand_in_characters: int
    pairs: int = 0
    """Size of a sample of pairs of answers; 0 for a benchmark."""

    @property
    def missing(self) -> int:
        """Calls to be made."""
        return self.wanted - self.found

    @property
    def usd_low(self) -> float | None:
        """With prompts a tenth shorter and judgments half as long as expected."""
        if self.price is None:
            return None
        return self.price.usd(0.9 * self.prompt_tokens, 0.5 * self.completion_tokens)

    @property
    def usd(self) -> float | None:
        """As expected; None without a price."""
        return self.price and self.price.usd(self.prompt_tokens, self.completion_tokens)

    @property
    def usd_most(self) -> float | None:
        """With every prompt and every judgment as long as it can be."""
        if self.price is None:
            return None
        return self.price.usd(self.prompt_tokens_most, self.completion_tokens_most)

    def to_json(self) -> dict[str, Any]:
        """The bill as data, prices in USD a million tokens."""
        fields = {key: value for key, value in vars(self).items() if key != "price"}
        return {
            **fields,
            "missing": self.missing,
            "usd_low": self.usd_low,
            "usd": self.usd,
            "usd_most": self.usd_most,
            "price": None if self.price is None else vars(self.price),
        }


@dataclass(frozen=True)
class _Texts:
    """The answers of all models by name, with what stands in for missing ones."""

    answers: Mapping[str, Sequence[Answer]]
    missing: tuple[str, ...]
    characters: int


def bill_of(
    benchmark: Benchmark, recipe: Recipe, run: Run, *, anew: Collection[str], fresh: bool = False
) -> Bill | None:
    """The bill of one benchmark; None where code decides.

    `anew` names models (as `eval.models` does) whose stored answers will not be used again; with
    `fresh` nothing stored will. Nothing is loaded or asked.
    """
    if benchmark.judge_name is None:
        return None
    judge = open_judge(recipe)
    places = Places.of(run, benchmark)
    names = {model: _name(model, recipe, run) for model in recipe.eval.models}
    old = {names[model] for model in names if fresh or model in anew}
    usual = _texts(benchmark, places, names.values(), old=old, longest=False)
    longest = _texts(benchmark, places, names.values(), old=old, longest=True)
    baseline = recipe.eval.baseline and _name(recipe.eval.baseline, recipe, run)
    matches = list(benchmark.matches(list(names.values()), baseline=baseline))
    kept = {} if fresh else _kept(places, matches)
    wanted = _by_key(judge, benchmark, usual, matches)
    missing = [request for key, request in wanted.items() if key not in kept]
    worst = [r for key, r in _by_key(judge, benchmark, longest, matches).items() if key not in kept]
    limit = recipe.eval.judge.max_tokens
    replies = [min(_typical(kept.values()), request.max_tokens or limit) for request in missing]
    return Bill(
        benchmark=benchmark.name,
        judge=benchmark.judge_name,
        questions=len(benchmark.questions),
        turns=max((len(question.turns) for question in benchmark.questions), default=0),
        matches=tuple(match.label for match in matches),
        repeats=benchmark.repeats,
        wanted=len(wanted),
        found=len(wanted) - len(missing),
        prompt_tokens=round(sum(prompt_about(request.messages) for request in missing)),
        prompt_tokens_most=sum(prompt_at_most(request.messages) for request in worst),
        completion_tokens=round(sum(replies)),
        completion_tokens_most=sum(request.max_tokens or limit for request in missing),
        seconds=_seconds(replies, recipe),
        price=price_of(recipe),
        stand_ins=usual.missing,
        stand_in_characters=usual.characters,
    )


def bill_of_sample(
    name: str, judge: Judge, requests: Sequence[JudgeRequest], recipe: Recipe, *, path: Path
) -> Bill:
    """The bill of pairs of answers in both orders, whose judgments are kept in `path`."""
    rows = {key: row for (key, _), row in kept_rows(path).items()}
    wanted = {key_of(judge, request): request for request in requests}
    missing = [request for key, request in wanted.items() if key not in rows]
    limit = recipe.eval.judge.max_tokens
    replies = [min(_typical(rows.values()), request.max_tokens or limit) for request in missing]
    return Bill(
        benchmark=name,
        judge=judge.name,
        questions=len({request.question_id for request in requests}),
        turns=len({request.turn for request in requests}),
        matches=(),
        repeats=1,
        wanted=len(wanted),
        found=len(wanted) - len(missing),
        prompt_tokens=round(sum(prompt_about(request.messages) for request in missing)),
        prompt_tokens_most=sum(prompt_at_most(request.messages) for request in missing),
        completion_tokens=round(sum(replies)),
        completion_tokens_most=sum(request.max_tokens or limit for request in missing),
        seconds=_seconds(replies, recipe),
        price=price_of(recipe),
        stand_ins=(),
        stand_in_characters=0,
        pairs=len(requests) // 2,
    )


def _by_key(
    judge: Judge, benchmark: Benchmark, texts: _Texts, matches: Sequence[Match]
) -> dict[str, JudgeRequest]:
    """The requests of all matches; each match keeps its own file, and equal ones within it are
    asked once."""
    return {
        f"{match.label} {key_of(judge, request)}": request
        for match in matches
        for request in benchmark.requests(texts.answers, match)
    }


def _kept(places: Places, matches: Sequence[Match]) -> dict[str, Mapping[str, Any]]:
    return {
        f"{match.label} {key}": row
        for match in matches
        for (key, _), row in kept_rows(places.judgments(match)).items()
    }


def _typical(rows: Collection[Mapping[str, Any]]) -> float:
    """Completion tokens of a judgment, by those that stand."""
    counts = [row.get("completion_tokens") or 0 for row in rows]
    counted = [count for count in counts if count > 0]
    return mean(counted) if len(counted) >= _ENOUGH else TYPICAL_COMPLETION


def _seconds(replies: Sequence[float], recipe: Recipe) -> float | None:
    """Time at a service that keeps up with as many requests at once as are allowed."""
    if not (recipe.eval.judge.spec or "").startswith("openai"):
        return None
    each = [_FIRST_TOKEN_S + tokens / _TOKENS_PER_S for tokens in replies]
    return max(sum(each) / recipe.eval.judge.concurrency, max(each, default=0.0))


def _texts(
    benchmark: Benchmark,
    places: Places,
    names: Collection[str],
    *,
    old: Collection[str],
    longest: bool,
) -> _Texts:
    """What stands of each model's answers, completed by stand-ins of the usual or of the greatest
    length. Answers that will not be used again still tell how long the model writes."""
    rows = {name: _newest(places.answers(name)) for name in names}
    lengths = [len(row["answer"]) for each in rows.values() for row in each]
    usual = mean(lengths) if len(lengths) >= _ENOUGH else TYPICAL_ANSWER
    answers: dict[str, list[Answer]] = {}
    standing_in: list[str] = []
    characters = 0
    for name in names:
        found = {} if name in old else _by_turn(rows[name])
        answers[name] = []
        for question, sample in product(benchmark.questions, range(benchmark.repeats)):
            limit = benchmark.sampling(question, sample=sample).max_new_tokens
            size = round(min(usual, limit * _CHARACTERS_A_TOKEN))
            if longest:
                size = limit * _MOST_CHARACTERS_A_TOKEN
            for turn in range(1, len(question.turns) + 1):
                row = _of_sample(found.get((question.question_id, turn), ()), sample)
                if row is None:
                    standing_in.append(name)
                    characters = max(characters, size)
                mark = f"({name} {question.question_id} {turn} {sample})"
                text = _stand_in(mark, size) if row is None else row["answer"]
                tokens, stopped = (0, True) if row is None else (row["tokens"], row["stopped"])
                answers[name].append(
                    Answer(question.question_id, turn, text, tokens, stopped, sample)
                )
    return _Texts(answers, tuple(dict.fromkeys(standing_in)), characters)


def _newest(path: Path) -> list[dict[str, Any]]:
    """The answers of the model's last state; an interrupted run leaves those of an older one."""
    rows = read_jsonl(path)
    return [row for row in rows if row["identity"] == rows[-1]["identity"]]


def _by_turn(rows: Sequence[dict[str, Any]]) -> Mapping[tuple[Any, int], list[dict[str, Any]]]:
    found: dict[tuple[Any, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[(row["question_id"], row["turn"])].append(row)
    return found


def _of_sample(rows: Sequence[dict[str, Any]], sample: int) -> dict[str, Any] | None:
    """The answer of one repeat; a greedy one stands for all of them."""
    own = [row for row in rows if row.get("sample", sample) == sample]
    if own:
        return own[-1]
    return rows[0] if len(rows) == 1 else None


def _stand_in(mark: str, size: int) -> str:
    """A text of about `size` characters; `mark` makes it unlike any other, as answers are."""
    rest = max(0, size - len(mark))
    return mark + (_FILLER * (rest // len(_FILLER) + 1))[:rest]


def _name(model: str, recipe: Recipe, run: Run) -> str:
    """The name that the evaluation will give a model, which may still have to be trained."""
    root = Path(recipe.output_root).expanduser()
    try:
        return resolve_model(model, output_root=root, run=run, recipe=recipe).name
    except UsageError:
        return safe_name(model)


def bills_of(
    benchmarks: Sequence[Benchmark],
    recipe: Recipe,
    run: Run,
    *,
    anew: Collection[str],
    fresh: bool = False,
) -> Iterator[Bill]:
    """The bills of those benchmarks that have a judge."""
    for benchmark in benchmarks:
        bill = bill_of(benchmark, recipe, run, anew=anew, fresh=fresh)
        if bill is not None:
            yield bill
