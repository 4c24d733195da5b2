"""A judge whose replies a test decides."""

from collections.abc import Callable, Sequence

from zephyrctl.evaluation.judges.contract import JudgeReply, JudgeRequest, OnReply


class Saying:
    """Stands in for a model that judges: `says(request)` is a text or a whole reply.

    `asked` holds every request in the order in which they came.
    """

    def __init__(
        self,
        says: Callable[[JudgeRequest], str | JudgeReply],
        *,
        name: str = "judge-1",
        is_deterministic: bool = False,
    ) -> None:
        self.says = says
        self.name = name
        self.identity = {"says": name}
        self.is_deterministic = is_deterministic
        self.asked: list[JudgeRequest] = []

    def decide(self, requests: Sequence[JudgeRequest], *, on_reply: OnReply) -> None:
        for index, request in enumerate(requests):
            self.asked.append(request)
            said = self.says(request)
            on_reply(index, JudgeReply(said) if isinstance(said, str) else said)

    def close(self) -> None:
        return None
