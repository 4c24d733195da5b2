"""Do the examples of a forward pass stand in a padded grid, or in one row without padding?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from zephyrctl.config.schema.training import Dpo, Training
from zephyrctl.errors import ConfigError
from zephyrctl.training import attention


@dataclass(frozen=True)
class Layout:
    """`padding_free`: one row, kept apart by attention. `shared`: of a pair, the prompt is in it
    once."""

    padding_free: bool
    shared: bool = False


PADDED = Layout(padding_free=False)


def decide(
    model: Any,
    training: Training,
    *,
    kernel: str,
    device: str,
    where: str,
    say: Callable[[str], None],
) -> Layout:
    """What the recipe asks for, as far as the model's attention can; the reason is said where it
    cannot, and is an error where the recipe insists. `kernel` is the recipe's `model.attention`."""
    wanted = training.padding_free
    sharing = training.prefix_sharing if isinstance(training, Dpo) else False
    if wanted is False:
        if sharing is True:
            raise ConfigError(
                "prefix_sharing needs padding_free",
                where=f"{where}.prefix_sharing",
                hint=f"--set {where}.padding_free=auto",
            )
        return PADDED
    named = None if kernel == "auto" else f"model.attention is {kernel}"
    reason = named or attention.reason_against(model)
    if reason is not None:
        if wanted is True or sharing is True:
            key = "padding_free" if wanted is True else "prefix_sharing"
            raise ConfigError(
                f"this model cannot be trained without padding: {reason}",
                where=f"{where}.{key}",
                hint=f"--set {where}.{key}=auto",
            )
        say(f"examples are padded to the longest of a forward pass: {reason}")
        return PADDED
    shared = sharing is not False
    prompts = ", the prompt of a pair computed once" if shared else ""
    say(f"no padding{prompts}; attention by {attention.kernel(torch.device(device))}")
    return Layout(padding_free=True, shared=shared)
