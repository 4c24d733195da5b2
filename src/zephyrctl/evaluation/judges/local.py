"""How does a model in this process judge?

In words, greedily or as the request asks; or, where a request offers possible verdicts and wants
their probabilities, by one reading of its prompt (`decisions.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message
from zephyrctl.errors import DataError, UsageError
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply
from zephyrctl.generation.answerer import open_engine, subject_of
from zephyrctl.generation.plain_text import as_text
from zephyrctl.generation.sampling import Completion, Sampling
from zephyrctl.runs.references import resolve_model

_LITTLE_MASS = 0.5


@dataclass(frozen=True)
class _Asked:
    """A request as this judge reads it."""

    index: int
    request: JudgeRequest
    messages: list[Message]


class LocalJudge:
    """A model in this process; loaded when the first judgment is asked for."""

    is_deterministic = True

    def __init__(self, recipe: Recipe) -> None:
        settings = recipe.eval.judge
        target = (settings.spec or "").partition(":")[2]
        root = Path(recipe.output_root).expanduser()
        ref = resolve_model(target, output_root=root, recipe=recipe)
        if ref.kind == "endpoint":
            raise UsageError(
                f"'{target}' is not a model of this machine",
                hint=f"--judge {target}, without local:",
            )
        subject = subject_of(ref, model=recipe.model, at_once=recipe.eval.batch_size)
        by_probability = settings.scoring == "probabilities"
        self._recipe = recipe
        self._ref = ref
        self._engine: Any = None
        self._by_probability = by_probability
        self.name = f"local:{ref.name}{', probabilities' if by_probability else ''}"
        self.identity = {
            **subject.identity,
            "kind": "local",
            "scoring": settings.scoring,
            "max_tokens": settings.max_tokens,
            "seed": recipe.seed,
        }
        self.notices: list[str] = list(subject.notices)

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """See `Judge`; DataError before the first judgment where a prompt is longer than what the
        model reads."""
        if not requests:
            return
        engine = self._loaded()
        asked = [
            _Asked(index, request, as_text(request.messages, engine.tokenizer))
            for index, request in enumerate(requests)
        ]
        self._tell_changed(asked)
        self._require_room(asked)
        scored = [item for item in asked if self._is_scored(item.request)]
        listed = [item for item in asked if item.request.top_logprobs and not item.request.options]
        done = {item.index for item in (*scored, *listed)}
        self._score(scored, on_reply)
        self._list_first_tokens(listed, on_reply)
        self._write([item for item in asked if item.index not in done], on_reply)

    def close(self) -> None:
        """Free the weights."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _loaded(self) -> Any:
        if self._engine is None:
            self._engine, _ = open_engine(self._ref, model=self._recipe.model)
        return self._engine

    def _is_scored(self, request: JudgeRequest) -> bool:
        return bool(request.options) and (self._by_probability or request.top_logprobs > 0)

    def _score(self, asked: Sequence[_Asked], on_reply: OnReply) -> None:
        """Probabilities of the options, which share all of it, as the logits of the labels do in
        transformers' decision pipeline."""
        from zephyrctl.evaluation.judges.decisions import query_of, score_options

        if not asked:
            return
        queries = [
            query_of(self._engine.tokenizer, item.messages, item.request.options) for item in asked
        ]
        mass = 0.0

        def keep(place: int, values: list[float]) -> None:
            nonlocal mass
            item, options = asked[place], asked[place].request.options
            best = max(values)
            total = best + math.log(sum(math.exp(value - best) for value in values))
            mass += math.exp(total) / len(asked)
            logprobs = {
                option: value - total for option, value in zip(options, values, strict=True)
            }
            text = options[values.index(best)]
            on_reply(item.index, JudgeReply(text, logprobs, len(queries[place].ids), 1))

        score_options(
            self._engine, queries, batch_size=self._recipe.eval.batch_size, on_scores=keep
        )
        if mass < _LITTLE_MASS:
            self.notices.append(
                f"{self.name} gave the possible verdicts {mass:.1%} of its probability on average: "
                "in words it would mostly have said something else"
            )

    def _list_first_tokens(self, asked: Sequence[_Asked], on_reply: OnReply) -> None:
        """The most probable first tokens, for a request that names no options."""
        from zephyrctl.evaluation.judges.decisions import top_tokens

        if not asked:
            return
        prompts = [self._engine.encode(item.messages) for item in asked]

        def keep(place: int, found: dict[str, float]) -> None:
            item = asked[place]
            text = next(iter(found))
            count = item.request.top_logprobs
            logprobs = dict(list(found.items())[:count])
            on_reply(item.index, JudgeReply(text, logprobs, len(prompts[place]), 1))

        top_tokens(
            self._engine,
            prompts,
            count=max(item.request.top_logprobs for item in asked),
            batch_size=self._recipe.eval.batch_size,
            on_scores=keep,
        )

    def _write(self, asked: Sequence[_Asked], on_reply: OnReply) -> None:
        """Judgments in words."""
        if self._by_probability and asked:
            self.notices.append(
                f"{len(asked)} requests name no possible verdicts: judged in words, not by "
                "probabilities"
            )
        groups: dict[Sampling, list[_Asked]] = {}
        for item in asked:
            groups.setdefault(self._sampling(item.request), []).append(item)
        for sampling, items in groups.items():

            def keep(place: int, done: Completion, items: list[_Asked] = items) -> None:
                reply = JudgeReply(
                    done.text,
                    prompt_tokens=done.prompt_tokens,
                    completion_tokens=done.tokens,
                    finish_reason="stop" if done.stopped else "length",
                )
                on_reply(items[place].index, reply)

            self._engine.answer(
                [item.messages for item in items],
                sampling=sampling,
                batch_size=self._recipe.eval.batch_size,
                on_done=keep,
            )

    def _sampling(self, request: JudgeRequest) -> Sampling:
        return Sampling(
            temperature=request.temperature,
            max_new_tokens=request.max_tokens or self._recipe.eval.judge.max_tokens,
            seed=self._recipe.seed,
        )

    def _require_room(self, asked: Sequence[_Asked]) -> None:
        """Nothing of a judge's prompt is ever cut: the verdict would be on another text."""
        from zephyrctl.evaluation.judges.decisions import prompt_lengths

        context = self._engine.context
        if context is None:
            return
        lengths = prompt_lengths(self._engine.tokenizer, [item.messages for item in asked])
        long = [
            (tokens, item.request)
            for tokens, item in zip(lengths, asked, strict=True)
            if tokens + _room_needed(item.request) > context
        ]
        if long:
            tokens, request = max(long, key=lambda pair: pair[0])
            raise DataError(
                f"{len(long)} of {len(asked)} judge prompts are longer than what {self.name} "
                f"reads, {context} tokens; the longest has {tokens}",
                where=f"question {request.question_id}, turn {request.turn}, "
                f"prompt {request.prompt_name}",
                hint="a judge with a longer context, or shorter answers (…max_new_tokens)",
            )

    def _tell_changed(self, asked: Sequence[_Asked]) -> None:
        changed = sum(item.messages != item.request.messages for item in asked)
        if changed:
            self.notices.append(
                f"{changed} of {len(asked)} judge prompts hold control tokens of {self.name}, "
                "which it is given as plain text"
            )


def _room_needed(request: JudgeRequest) -> int:
    """Tokens that must fit behind the prompt: the longest option has about as many as letters."""
    return max(map(len, request.options), default=1)
