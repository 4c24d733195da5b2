"""Where does an answer end that must not hold certain texts?"""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Cuts a stream of pieces before the first stop text in it.

    What may be the beginning of a stop text is held back until it is decided, so that no letter
    of one is ever sent. However a text is cut into pieces, the joined results are the same.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """What of the text so far can be sent; nothing once a stop text was found."""
        if self.found:
            return ""
        text = self._held + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        # Of two that are there now, the later one may have begun first: take the earliest.
        if places and not self._may_begin_before(text, min(places)):
            self.found, self._held = True, ""
            return text[: min(places)]
        kept = self._begun_at(text)
        self._held = text[kept:]
        return text[:kept]

    def close(self) -> str:
        """What is left once no more pieces come."""
        rest, self._held = self._held, ""
        places = [place for stop in self._stops if (place := rest.find(stop)) >= 0]
        if places:
            self.found = True
            return rest[: min(places)]
        return rest

    def _begun_at(self, text: str) -> int:
        """The first place from which the rest of `text` is the beginning of a stop text."""
        longest = max((len(stop) for stop in self._stops), default=1)
        for place in range(max(0, len(text) - longest + 1), len(text)):
            if any(stop.startswith(text[place:]) for stop in self._stops):
                return place
        return len(text)

    def _may_begin_before(self, text: str, place: int) -> bool:
        return self._begun_at(text) < place
