"""What is said of a round of compared replies, and of the votes on them?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from zephyrctl import terminal
from zephyrctl.chat import meter, standing, votes
from zephyrctl.chat.rounds import Round, Shown, same_words
from zephyrctl.chat.votes import LETTERS, NONE, TIE
from zephyrctl.chat.wrapping import say_wrapped


def say_reply(shown: Shown, *, most: int, hidden: bool) -> None:
    """How one reply ended, where its model did not end it, and what it took; `most` is the limit
    of tokens. Where models are `hidden`, nothing that differs between them whatever they say."""
    completion = shown.drawn.completion
    if shown.drawn.error is not None:
        if hidden:
            say_wrapped(f"({shown.letter} failed; an error names its model, so it comes later)")
        else:
            terminal.say_error(shown.drawn.error)
    elif not completion.text and shown.is_whole:
        terminal.say("(an empty reply)")
    elif shown.is_whole and not completion.stopped:
        option = "/set max_new_tokens"
        cut = meter.cut(completion, most=most, context=shown.context, option=option)
        terminal.say("(cut: /set max_new_tokens, or the context is full)" if hidden else cut)
    if completion.tokens and not hidden and terminal.is_tty(sys.stderr):
        say_wrapped(shown.meter, head="  ")


def say_not_asked(after: int, *, of: int) -> None:
    """That Ctrl-C ended a round of `of` models, and which letters were not asked."""
    left = [letter.upper() for letter in LETTERS[after:of]]
    others = f"; {' and '.join(left)} not asked" if left else ""
    say_wrapped(f"(stopped{others}: /regen asks all again, /undo takes it back)")


def say_left_out(done: Round, left_out: dict[str, int]) -> None:
    """Which models no longer read all, where that begins; notes it for each in `left_out`.

    By their names in order, and after all replies, so that it tells no letter.
    """
    for one in sorted(done.shown, key=lambda shown: shown.seat.name):
        name = one.seat.name
        if one.left_out and not left_out.get(name):
            say_wrapped(meter.left_out(one.left_out, context=one.context, model=name))
        left_out[name] = one.left_out


def say_round(done: Round) -> None:
    """What can be voted on, and what the conversation goes on with."""
    going_on, whole = done.going_on, done.whole
    if going_on is None:
        say_wrapped("(no reply came: /regen asks again, /undo takes the question back)")
    elif len(whole) < 2:
        if not done.was_stopped:
            say_wrapped(f"(only {going_on.letter} replied: there is nothing to vote on)")
    else:
        choices = [one.letter.lower() for one in whole if one not in done.blank] + [TIE, NONE]
        alike = same_words(whole)
        if len({one.text for one in whole}) == 1:
            choices, alike = [TIE, NONE], "the replies are the same word for word; "
        say_wrapped(
            f"({alike}/prefer {'|'.join(choices)}; without a vote {going_on.letter} goes on)"
        )


def say_names(done: Round) -> None:
    """Whose reply each letter was, and why one failed."""
    for one in done.shown:
        what = one.meter if one.text or one.is_whole else "no reply"
        say_wrapped(f"{one.letter} was {one.seat.name} ({what})", head="  ")
        if one.drawn.error is not None:
            terminal.say_error(one.drawn.error)


def say_kept(done: Round, *, pairs: int, choice: str, folder: Path) -> None:
    """What became of a vote."""
    blank = " and ".join(one.letter for one in done.blank)
    if not pairs:
        why = f"{blank} is empty, so there is no pair" if done.chosen else "no pair"
        goes_on = f"; {choice.upper()} goes on" if done.chosen else ""
        say_wrapped(f"({choice}: counted in {folder / votes.UNDECIDED}, {why}{goes_on})")
        return
    noun = "pair" if pairs == 1 else "pairs"
    say_wrapped(
        f"(saved {pairs} {noun} to {folder / votes.PAIRS}, a source for data.dpo.train; "
        f"{choice.upper()} goes on)"
    )
    if blank:
        say_wrapped(f"! {blank} is empty: no pair with it, which would be dropped as data")
    if cut := [one.letter for one in done.whole if not one.drawn.completion.stopped]:
        say_wrapped(f"! cut short: {', '.join(cut)}; a model that learns it ends there too")


def say_unread(folder: Path) -> None:
    """What of the votes in `folder` could not be read."""
    tally = votes.read(folder)
    for name in tally.torn:
        say_wrapped(
            f"! the last line of {folder / name} is torn (a chat was killed as it voted): "
            "left out, and mended by the next vote"
        )
    if tally.strange:
        say_wrapped(f"! lines in {folder} that are no votes: {tally.strange}")


def say_tally(folder: Path, models: Mapping[str, str | None], *, blind: bool) -> None:
    """How `models` stand against each other over all votes; `blind`, the bias of place too."""
    ballots = votes.read(folder).ballots
    for duel in standing.duels(ballots, models):
        say_wrapped(str(duel), head="  ")
    for place in standing.places(ballots):
        if blind and place.of == len(models):
            say_wrapped(str(place), head="  ")
