"""Which text of a choice can be sent after each of its tokens, and with which scores?"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from zephyrctl.generation.detokenize import Detokenizer, TokenBytes
from zephyrctl.generation.rows import Score
from zephyrctl.serving.events import Ended, Piece, Scored, Scores
from zephyrctl.serving.stops import StopText


class Choice:
    """The text of one choice as its tokens come.

    Half a character, white space at the end and the beginning of a stop text are held back. A score
    leaves with the piece in which the text of its token begins; none leaves for the token that
    ended the answer, nor for those of a stop text.
    """

    def __init__(
        self, number: int, tokenizer: Any, *, stops: Sequence[str], names: TokenBytes
    ) -> None:
        self.number = number
        self._text = Detokenizer(tokenizer)
        self._stop = StopText(stops)
        self._names = names
        self._sent = 0
        self._scores: deque[tuple[int, Scored]] = deque()  # with the place where its text begins

    @property
    def is_stopped(self) -> bool:
        """Whether a stop text was found."""
        return self._stop.found

    def feed(self, token: int, score: Score | None, *, ends: bool) -> Piece | None:
        """What can be sent once `token` is there; `ends` where it is an end token, without text."""
        if score is not None and not ends:
            self._scores.append((self._text.extent, self._scored(token, score)))
        return self._piece(self._stop.feed(self._text.feed(token)))

    def close(self, *, stopped: bool, tokens: int) -> list[Piece | Ended]:
        """What is left once no more tokens come, and the end; `stopped` as in `Row`."""
        rest = self._stop.feed(self._text.close()) + self._stop.close()
        piece = self._piece(rest)
        scores = () if self.is_stopped else tuple(score for _, score in self._scores)
        reason = "stop" if stopped or self.is_stopped else "length"
        end = Ended(self.number, reason, tokens, scores)
        return [end] if piece is None else [piece, end]

    def _piece(self, text: str) -> Piece | None:
        if not text:
            return None
        self._sent += len(text)
        return Piece(self.number, text, self._begun())

    def _begun(self) -> Scores:
        """The scores of the tokens that begin in what was sent."""
        begun: list[Scored] = []
        while self._scores and self._scores[0][0] < self._sent:
            begun.append(self._scores.popleft()[1])
        return tuple(begun)

    def _scored(self, token: int, score: Score) -> Scored:
        top = tuple((self._names.of(other), logprob) for other, logprob in score.top)
        return Scored(self._names.of(token), score.logprob, top)
