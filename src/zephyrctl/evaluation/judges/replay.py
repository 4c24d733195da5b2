"""How do recorded judgments judge again?"""

from __future__ import annotations

from collections.abc import Sequence

from zephyrctl.config.paths import expand_home
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError
from zephyrctl.evaluation.judges.contract import JudgeRequest, OnReply
from zephyrctl.evaluation.judges.recorded import read_recorded
from zephyrctl.runs.digests import digest_file


class ReplayJudge:
    """The judgments of a file; `recorded.py` says which files and how a request finds its own."""

    def __init__(self, recipe: Recipe) -> None:
        path = expand_home((recipe.eval.judge.spec or "").partition(":")[2])
        self._path = path
        self._recorded = read_recorded(path)
        self.name = f"{'+'.join(sorted(self._recorded.judges))} (recorded)"
        self.identity = {"replay": digest_file(path)}
        self.is_deterministic = self._recorded.repeats == 1
        self.knows_orders = not self._recorded.has_outcomes
        """Whether what was said in each order of a pair is recorded."""
        self.notices = self._notices()

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        """See `Judge`; DataError for the first request that was never recorded."""
        for index, request in enumerate(requests):
            reply = self._recorded.find(request)
            if reply is None:
                order = f", order {request.order}" if request.order else ""
                raise DataError(
                    f"no recorded judgment for question {request.question_id}, turn "
                    f"{request.turn}{order}, on this answer of '{' and '.join(request.models)}'",
                    where=str(self._path),
                    hint="a replayed judge knows only the answers it once judged",
                )
            on_reply(index, reply)

    def close(self) -> None:
        """Nothing is held."""

    def _notices(self) -> list[str]:
        found = []
        if self._recorded.overwritten:
            found.append(
                f"{self._path.name}: {self._recorded.overwritten} judgments are replaced by later "
                "ones on the same answers"
            )
        if self._recorded.has_outcomes:
            found.append(
                f"{self._path.name} holds outcomes over both orders, not what each order said"
            )
        return found
