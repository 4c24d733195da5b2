"""What does a mixture of experts need that other models do not?

TRL 1.16 adds the router's loss (experts are to share the load) to the loss of every pass where the
configuration has a weight for it; the metric is called `aux_loss`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zephyrctl.sizes import size_words

_ROUTER = ("output_router_logits", "router_aux_loss_coef")


@contextmanager
def router_settings_stay(model: Any) -> Iterator[None]:
    """Give the model's configuration the router's settings back that building a trainer changes.

    TRL's passes ask for the router's logits by themselves, so training is the same. With
    `output_router_logits` left on, no sample could be generated and the published model could not
    answer: transformers 5.23 then weighs one new token by the mask of all tokens before it.
    """
    config = model.config
    before = {name: getattr(config, name) for name in _ROUTER if hasattr(config, name)}
    yield
    for name, value in before.items():
        setattr(config, name, value)


def beyond_4bit(model: Any) -> str | None:
    """What 4-bit loading does not reach, in words: bitsandbytes quantizes linear layers, and
    transformers 5 keeps the experts of a layer in one tensor per matrix."""
    weights = dict(model.named_parameters())
    held = sum(w.numel() for name, w in weights.items() if ".experts." in name and w.dim() == 3)
    if not held:
        return None
    size = size_words(held * model.dtype.itemsize)
    return f"4-bit loading does not reach the experts: their {held:,} weights take {size}"
