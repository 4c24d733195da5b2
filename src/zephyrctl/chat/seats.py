"""Which models are compared, and which of them is in memory when?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zephyrctl.chat import fitting
from zephyrctl.chat.fitting import Fit, Free, Need
from zephyrctl.chat.loading import loading
from zephyrctl.chat.talker import Talker
from zephyrctl.chat.wrapping import say_wrapped
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.generation.answerer import folder_of
from zephyrctl.runs.references import ModelRef

MOST = 4
CHATS = "chats"
"""The folder of votes in a run, or beside the runs."""


@dataclass
class Seat:
    """A model that is compared: known by its files, and loaded when it is asked."""

    name: str
    target: str
    """Its folder, Hub id or endpoint; two seats of one target are the same model."""
    open: Callable[[], Talker]
    need: Need | None = None
    """What it takes once it is loaded; None for a model elsewhere."""
    run: Path | None = None
    """The run it belongs to."""
    made: str | None = None
    """What tells it from another training of the same name, where that is known."""
    talker: Talker | None = None


@dataclass(frozen=True)
class Seating:
    """How the models of a chat are found, by what its command line said.

    `find` gives what a reference names, `recipe` the configuration a model is loaded with, and
    `load` the model itself, silently.
    """

    find: Callable[[str], ModelRef]
    recipe: Callable[[ModelRef], Recipe]
    load: Callable[[ModelRef], Talker]
    output_root: Path
    device: str = "auto"

    def seats(self, own: Talker, refs: Sequence[str]) -> list[Seat]:
        """The chat's own model and those that `refs` name, which are not loaded yet."""
        found = [self.seat(self.find(own.ref_name), talker=own)]
        found += [self.seat(self.find(ref)) for ref in refs]
        named_apart(found, [own.name, *refs])
        return found

    def seat(self, ref: ModelRef, *, talker: Talker | None = None) -> Seat:
        """One model; `talker` where it is loaded already."""
        if ref.kind == "endpoint":
            there = talker or self.load(ref)
            _ = there.context  # asked of the service now, which also tells whether it has the model
            return Seat(there.name, ref.target, lambda: there, talker=there)
        need = self._need(ref)
        seat = Seat(ref.name, target_of(ref), lambda: self.load(ref), need, talker=talker)
        if ref.run is not None and ref.stage in ("sft", "dpo"):
            manifest = ref.run.stage(ref.stage).read_manifest()
            seat.name, seat.run = f"{ref.run.name}/{ref.stage}", ref.run.root
            seat.made = manifest.digest[:12] if manifest else None
        return seat

    def fit(self, ref: str) -> Fit | None:
        """Whether another model goes into memory beside what is there; None for one elsewhere."""
        found = self.find(ref)
        if found.kind == "endpoint":
            return None
        return fitting.fit([self._need(found)], fitting.free_on(self.device))

    def _need(self, ref: ModelRef) -> Need:
        recipe = self.recipe(ref)
        return fitting.need_of(
            folder_of(ref),
            dtype=recipe.model.dtype,
            quantize=recipe.chat.quantize,
            free=fitting.free_on(self.device),
        )

    def bench(self, seats: list[Seat]) -> Bench:
        """The models with all that fit in memory loaded, and where votes on them are kept."""
        home = next((seat.run for seat in seats if seat.run is not None), self.output_root)
        bench = Bench(seats, home / CHATS)
        bench.fill(lambda: fitting.free_on(self.device))
        return bench


@dataclass
class Bench:
    """The models of a comparison, 2 to 4; the first is the chat's own. Votes go into `folder`.

    `one_by_one` is true where they do not fit together: each is then loaded for its reply, and
    freed for the next one.
    """

    seats: list[Seat]
    folder: Path
    one_by_one: bool = False
    _notices: dict[str, bool] = field(default_factory=dict)
    """What should be known of a model, and whether it was said."""

    @property
    def names(self) -> list[str]:
        """The models, in the order they were named."""
        return [seat.name for seat in self.seats]

    def fill(self, free: Callable[[], Free]) -> None:
        """Load the models that are not there yet where they fit, else say that they do not."""
        waiting = [seat for seat in self.seats if seat.talker is None]
        for seat in self.seats:
            self._note(seat, was_said=seat is self.seats[0])  # the chat's own is greeted by it
        needs = [
            seat.need if seat.talker is None else Need(0, seat.need.talk)
            for seat in self.seats
            if seat.need is not None
        ]
        found = fitting.fit(needs, free())
        if not found.together and any(seat.need is not None for seat in waiting):
            self.one_by_one = True
            say_wrapped(
                f"the models do not fit together: {found}; so they answer one after the other, "
                "each loaded for its reply and then freed",
                head="! ",
            )
            return
        for seat in waiting:
            self.load(seat, label=seat.name)
        self.tell()

    def load(self, seat: Seat, *, label: str, blind: bool = False) -> Talker:
        """The seat's model; under `one_by_one` the others on this machine are freed first. `blind`
        nothing but the label is shown of it meanwhile."""
        if seat.talker is not None:
            return seat.talker
        if self.one_by_one:
            self.free(but=seat)
        with loading(label, tells=not blind):
            seat.talker = seat.open()
        self._note(seat)
        return seat.talker

    def _note(self, seat: Seat, *, was_said: bool = False) -> None:
        for text in seat.talker.notices if seat.talker is not None else ():
            self._notices.setdefault(f"{seat.name}: {text}", was_said)

    def tell(self) -> None:
        """Say what should be known of the models that were opened, each notice once."""
        for seat in self.seats:
            self._note(seat)
        for text, was_said in self._notices.items():
            if not was_said:
                say_wrapped(text, head="! ")
                self._notices[text] = True

    def free(self, *, but: Seat | None = None) -> None:
        """Take the models of this machine out of memory."""
        for seat in self.seats:
            if seat is not but and seat.need is not None and seat.talker is not None:
                seat.talker.close()
                seat.talker = None


def target_of(ref: ModelRef) -> str:
    """What is the same for two references exactly where they name one model."""
    if ref.kind in ("stage", "folder"):
        return str(Path(ref.target).expanduser().absolute())
    return ref.target if ref.revision is None else f"{ref.target}@{ref.revision}"


def check_different(targets: Sequence[str], refs: Sequence[str]) -> None:
    """Refuse fewer than two models, more than four, and one that two references name."""
    if not 2 <= len(targets) <= MOST:
        raise UsageError(
            f"2 to {MOST} models are compared, not {len(targets)}",
            hint="zephyrctl chat @dpo --compare @sft",
        )
    for place, target in enumerate(targets):
        if target in targets[:place]:
            raise UsageError(
                f"'{refs[place]}' is there already: a model is not compared with itself",
                hint="name another model",
            )


def named_apart(seats: Sequence[Seat], refs: Sequence[str]) -> None:
    """Give seats of one name the references they were named by; refuse a model named twice."""
    check_different([seat.target for seat in seats], refs)
    names = [seat.name for seat in seats]
    for seat, ref in zip(seats, refs, strict=True):
        if names.count(seat.name) > 1:
            seat.name = ref
