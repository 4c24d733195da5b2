"""Do the weights move at all?

A sample of the trained weights is kept and compared some updates later. Embeddings are left out:
the rows of tokens that no example holds get no gradient and rightly stay.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from zephyrctl.errors import TrainingDiverged
from zephyrctl.training import sharding
from zephyrctl.training.processes import any_rank

Sample = dict[str, torch.Tensor]

PROBE = "probe.safetensors"
UPDATES = 10
"""Updates after warm-up from which the comparison counts."""
_PER_WEIGHT = 512
_IN_ALL = 1 << 18
_SECOND_MATRIX = ".lora_B."


@dataclass(frozen=True)
class Probe:
    """A sample, and the step before which it was taken. It outlives a kill in the checkpoints."""

    values: Sample
    step: int

    def save(self, folder: Path) -> None:
        """Write into a checkpoint folder."""
        metadata = {"step": str(self.step)}
        safetensors.torch.save_file(self.values, folder / PROBE, metadata=metadata)

    def fits(self, now: Sample) -> bool:
        """Whether the same weights, or the same parts of them, were sampled."""
        shapes = [{name: part.shape for name, part in each.items()} for each in (self.values, now)]
        return shapes[0] == shapes[1]


def load_probe(folder: Path) -> Probe | None:
    """What `Probe.save` wrote, None where there is nothing."""
    path = folder / PROBE
    if not path.is_file():
        return None
    with safetensors.safe_open(path, framework="pt") as stream:
        values = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        return Probe(values, int(stream.metadata()["step"]))


def sample(model: Any) -> Sample:
    """Evenly spread values of each trained weight matrix and vector, on the CPU; of a sharded model
    those of this process's part."""
    left_out = {
        id(module.weight)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        if module is not None and isinstance(getattr(module, "weight", None), torch.Tensor)
    }
    trained = {
        name: weight
        for name, weight in model.named_parameters()
        if weight.requires_grad and id(weight) not in left_out
    }
    each = min(_PER_WEIGHT, max(1, _IN_ALL // max(1, len(trained))))
    return {name: _spread(weight, each) for name, weight in trained.items()}


def check_end(model: Any, *, step: int, where: Path) -> None:
    """TrainingDiverged where a trained weight is not finite: such a model is never published."""
    trained = [(n, sharding.own(w)) for n, w in model.named_parameters() if w.requires_grad]
    bad = not_finite(trained)
    if sharding.is_sharded(model) and any_rank(bool(bad), device=model.device):
        bad = bad or "weights of another process"
    if bad:
        raise TrainingDiverged(
            f"after step {step} weights are not finite: {bad}",
            where=str(where),
            hint="a lower learning_rate or a smaller max_grad_norm",
        )


def not_finite(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    """The first weight that is NaN or infinite, and how many more there are; or an empty text."""
    bad = [name for name, weight in weights if not _is_finite(weight)]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"{bad[0]}{more}" if bad else ""


def spoil(model: Any) -> None:
    """Make one trained weight NaN, for drills (`runs.faults`)."""
    weight = next(w for w in model.parameters() if w.requires_grad)
    with torch.no_grad():
        sharding.own(weight).view(-1)[:1] = math.nan


def _is_finite(weight: torch.Tensor) -> bool:
    """By the smallest and largest value, which are NaN where any is; 4-bit weights are integers."""
    if not weight.is_floating_point() or not weight.numel():
        return True
    return all(math.isfinite(float(end)) for end in torch.aminmax(weight.detach()))


def share_moved(before: Mapping[str, torch.Tensor], now: Mapping[str, torch.Tensor]) -> float:
    """Share of the sampled values that differ, of 0 values 0."""
    moved = sum(int((now[name] != values).sum()) for name, values in before.items())
    return moved / max(1, sum(len(values) for values in before.values()))


def is_rounded(values: Mapping[str, torch.Tensor]) -> bool:
    """Whether some of the weights are kept in fewer bits than float32."""
    return any(part.element_size() < 4 for part in values.values())


def adapter_sizes(model: Any) -> dict[str, float]:
    """Root mean square of each trained adapter's second matrix, which starts at 0, by the name of
    its module; empty where no adapter is trained."""
    return {
        name.split(_SECOND_MATRIX)[0]: float(
            sharding.whole(weight).detach().float().square().mean().sqrt()
        )
        for name, weight in model.named_parameters()
        if _SECOND_MATRIX in name and weight.requires_grad
    }


def _spread(weight: torch.Tensor, count: int) -> torch.Tensor:
    flat = sharding.own(weight).detach().reshape(-1)
    return flat[:: max(1, flat.numel() // count)][:count].to("cpu", copy=True)
