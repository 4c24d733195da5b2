"""How do several models answer one question, and what becomes of a vote on their replies?

All read the same conversation, each in its own template, with the same settings and seed. The
conversation is one: the preferred reply goes on in it, and without a vote the first one's, so that
every stored pair has one prompt. Ctrl-C stops the reply that is being drawn and asks nobody else:
half a round is no comparison, and /regen begins it anew. Blind, the order is shuffled for each
question and nothing tells the models apart until the vote, but the pace of a reply, which may.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zephyrctl import terminal
from zephyrctl.chat import meter, votes
from zephyrctl.chat.meter import Totals
from zephyrctl.chat.replying import Drawn, draw
from zephyrctl.chat.seats import Bench, Seat
from zephyrctl.chat.session import Session
from zephyrctl.chat.votes import LETTERS, Answered, Ballot, Question
from zephyrctl.data.messages import Message
from zephyrctl.errors import UsageError, ZephyrctlError

if TYPE_CHECKING:
    from zephyrctl.chat.talker import Talker
    from zephyrctl.chat.view import Render
    from zephyrctl.generation.sampling import Sampling

HIDDEN = "told after the vote"


@dataclass(frozen=True)
class Shown:
    """A reply that was drawn under a letter."""

    letter: str
    seat: Seat
    drawn: Drawn
    meter: str
    """What is said of its tokens and speed."""

    @property
    def text(self) -> str:
        """The reply."""
        return self.drawn.completion.text

    @property
    def is_whole(self) -> bool:
        """Whether the model, or the limit of tokens, ended it."""
        return not self.drawn.was_stopped and self.drawn.error is None


@dataclass
class Round:
    """One question and the replies to it, in the order they were shown."""

    prompt: list[Message]
    blind: bool
    sampling: Sampling
    shown: list[Shown]
    ballot: Ballot | None = None

    @property
    def whole(self) -> list[Shown]:
        """The replies that can be voted on."""
        return [one for one in self.shown if one.is_whole]

    @property
    def going_on(self) -> Shown | None:
        """The reply that the conversation goes on with where nobody votes."""
        return next((one for one in self.shown if one.text), None)

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

    @property
    def is_hidden(self) -> bool:
        """Whether replies are on the screen whose models are not told yet."""
        return self.last is not None and self.last.blind and self.last.ballot is None

    def answer(
        self, session: Session, *, sampling: Sampling, totals: Totals, render: Render
    ) -> None:
        """Let each model reply to the newest question of `session`; see the module's text."""
        prompt = session.messages
        self.last = Round(prompt, self.blind, sampling, [])
        if self.blind and self.bench.one_by_one:
            self.bench.free()  # the one that needs no loading would be known by it
        for place, index in enumerate(self._order(prompt)):
            try:
                shown = self._reply(
                    session,
                    LETTERS[place].upper(),
                    self.bench.seats[index],
                    sampling=sampling,
                    totals=totals,
                    render=render,
                )
            except KeyboardInterrupt:  # while it was loaded
                self._say_not_asked(place)
                break
            if shown is None:
                continue
            self.last.shown.append(shown)
            if shown.drawn.was_stopped:
                self._say_not_asked(place + 1)
                break
        if not self.blind:
            self.bench.tell()
        going_on = self.last.going_on
        if going_on is not None:
            session.reply(going_on.text)
        self._say_end(self.last)

    def _order(self, prompt: Sequence[Message]) -> list[int]:
        """Which seats reply first, second, …"""
        self.asked += 1
        count = len(self.bench.seats)
        if not self.blind:
            return list(range(count))
        return shuffled(count, seed=self.seed, number=self.asked, question=prompt[-1].content)

    def _reply(
        self,
        session: Session,
        letter: str,
        seat: Seat,
        *,
        sampling: Sampling,
        totals: Totals,
        render: Render,
    ) -> Shown | None:
        """Draw one model's reply; None where it could not begin, which is said."""
        label = letter if self.blind else f"{letter} {seat.name}"
        try:
            talker = self.bench.load(seat, label=label)
            readable = session.readable(
                lambda messages: talker.count(messages) or 0,
                context=talker.context,
                reply_tokens=sampling.max_new_tokens,
            )
        except ZephyrctlError as error:
            terminal.say(f"{label}:")
            terminal.say_error(error)
            return None
        if readable.left_out:
            terminal.say(
                f"({letter}'s context is full: it no longer reads the first "
                f"{readable.left_out} messages)"
            )
        drawn = draw(talker, readable.messages, sampling=sampling, render=render, label=label)
        if drawn.error is None or drawn.completion.text:
            totals.add(drawn.completion, context=talker.context)
        shown = Shown(letter, seat, drawn, meter.line(drawn.completion, context=talker.context))
        if self.blind:
            totals.last = HIDDEN
        self._say_reply(shown, sampling, context=talker.context)
        return shown

    def _say_reply(self, shown: Shown, sampling: Sampling, *, context: int | None) -> None:
        """How a reply ended, and what it took."""
        completion = shown.drawn.completion
        if shown.drawn.error is not None:
            terminal.say_error(shown.drawn.error)
        elif not completion.text and shown.is_whole:
            terminal.say("(an empty reply)")
        elif shown.is_whole and not completion.stopped:
            most = sampling.max_new_tokens
            terminal.say(
                meter.cut(completion, most=most, context=context, option="/set max_new_tokens")
            )
        if completion.tokens and not self.blind and terminal.is_tty(sys.stderr):
            terminal.say(f"  {shown.meter}")

    def _say_not_asked(self, after: int) -> None:
        left = [letter.upper() for letter in LETTERS[after : len(self.bench.seats)]]
        others = f"; {' and '.join(left)} not asked" if left else ""
        terminal.say(f"(stopped{others}: /regen asks all again, /undo takes it back)")

    def _say_end(self, done: Round) -> None:
        """What can be voted on, and what the conversation goes on with."""
        going_on, whole = done.going_on, done.whole
        if going_on is None:
            terminal.say("(no reply came: /regen asks again, /undo takes the question back)")
        elif len(whole) < 2:
            if not any(one.drawn.was_stopped for one in done.shown):
                terminal.say(f"(only {going_on.letter} replied: there is nothing to vote on)")
        else:
            letters = "|".join(one.letter.lower() for one in whole)
            if len({one.text for one in whole}) == 1:
                letters, alike = "", "the replies are the same word for word; "
            else:
                letters, alike = letters + "|", same_words(whole)
            terminal.say(
                f"({alike}/prefer {letters}tie|none; without a vote {going_on.letter} goes on)"
            )

    def prefer(self, session: Session, typed: str, *, totals: Totals) -> None:
        """Keep the vote on the newest replies, say whose they were and how it stands."""
        last = self._votable(session)
        choice = votes.choice_of(typed, [one.letter.lower() for one in last.whole])
        question = last.question
        last.ballot, pairs = votes.keep(question, choice, folder=self.bench.folder)
        chosen = next((one for one in last.whole if one.letter.lower() == choice), None)
        going_on = last.going_on
        if chosen is not None:
            session.turns[-1] = Message("assistant", chosen.text)
            going_on = chosen
        if going_on is not None:
            totals.last = going_on.meter
        self._say_kept(last, pairs, choice)
        if last.blind:
            self._say_names(last)
        self.say_tally()

    def _votable(self, session: Session) -> Round:
        """The newest round, if a vote on it can still be cast."""
        last = self.last
        if last is None or last.going_on is None:
            raise UsageError("there are no replies to vote on", hint="ask a question first")
        if last.ballot is not None:
            raise UsageError(
                "a vote on these replies is kept already", hint="/regen answers the question anew"
            )
        if session.messages != [*last.prompt, Message("assistant", last.going_on.text)]:
            raise UsageError(
                "the conversation has changed since these replies", hint="/regen, then /prefer"
            )
        if len(last.whole) < 2:
            raise UsageError("there is one whole reply and nothing to prefer it to", hint="/regen")
        return last

    def _say_kept(self, last: Round, pairs: Sequence[Any], choice: str) -> None:
        if not pairs:
            where = self.bench.folder / votes.UNDECIDED
            terminal.say(f"({choice}: counted in {where}, no pair)")
            return
        noun = "pair" if len(pairs) == 1 else "pairs"
        where = self.bench.folder / votes.PAIRS
        terminal.say(
            f"(saved {len(pairs)} {noun} to {where}, a source for data.dpo.train; "
            f"{choice.upper()} goes on)"
        )
        if cut := [one.letter for one in last.whole if not one.drawn.completion.stopped]:
            terminal.say(f"! cut short: {', '.join(cut)}; a model that learns it ends there too")

    def _say_names(self, last: Round) -> None:
        """Whose reply each letter was, after a blind vote."""
        for one in last.shown:
            terminal.say(f"  {one.letter} was {one.seat.name} ({one.meter})")
        self.bench.tell()

    def _say_unread(self) -> None:
        """What of the votes in this chat's folder could not be read."""
        tally = votes.read(self.bench.folder)
        for name in tally.torn:
            terminal.say(
                f"! the last line of {self.bench.folder / name} is torn (a chat was killed as it "
                "voted): left out, and mended by the next vote"
            )
        if tally.strange:
            terminal.say(f"! lines in {self.bench.folder} that are no votes: {tally.strange}")

    def say_tally(self) -> None:
        """How the models stand against each other over all votes; blind, the bias of place too."""
        ballots = votes.read(self.bench.folder).ballots
        models = {seat.name: seat.made for seat in self.bench.seats}
        for duel in votes.duels(ballots, models):
            terminal.say(f"  {duel}")
        for place in votes.places(ballots):
            if self.blind and place.of == len(models):
                terminal.say(f"  {place}")

    def greet(self) -> None:
        """Who is compared, and how a vote is cast."""
        how = "blind, " if self.blind else ""
        letters = "|".join(LETTERS[: len(self.bench.seats)])
        terminal.say(f"{how}comparing {', '.join(self.bench.names)} · /prefer {letters}|tie|none")
        self._say_unread()

    def rendered(self, messages: list[Message]) -> list[tuple[str, str]]:
        """Name and prompt of each model that is in memory, as it reads `messages`.

        UsageError where that would tell which model replied last.
        """
        if self.is_hidden and self.bench.one_by_one:
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


def shuffled(count: int, *, seed: int, number: int, question: str) -> list[int]:
    """An order of `count` seats that follows from a seed and the question alone."""
    order = list(range(count))
    random.Random(f"{seed}:{number}:{question}").shuffle(order)
    return order


def same_words(shown: Sequence[Shown]) -> str:
    """`A and C are the same; ` where some replies are, else nothing."""
    alike = [one.letter for one in shown if [other.text for other in shown].count(one.text) > 1]
    return f"{' and '.join(alike)} are the same word for word; " if alike else ""
