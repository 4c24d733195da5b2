"""How are bfloat16 weights trained without losing the updates that are smaller than one step?

AdamW (Loshchilov & Hutter 2019, algorithm 2) in float32 arithmetic; only what is stored is
bfloat16: the weight and both moments, 6 bytes per weight and 2 for its gradient. The weight and the
second moment are rounded stochastically: up with a probability equal to the part that rounding
would cut off, so that the expected value is exact. To nearest, an update below half a bfloat16 step
(2^-9 of the weight) is lost each time, and so is the second moment's decay of a thousandth. The
first moment changes by a tenth per step and is rounded to nearest.

The random bits follow from (seed, step, number of the parameter) alone. They need no state in a
checkpoint, a resumed training draws what an uninterrupted one would have drawn, dropout and data
order are untouched, and every process of a data-parallel job rounds alike.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_CHUNK_ON_CPU = 1 << 18
"""Numbers updated at once: the float32 copies stay in the CPU's cache (9 ns per weight on one core,
20 to 30 in large pieces)."""
_CHUNK = 1 << 24
"""The same elsewhere: bounds the float32 copies to about 0.4 GB however large a matrix is."""
_LOW = 0xFFFF
"""The bits of a float32 that its bfloat16 prefix leaves out."""


class AdamWBf16(Optimizer):
    """AdamW over bfloat16 weights with stochastic rounding; float32 weights are never rounded."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int,
    ) -> None:
        self.seed = seed
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        numbered = ((g, p) for g in self.param_groups for p in g["params"])
        for number, (group, weight) in enumerate(numbered):
            if weight.grad is not None:
                self._update(weight, weight.grad, group, number)
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any], number: int) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        state["step"] += 1
        step = int(state["step"])
        noise = torch.Generator(device=weight.device)
        noise.manual_seed(_mixed(self.seed, step, number))
        tensors = (weight, gradient, state["exp_avg"], state["exp_avg_sq"])
        for chunk in zip(*(_chunks(tensor) for tensor in tensors), strict=True):
            _update_chunk(*chunk, group=group, step=step, noise=noise)


def _update_chunk(
    weight: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    *,
    group: dict[str, Any],
    step: int,
    noise: torch.Generator,
) -> None:
    beta1, beta2 = group["betas"]
    gradient = gradient.float()
    mean = torch.lerp(first.float(), gradient, 1 - beta1)
    square = second.float().mul(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    first.copy_(mean)
    scale = square.div(1 - beta2**step).sqrt_().add_(group["eps"])
    new = weight.float().mul(1 - group["lr"] * group["weight_decay"])
    new.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**step))
    if weight.dtype == torch.float32:
        second.copy_(square)
        weight.copy_(new)
        return
    bits = random_bits(new, noise)
    round_stochastically(new, bits, out=weight)
    round_stochastically(square, bits >> 16, out=second)


def random_bits(like: Tensor, noise: torch.Generator) -> Tensor:
    """32 random bits per number, int32, in the shape of `like`."""
    drawn = torch.empty(like.shape, dtype=torch.int32, device=like.device)
    return drawn.random_(-(2**31), None, generator=noise)


def round_stochastically(value: Tensor, bits: Tensor, *, out: Tensor) -> None:
    """Store float32 `value` in bfloat16 `out`, one of its two neighbours there, unbiased.

    A bfloat16 is the upper half of a float32. Adding a uniform number of 0 to 2^16 − 1 to the lower
    half carries into the upper one with the probability lower / 2^16, for both signs and across
    powers of two. `bits`: int32, of which the lower 16 are used. `value` is overwritten.
    """
    raw = value.view(torch.int32)
    raw.add_(bits & _LOW).bitwise_and_(~_LOW)
    out.copy_(value)


def _chunks(tensor: Tensor) -> list[Tensor]:
    """Views of so many numbers along the first dimension, or of one row."""
    rows = torch.atleast_1d(tensor)
    numbers = _CHUNK_ON_CPU if tensor.device.type == "cpu" else _CHUNK
    return list(rows.split(max(1, numbers * len(rows) // max(1, rows.numel()))))


def _mixed(seed: int, step: int, number: int) -> int:
    """A seed of 32 bits, which is all that the CPU's generator takes up."""
    text = f"{seed} {step} {number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big")
