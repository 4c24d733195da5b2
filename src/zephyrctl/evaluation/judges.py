"""Who judges, and how is a judge asked?

A judge is named by a spec: `openai:MODEL`, `openai+https://host/v1:MODEL`, `local:MODEL` or
`replay:FILE`. It gives one text per request; what the text means is for `verdicts.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from zephyrctl import catalogue
from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.formats import read_judgments
from zephyrctl.evaluation.mt_bench_protocol import JudgeRequest
from zephyrctl.generation.answerer import RemoteAnswerer, open_engine
from zephyrctl.generation.endpoint import Endpoint
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.references import resolve_model, safe_name

OnJudgment = Callable[[int, str], None]


class Judge(Protocol):
    """Something that answers judge requests."""

    name: str
    """How the judge is called in every score it gives."""
    identity: dict[str, Any]
    """What decides its judgments, beside the request."""

    def decide(
        self, requests: Sequence[JudgeRequest], *, model: str, on_judgment: OnJudgment
    ) -> None:
        """Judge all requests on `model`'s answers; `on_judgment(index, text)` is called as each
        text comes, in any order, so that nothing is lost when a later one fails."""
        ...

    def close(self) -> None:
        """Free what the judge holds."""
        ...


def open_judge(recipe: Recipe) -> Judge:
    """The judge of `eval.judge.spec`; UsageError where there is none or its kind is unknown."""
    spec = recipe.eval.judge.spec
    if spec is None:
        raise UsageError(
            "MT-Bench needs a judge",
            where="eval.judge.spec",
            hint="--judge openai:MODEL, openai+http://host/v1:MODEL, local:MODEL or replay:FILE",
        )
    kind, _, rest = spec.partition(":")
    if kind.startswith("openai+"):
        kind = "openai"
    if not rest:
        raise UsageError(f"the judge '{spec}' names no model", hint="openai:MODEL, local:MODEL")
    return catalogue.JUDGES.load(kind)(recipe)


class RemoteJudge:
    """A model behind an OpenAI-compatible service, asked `eval.judge.concurrency` at a time."""

    def __init__(self, recipe: Recipe) -> None:
        settings = recipe.eval.judge
        spec = settings.spec or ""
        self._settings = settings
        self._endpoint = Endpoint.parse(
            spec, api_key_file=settings.api_key_file, timeout_s=settings.timeout_s
        )
        self.name = self._endpoint.model
        self.identity = {"spec": spec, "max_tokens": settings.max_tokens, "temperature": 0.0}

    def decide(
        self, requests: Sequence[JudgeRequest], *, model: str, on_judgment: OnJudgment
    ) -> None:
        """See `Judge`; the first error that no retry mends ends the work."""
        del model
        answerer = RemoteAnswerer(self._endpoint, self._settings.concurrency)
        answerer.answer(
            [messages_of(request) for request in requests],
            sampling=Sampling(max_new_tokens=self._settings.max_tokens),
            on_done=lambda index, completion: on_judgment(index, completion.text),
        )

    def close(self) -> None:
        """Nothing is held between two calls."""


class LocalJudge:
    """A model in this process, greedy; loaded when the first judgment is asked for."""

    def __init__(self, recipe: Recipe) -> None:
        target = (recipe.eval.judge.spec or "").partition(":")[2]
        self._recipe = recipe
        self._ref = resolve_model(target, output_root=Path(recipe.output_root), recipe=recipe)
        self._engine: Any = None
        self.name = f"local:{self._ref.name}"
        self.identity = {
            "spec": recipe.eval.judge.spec,
            "max_tokens": recipe.eval.judge.max_tokens,
            "temperature": 0.0,
        }

    def decide(
        self, requests: Sequence[JudgeRequest], *, model: str, on_judgment: OnJudgment
    ) -> None:
        """See `Judge`."""
        del model
        engine = self._loaded()
        engine.answer(
            [messages_of(request) for request in requests],
            sampling=Sampling(max_new_tokens=self._recipe.eval.judge.max_tokens),
            batch_size=self._recipe.eval.batch_size,
            on_done=lambda index, completion: on_judgment(index, completion.text),
        )

    def _loaded(self) -> Any:
        if self._engine is None:
            self._engine, _ = open_engine(self._ref, model=self._recipe.model)
        return self._engine

    def close(self) -> None:
        """Free the weights."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class ReplayJudge:
    """Recorded judgments in FastChat's format.

    A row answers a request whose prompt it was written for (`user_prompt`, or its SHA-256 in
    `user_prompt_sha256`); a row with neither answers by question, turn and model.
    """

    def __init__(self, recipe: Recipe) -> None:
        path = Path((recipe.eval.judge.spec or "").partition(":")[2]).expanduser()
        self._path = path
        self._by_prompt: dict[str, str] = {}
        self._by_place: dict[tuple[Any, Any, Any], str] = {}
        names = set()
        for row in read_judgments(path):
            self._keep(row)
            names.add(_judge_of(row))
        self.name = f"{'+'.join(sorted(names)) or 'nobody'} (recorded)"
        self.identity = {"replay": hashlib.sha256(path.read_bytes()).hexdigest()}

    def decide(
        self, requests: Sequence[JudgeRequest], *, model: str, on_judgment: OnJudgment
    ) -> None:
        """See `Judge`; DataError for the first request that was never recorded."""
        for index, request in enumerate(requests):
            text = self._by_prompt.get(_sha256(request.user))
            if text is None:
                text = self._by_place.get((request.question_id, request.turn, model))
            if text is None:
                raise DataError(
                    f"no recorded judgment for question {request.question_id}, turn "
                    f"{request.turn}, on this answer of '{model}'",
                    where=str(self._path),
                    hint="a replayed judge knows only the answers it once judged",
                )
            on_judgment(index, text)

    def close(self) -> None:
        """Nothing is held."""

    def _keep(self, row: dict[str, Any]) -> None:
        judgment = str(row.get("judgment", ""))
        if "user_prompt" in row:
            self._by_prompt[_sha256(str(row["user_prompt"]))] = judgment
        elif "user_prompt_sha256" in row:
            self._by_prompt[row["user_prompt_sha256"]] = judgment
        else:
            place = (row.get("question_id"), row.get("turn"), row.get("model"))
            self._by_place[place] = judgment


def judge_folder(name: str) -> str:
    """The judge's folder under `eval/<benchmark>/<model>/`."""
    return safe_name(name)


def messages_of(request: JudgeRequest) -> list[Message]:
    """The conversation a judge is given."""
    return [Message("system", request.system), Message("user", request.user)]


def _judge_of(row: dict[str, Any]) -> str:
    judge = row.get("judge")
    return str(judge[0]) if isinstance(judge, list) and judge else "unknown"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
