"""How does a model in this process judge?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply
from zephyrctl.generation.answerer import open_engine
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs.references import resolve_model


class LocalJudge:
    """A model in this process, greedy; loaded when the first judgment is asked for."""

    is_deterministic = True

    def __init__(self, recipe: Recipe) -> None:
        target = (recipe.eval.judge.spec or "").partition(":")[2]
        self._recipe = recipe
        self._ref = resolve_model(target, output_root=Path(recipe.output_root), recipe=recipe)
        self._engine: Any = None
        self.name = f"local:{self._ref.name}"
        self.identity = {
            "spec": recipe.eval.judge.spec,
            "max_tokens": recipe.eval.judge.max_tokens,
        }

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """See `Judge`."""
        engine = self._loaded()
        engine.answer(
            [request.messages for request in requests],
            sampling=Sampling(max_new_tokens=self._recipe.eval.judge.max_tokens),
            batch_size=self._recipe.eval.batch_size,
            on_done=lambda index, completion: on_reply(index, JudgeReply(completion.text)),
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
