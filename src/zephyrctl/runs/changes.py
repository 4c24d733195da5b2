"""What changed since unfinished work was begun, and may it go on all the same?

A training that goes on from a checkpoint with other inputs is another training, so it is refused
with a list of what changed. `--allow-change FIELD` lets one change pass, which is recorded. Some
cannot: the checkpoint's tensors belong to one model, one set of trained weights, one optimizer.

Beside the stage's inputs count the number of processes, the strategy, and the major and minor
version of the libraries whose code decides numbers; a patch release does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zephyrctl import environment
from zephyrctl.errors import InputsChanged
from zephyrctl.registry import did_you_mean

Value = str | int | float | bool | None
LIBRARIES = ("torch", "transformers", "trl", "peft")
WORLD_SIZE, STRATEGY = "world_size", "strategy"
OF_LAUNCH = (WORLD_SIZE, STRATEGY, *(f"versions.{name}" for name in LIBRARIES))
"""Fields that are no inputs: a finished stage is not redone for them."""
_COUNTED = {
    **dict.fromkeys(
        (
            "launch.cpu_processes", "launch.gpus", "launch.gpus_per_node", "launch.nodes",
            "launch.skypilot.accelerators",
        ),
        WORLD_SIZE,
    ),
    "launch.strategy": STRATEGY,
}  # fmt: skip
"""Settings by their effect on a training: how many processes there are, and how they share."""
AUTO = "auto"
"""What a strategy was allowed to become where only the processes can tell what that is."""
_ABSENT = "(absent)"
_FIXED = {
    r"model\.base( digest)?|init_model": "the checkpoint belongs to other starting weights",
    r"model\.(dtype|load_in_4bit)": "the checkpoint's weights are of another number format",
    r"(sft|dpo)\.(adapter\..*|trainable_layers)": "other weights would be trained",
    r"(sft|dpo)\.(optimizer|trainer_args\.optim.*)": "the saved state is of another optimizer",
}


@dataclass(frozen=True)
class Change:
    """One input with its value then and now; `_ABSENT` stands for none."""

    field: str
    before: Value
    after: Value

    def in_words(self) -> str:
        """`sft.learning_rate 2e-05 → 1e-05`."""
        return f"{self.field} {shown(self.before)} → {shown(self.after)}"

    @property
    def fixed(self) -> str | None:
        """Why no flag lets this change pass within a training; None where one does."""
        return next((why for form, why in _FIXED.items() if re.fullmatch(form, self.field)), None)

    def to_json(self) -> dict[str, Any]:
        """The change as data; null for what is absent."""
        values = [None if value == _ABSENT else value for value in (self.before, self.after)]
        return {"field": self.field, "before": values[0], "after": values[1], "fixed": self.fixed}


def between(before: Mapping[str, Value], now: Mapping[str, Value]) -> list[Change]:
    """What differs, in the order of the keys."""
    keys = list(dict.fromkeys([*before, *now]))
    found = [Change(key, before.get(key, _ABSENT), now.get(key, _ABSENT)) for key in keys]
    return [change for change in found if change.before != change.after]


def of_versions(then: Mapping[str, str]) -> list[Change]:
    """Libraries of another major or minor version than `then`."""
    now = {name: environment.package_version(name) or "" for name in LIBRARIES}
    pairs = [(name, _minor(then[name]), _minor(now[name])) for name in LIBRARIES if name in then]
    return [Change(f"versions.{name}", old, new) for name, old, new in pairs if old != new]


def of_launch(
    *, then: tuple[int, str], now: tuple[int, str | None], allowed: Mapping[str, Value]
) -> list[Change]:
    """Another number of processes or another strategy, as (processes, strategy), but for what was
    allowed before. One process and several with the whole model each are one strategy."""
    found = [Change(WORLD_SIZE, then[0], now[0])] if then[0] != now[0] else []
    if now[1] is not None and _family(then[1]) != _family(now[1]):
        found.append(Change(STRATEGY, then[1], now[1]))
    return [c for c in found if allowed.get(c.field, _ABSENT) not in (c.after, AUTO)]


def refused(changes: Sequence[Change], *, stage: str, stands: str, where: str) -> InputsChanged:
    """The error that names every change and each way out."""
    width = max(len(change.field) for change in changes)
    lines = [
        f"{change.field:<{width}}  {shown(change.before)} → {shown(change.after)}"
        + (f"  (cannot change: {change.fixed})" if change.fixed else "")
        for change in changes
    ]
    error = InputsChanged(
        "\n".join([f"{stage} is unfinished ({stands}) and its inputs changed:", *lines]),
        where=where,
        hint="\n".join(_ways_out(changes, stage=stage)),
    )
    error.changes = tuple(change.to_json() for change in changes)
    return error


def unknown(fields: Iterable[str], known: Iterable[str]) -> str | None:
    """What to say of the first field that no stage has; None where all are known."""
    names = list(known)
    wrong = next((field for field in fields if field not in names), None)
    if wrong is None:
        return None
    if wrong in _COUNTED:
        return f"{wrong} is no input; what it changes is: --allow-change {_COUNTED[wrong]}"
    return f"no stage has an input '{wrong}'{did_you_mean(wrong, names)}"


def shown(value: Value) -> str:
    """A value in a message: a digest by its first 8 characters."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value[:8]
    return "null" if value is None else str(value)


def _ways_out(changes: Sequence[Change], *, stage: str) -> list[str]:
    flags = " ".join(f"--allow-change {change.field}" for change in changes)
    ways = [
        ("--force", f"begins {stage} afresh and removes its checkpoints"),
        ("--set name=OTHER", "leaves this run as it is"),
    ]
    if not any(change.fixed for change in changes):
        ways.insert(0, (flags, "goes on and records it"))
    # A long list of fields is left out of the column: it would push the others off the screen.
    width = max(len(flag) for flag, _ in ways if len(flag) <= 40)
    return [f"{flag:<{width}}   {effect}" for flag, effect in ways]


def _minor(version: str) -> str:
    return ".".join(version.split("+")[0].split(".")[:2])


def _family(strategy: str) -> str:
    return "ddp" if strategy == "single" else strategy
