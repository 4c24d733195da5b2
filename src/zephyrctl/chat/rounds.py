"""What did each compared model reply to one question, and what of it can be voted on?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zephyrctl.chat import meter
from zephyrctl.chat.replying import Drawn
from zephyrctl.chat.seats import Seat
from zephyrctl.chat.votes import Answered, Ballot, Question, is_blank
from zephyrctl.data.messages import Message

if TYPE_CHECKING:
    from zephyrctl.generation.sampling import Sampling


@dataclass(frozen=True)
class Shown:
    """A reply that was drawn under a letter, by a model that reads `context` tokens and did not
    read the `left_out` oldest messages."""

    letter: str
    seat: Seat
    drawn: Drawn
    context: int | None = None
    left_out: int = 0

    @property
    def text(self) -> str:
        """The reply."""
        return self.drawn.completion.text

    @property
    def is_whole(self) -> bool:
        """Whether the model, or the limit of tokens, ended it."""
        return not self.drawn.was_stopped and self.drawn.error is None

    @property
    def meter(self) -> str:
        """What is said of its tokens and speed."""
        return meter.line(self.drawn.completion, context=self.context)


@dataclass
class Round:
    """One question and the replies to it, in the order they were shown."""

    prompt: list[Message]
    blind: bool
    sampling: Sampling
    shown: list[Shown]
    ballot: Ballot | None = None
    chosen: Shown | None = None
    """The reply that a vote was for."""
    is_told: bool = False
    """Whether it was said whose each reply is, though nobody has voted."""

    @property
    def is_hidden(self) -> bool:
        """Whether nothing may tell yet whose each reply is."""
        return self.blind and self.ballot is None and not self.is_told

    @property
    def whole(self) -> list[Shown]:
        """The replies that can be voted on."""
        return [one for one in self.shown if one.is_whole]

    @property
    def letters(self) -> list[str]:
        """What can be typed for a vote on one of the whole ones."""
        return [one.letter.lower() for one in self.whole]

    @property
    def votable(self) -> list[str]:
        """Those letters that a vote can be for: none where all replies are the same."""
        if len({one.text for one in self.whole}) == 1:
            return []
        return [one.letter.lower() for one in self.whole if one not in self.blank]

    @property
    def blank(self) -> list[Shown]:
        """Those of the whole ones that say nothing."""
        return [one for one in self.whole if is_blank(one.text)]

    @property
    def failed(self) -> list[Shown]:
        """The replies that an error ended, or that one kept from beginning."""
        return [one for one in self.shown if one.drawn.error is not None]

    @property
    def was_stopped(self) -> bool:
        """Whether Ctrl-C ended a reply."""
        return any(one.drawn.was_stopped for one in self.shown)

    @property
    def going_on(self) -> Shown | None:
        """The reply that the conversation goes on with: the chosen one, else the first."""
        return self.chosen or next((one for one in self.shown if one.text), None)

    @property
    def question(self) -> Question:
        """What a vote is on."""
        return Question(
            tuple(self.prompt),
            tuple(
                Answered(
                    one.letter.lower(),
                    one.seat.name,
                    one.text,
                    not one.drawn.completion.stopped,
                    one.seat.made,
                )
                for one in self.whole
            ),
            self.sampling,
            self.blind,
        )


def shuffled(count: int, *, seed: int, number: int, question: str) -> list[int]:
    """An order of `count` seats that follows from a seed and the question alone."""
    order = list(range(count))
    random.Random(f"{seed}:{number}:{question}").shuffle(order)
    return order


def same_words(shown: Sequence[Shown]) -> str:
    """`A and C are the same; ` where some replies are, else nothing."""
    alike = [one.letter for one in shown if [other.text for other in shown].count(one.text) > 1]
    return f"{' and '.join(alike)} are the same word for word; " if alike else ""
