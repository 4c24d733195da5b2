"""How do tests and drills break a training run at an exact place?

`ZEPHYRCTL_FAULT=PLACE=STEP:ACTION` acts once, in the process that meets the place:

- `step=7:kill` sends SIGKILL to this process after optimizer step 7, before anything is saved
- `save=8:kill` does so after the trainer wrote checkpoint 8, before it is sealed
- `step=7:term` sends SIGTERM, which asks for a checkpoint and a stop
- `step=7:nan` makes one weight NaN after step 7

Unset, which is the rule, nothing here does anything.
"""

import os
import re
import signal
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

from zephyrctl.errors import UsageError

VARIABLE = "ZEPHYRCTL_FAULT"
Place = Literal["step", "save"]
Action = Literal["kill", "term", "nan"]
_FORM = re.compile(r"(step|save)=(\d+):(kill|term|nan)")


@dataclass(frozen=True)
class Fault:
    """One planned fault."""

    place: Place
    step: int
    action: Action


def planned() -> Fault | None:
    """The fault that the environment asks for, or None."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        raise UsageError(f"{VARIABLE}={text} is no fault", hint=f"{VARIABLE}=step=7:kill")
    place, step, action = match.groups()
    return Fault(cast(Place, place), int(step), cast(Action, action))


def meet(place: Place, *, step: int, model: nn.Module | None = None) -> None:
    """Act where the planned fault is at this place and step."""
    fault = planned()
    if fault is None or (fault.place, fault.step) != (place, step):
        return
    if fault.action == "nan":
        assert model is not None, "a step has a model"
        weight = next(p for p in model.parameters() if p.requires_grad)
        with torch.no_grad():
            weight.view(-1)[0] = float("nan")
        return
    os.kill(os.getpid(), signal.SIGKILL if fault.action == "kill" else signal.SIGTERM)
