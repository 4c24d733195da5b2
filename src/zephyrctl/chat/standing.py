"""How do models stand against each other over the votes that were kept?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from zephyrctl.chat.votes import NONE, TIE, Ballot
from zephyrctl.data.rates import wilson


@dataclass(frozen=True)
class Duel:
    """How two models stand against each other, over all votes that were kept."""

    a: str
    b: str
    a_wins: int = 0
    b_wins: int = 0
    ties: int = 0
    none: int = 0
    blind: int = 0
    """How many of the decided votes were cast blind."""
    others: int = 0
    """Votes on other trainings of these names, which do not count."""

    @property
    def decided(self) -> int:
        """Votes for one of the two."""
        return self.a_wins + self.b_wins

    def __str__(self) -> str:
        told = f"{self.a} over {self.b}: {share(self.a_wins, self.decided)}"
        counts = {"blind": self.blind, "tied": self.ties, "none": self.none,
                  "of other trainings left out": self.others}  # fmt: skip
        rest = [f"{count} {what}" for what, count in counts.items() if count]
        return f"{told}; {', '.join(rest)}" if rest else told


@dataclass(frozen=True)
class Place:
    """How often the reply shown first was chosen, in blind votes on `of` replies.

    Votes cast with the names on the screen do not count: there a place is always the same model's.
    """

    of: int
    first: int = 0
    decided: int = 0

    def __str__(self) -> str:
        return (
            f"shown first of {self.of}: {share(self.first, self.decided)}; "
            f"{1 / self.of:.0%} without a bias of place"
        )


def share(part: int, whole: int) -> str:
    """`8 of 11 votes (73%, 95% interval 43–90%)`, by Wilson for 95 %."""
    if not whole:
        return "no votes yet"
    low, high = wilson(part / whole, whole)
    noun = "vote" if whole == 1 else "votes"
    return f"{part} of {whole} {noun} ({part / whole:.0%}, 95% interval {low * 100:.0f}–{high:.0%})"


def duels(ballots: Iterable[Ballot], models: Mapping[str, str | None]) -> list[Duel]:
    """How each two of `models` stand, in their order; the values tell which training is meant."""
    ballots = list(ballots)
    return [_duel(ballots, models, a, b) for a, b in combinations(models, 2)]


def _duel(ballots: Iterable[Ballot], models: Mapping[str, str | None], a: str, b: str) -> Duel:
    """A choice decides between its model and each other; of two that were not chosen, nothing."""
    duel = Duel(a, b)
    for ballot in ballots:
        if not {a, b} <= set(ballot.shown):
            continue
        if any(ballot.made.get(name) != models[name] for name in (a, b)):
            duel = replace(duel, others=duel.others + 1)
            continue
        won = a in ballot.preferred, b in ballot.preferred
        if won == (True, False):
            duel = replace(duel, a_wins=duel.a_wins + 1, blind=duel.blind + ballot.blind)
        elif won == (False, True):
            duel = replace(duel, b_wins=duel.b_wins + 1, blind=duel.blind + ballot.blind)
        elif won == (True, True) or ballot.choice == TIE:
            duel = replace(duel, ties=duel.ties + 1)
        elif ballot.choice == NONE:
            duel = replace(duel, none=duel.none + 1)
    return duel


def places(ballots: Iterable[Ballot]) -> list[Place]:
    """How often the first of two, of three and of four replies was chosen, where it was blind."""
    found: dict[int, Place] = {}
    for ballot in ballots:
        if ballot.blind and len(ballot.preferred) == 1:
            place = found.get(len(ballot.shown), Place(len(ballot.shown)))
            first = place.first + (ballot.preferred[0] == ballot.shown[0])
            found[place.of] = replace(place, first=first, decided=place.decided + 1)
    return [found[count] for count in sorted(found)]
