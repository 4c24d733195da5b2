"""How do several models answer one question, and what becomes of a vote on their replies?

All read the same conversation, each in its own template, with the same settings and seed. The
conversation is one: the preferred reply goes on in it, and without a vote the first one's, so that
every stored pair has one prompt. Ctrl-C stops the reply that is being drawn and asks nobody else:
half a round is no comparison, and /regen begins it anew. Blind, the order is shuffled for each
question and nothing tells the models apart until the vote, but the pace of a reply, which may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zephyrctl import terminal
from zephyrctl.chat import ending, telling, votes
from zephyrctl.chat.meter import Totals
from zephyrctl.chat.replying import Drawn, as_error, draw
from zephyrctl.chat.rounds import Round, Shown, shuffled
from zephyrctl.chat.seats import Bench, Seat
from zephyrctl.chat.session import Session
from zephyrctl.chat.votes import LETTERS
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.data.messages import Message
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Completion

if TYPE_CHECKING:
    from zephyrctl.chat.talker import Talker
    from zephyrctl.chat.view import Render
    from zephyrctl.generation.sampling import Sampling

HIDDEN = "told after the vote"


@dataclass
class Comparison:
    """Two to four models that answer each question of a chat."""

    bench: Bench
    blind: bool = False
    seed: int = 0
    asked: int = 0
    """Questions so far, with the votes of earlier chats: a number that decides a shuffle."""
    last: Round | None = None

    def __post_init__(self) -> None:
        self.asked = len(votes.read(self.bench.folder).ballots)

    @property
    def own(self) -> Seat:
        """The chat's own model, which goes on alone when the comparison ends."""
        return self.bench.seats[0]

    def answer(
        self,
        session: Session,
        *,
        sampling: Sampling,
        render: Render,
        totals: Totals,
        left_out: dict[str, int],
    ) -> None:
        """Let each model reply to the newest question of `session`; see the module's text.

        `totals` counts the replies, and `left_out` gets, by name, how many of the oldest messages
        a model did not read.
        """
        prompt = session.messages
        self.last = done = Round(prompt, self.blind, sampling, [])
        if self.blind and self.bench.one_by_one:
            self.bench.free()  # the one that needs no loading would be known by it
        count = len(self.bench.seats)
        for place, index in enumerate(self._order(prompt)):
            letter, seat = LETTERS[place].upper(), self.bench.seats[index]
            try:
                shown = self._reply(letter, seat, session, sampling=sampling, render=render)
            except KeyboardInterrupt:  # while it was loaded
                telling.say_not_asked(place, of=count)
                break
            done.shown.append(shown)
            if shown.drawn.error is None or shown.text:
                totals.add(shown.drawn.completion, context=shown.context)
            if shown.drawn.was_stopped:
                telling.say_not_asked(place + 1, of=count)
                break
        if done.going_on is not None:
            session.reply(done.going_on.text)
        if done.failed and len(done.whole) < 2:
            done.is_told = True  # nothing to vote on: why comes before who
        if done.is_hidden:
            totals.last = HIDDEN
        else:
            self._tell(done)
        telling.say_left_out(done, left_out)
        telling.say_round(done)

    def _tell(self, done: Round) -> None:
        """What may be said of the models now that nothing is hidden."""
        if done.blind:
            telling.say_names(done)
        self.bench.tell()

    def _order(self, prompt: Sequence[Message]) -> list[int]:
        """Which seats reply first, second, …"""
        self.asked += 1
        count = len(self.bench.seats)
        if not self.blind:
            return list(range(count))
        return shuffled(count, seed=self.seed, number=self.asked, question=prompt[-1].content)

    def _reply(
        self, letter: str, seat: Seat, session: Session, *, sampling: Sampling, render: Render
    ) -> Shown:
        """Draw one model's reply, and say how it ended."""
        label = letter if self.blind else f"{letter} {seat.name}"
        try:
            talker = self.bench.load(seat, label=label, blind=self.blind)
            readable = session.readable(
                talker.count,
                context=talker.context,
                reply_tokens=sampling.max_new_tokens,
            )
        except Exception as error:  # also a fault of a library: the others' replies are kept
            terminal.say(f"{label}:")
            nothing = Completion("", 0, 0, False, 0.0)
            shown = Shown(letter, seat, Drawn(nothing, False, as_error(error)))
        else:
            drawn = draw(talker, readable.messages, sampling=sampling, render=render, label=label)
            shown = Shown(letter, seat, drawn, talker.context, readable.left_out)
        telling.say_reply(shown, most=sampling.max_new_tokens, hidden=self.blind)
        return shown

    def prefer(self, session: Session, typed: str, *, totals: Totals) -> None:
        """Keep the vote on the newest replies, say whose they were and how it stands."""
        last = self._votable(session)
        choice = votes.choice_of(typed, last.letters, hinted=last.votable)
        with ending.interrupt_put_off():  # or the same replies could be voted on again
            last.ballot, pairs = votes.keep(last.question, choice, folder=self.bench.folder)
            last.chosen = next((one for one in last.whole if one.letter.lower() == choice), None)
            if last.chosen is not None:
                session.turns[-1] = Message("assistant", last.chosen.text)
            if last.going_on is not None:
                totals.last = last.going_on.meter
            telling.say_kept(last, pairs=len(pairs), choice=choice, folder=self.bench.folder)
            self._tell(last)
            self.say_tally()

    def _votable(self, session: Session) -> Round:
        """The newest round, if a vote on it can still be cast."""
        last = self.last
        if last is None or last.going_on is None:
            raise UsageError("there are no replies to vote on", hint="ask a question first")
        if session.messages != [*last.prompt, Message("assistant", last.going_on.text)]:
            raise UsageError(
                "the conversation has changed since these replies",
                hint="/regen answers the last question anew, then /prefer"
                if session.turns
                else "ask a question, then /prefer",
            )
        if last.ballot is not None:
            raise UsageError(
                "a vote on these replies is kept already", hint="/regen answers the question anew"
            )
        if not last.whole:
            raise UsageError("no reply is whole: there is nothing to vote on", hint="/regen")
        if len(last.whole) < 2:
            raise UsageError("there is one whole reply and nothing to prefer it to", hint="/regen")
        return last

    def say_tally(self) -> None:
        """How the models stand against each other over all votes."""
        models = {seat.name: seat.made for seat in self.bench.seats}
        telling.say_tally(self.bench.folder, models, blind=self.blind)

    def greet(self) -> None:
        """Who is compared, and how a vote is cast."""
        how = "blind, " if self.blind else ""
        letters = "|".join(LETTERS[: len(self.bench.seats)])
        say_wrapped(f"{how}comparing {', '.join(self.bench.names)} · /prefer {letters}|tie|none")
        telling.say_unread(self.bench.folder)

    def rendered(self, messages: list[Message]) -> list[tuple[str, str]]:
        """Name and prompt of each model that is in memory, as it reads `messages`.

        UsageError where that would tell which model replied last.
        """
        if self.last is not None and self.last.is_hidden and self.bench.one_by_one:
            raise UsageError("whose prompt can be shown is hidden", hint="/prefer a")
        return [
            (seat.name, seat.talker.rendered(messages))
            for seat in self.bench.seats
            if seat.talker is not None
        ]

    def status(self) -> list[tuple[str, str]]:
        """What /status shows of the models; not which letter is whose while that is hidden."""
        rows = [("compared", ", ".join(self.bench.names))]
        if self.blind:
            rows.append(("blind", f"order shuffled, seed {self.seed}; names {HIDDEN}"))
        if self.bench.one_by_one:
            rows.append(("memory", "one after the other: they do not fit together"))
        return [*rows, ("votes", str(self.bench.folder))]

    def end(self) -> Talker:
        """Free the other models; returns the chat's own one, which goes on alone."""
        self.bench.free(but=self.own)
        self.bench.tell()
        return self.bench.load(self.own, label=self.own.name)
