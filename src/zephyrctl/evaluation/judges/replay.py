"""How do recorded judgments judge again?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError
from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply
from zephyrctl.evaluation.mt_bench.formats import read_judgments


class ReplayJudge:
    """Recorded judgments in FastChat's format.

    A row answers a request whose prompt it was written for (`user_prompt`, or its SHA-256 in
    `user_prompt_sha256`); a row with neither answers by question, turn and model.
    """

    is_deterministic = True

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

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """See `Judge`; DataError for the first request that was never recorded."""
        for index, request in enumerate(requests):
            text = self._by_prompt.get(_sha256(request.user))
            if text is None:
                text = self._by_place.get((request.question_id, request.turn, request.models))
            if text is None:
                raise DataError(
                    f"no recorded judgment for question {request.question_id}, turn "
                    f"{request.turn}, on this answer of '{' and '.join(request.models)}'",
                    where=str(self._path),
                    hint="a replayed judge knows only the answers it once judged",
                )
            on_reply(index, JudgeReply(text))

    def close(self) -> None:
        """Nothing is held."""

    def _keep(self, row: dict[str, Any]) -> None:
        judgment = str(row.get("judgment", ""))
        if "user_prompt" in row:
            self._by_prompt[_sha256(str(row["user_prompt"]))] = judgment
        elif "user_prompt_sha256" in row:
            self._by_prompt[row["user_prompt_sha256"]] = judgment
        else:
            place = (row.get("question_id"), row.get("turn"), (row.get("model"),))
            self._by_place[place] = judgment


def _judge_of(row: dict[str, Any]) -> str:
    judge = row.get("judge")
    return str(judge[0]) if isinstance(judge, list) and judge else "unknown"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
