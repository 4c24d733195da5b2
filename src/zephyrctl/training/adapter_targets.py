"""Which parts of a model get an adapter?

`all-linear` means every linear layer that computes with its input through its own call, except the
output head, whose weight the loss reads directly, and routers, whose small changes send tokens to
other experts. Two kinds of weights are out of its reach and are named in a notice: the experts of
a layer, which transformers 5 keeps in one tensor per matrix, and the layers of a state-space mixer
whose weights its fused kernel reads past the layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from zephyrctl.config.schema.model import Adapter
from zephyrctl.errors import ConfigError

_READ_BY_KERNEL = frozenset({"x_proj", "dt_proj", "out_proj"})
"""Of a state-space mixer: transformers 5.23 hands their weights to the scan, so that an adapter
there would be trained by nobody (`mamba_inner_fn`)."""
_ROUTERS = frozenset({"router", "gate", "shared_expert_gate"})


@dataclass(frozen=True)
class Targets:
    """Linear layers and parameters that get an adapter, by the ends of their names."""

    modules: list[str]
    parameters: list[str]
    """Tensors that belong to no linear layer: experts and routers."""
    notices: list[str]
    """What `all-linear` does not reach, in words."""


@dataclass(frozen=True)
class _Reach:
    """Where an adapter could go: ends of names, with the numbers of weights beside them."""

    linear: dict[str, list[str]]
    """Name of a layer → its full names."""
    routers: dict[str, list[str]]
    bypassed: dict[str, list[str]]
    tensors: dict[str, int]
    """`experts.down_proj` and the like → weights over all layers."""


def choose(model: Any, settings: Adapter, *, where: str) -> Targets:
    """The targets that the settings name; ConfigError where a name matches nothing that can be
    trained. `where` is the stage."""
    reach = _reach(model)
    if settings.target_modules == "all-linear":
        return _all_linear(model, reach, where=where)
    named = list(dict.fromkeys(settings.target_modules))
    _refuse_bypassed(named, reach, where=where)
    tensors = [name for name in named if name in reach.tensors]
    known = reach.linear | reach.routers
    full = [name for names in known.values() for name in names]
    modules = [name for name in named if name not in tensors]
    unknown = [name for name in modules if not any(_ends(complete, name) for complete in full)]
    if unknown or not named:
        raise ConfigError(
            f"the model has no linear layer named {', '.join(unknown)}"
            if unknown
            else "target_modules is empty",
            where=f"{where}.adapter.target_modules",
            hint=f"known: {', '.join(sorted([*known, *reach.tensors]))}",
        )
    _check_tensors(tensors, settings, where=where)
    return Targets(sorted(modules), sorted(tensors), [])


def _all_linear(model: Any, reach: _Reach, *, where: str) -> Targets:
    unwanted = [*reach.routers, *reach.bypassed]
    modules: list[str] = []
    for name, places in reach.linear.items():
        # A name that an unwanted layer bears too is given in full.
        modules += places if name in unwanted else [name]
    if not modules:
        raise ConfigError(
            f"{type(model).__name__} has no linear layer that can carry an adapter",
            where=f"{where}.adapter.target_modules",
            hint=f"--set {where}.adapter.type=none   (train the weights)",
        )
    said: list[str] = []
    experts = {name: count for name, count in reach.tensors.items() if ".experts." in f".{name}"}
    if experts:
        total = sum(weight.numel() for weight in model.parameters())
        said.append(
            f"no adapter on the experts, {100 * sum(experts.values()) / total:.0f} % of the "
            f"weights: they are no linear layers; name {' and '.join(sorted(experts))} in "
            f"{where}.adapter.target_modules to train them"
        )
    if reach.routers:
        said.append(f"no adapter on the routers ({', '.join(sorted(reach.routers))})")
    if reach.bypassed:
        said.append(
            f"no adapter on {', '.join(sorted(reach.bypassed))}: the state-space kernel reads "
            "their weights past the layer"
        )
    return Targets(sorted(modules), [], said)


def _reach(model: Any) -> _Reach:
    head = model.get_output_embeddings()
    modules: dict[str, nn.Module] = dict(model.named_modules())
    found = _Reach({}, {}, {}, {})
    for name, module in modules.items():
        if isinstance(module, nn.Linear) and module is not head:
            last = name.rpartition(".")[2]
            kind = found.linear
            if _is_router(name, modules):
                kind = found.routers
            elif last in _READ_BY_KERNEL and _is_state_space(_owner(name, modules)):
                kind = found.bypassed
            kind.setdefault(last, []).append(name)
        elif not isinstance(module, nn.Embedding):
            for short, weights in _tensors(name, module, modules):
                found.tensors[short] = found.tensors.get(short, 0) + weights
    return found


def _tensors(
    name: str, module: nn.Module, modules: dict[str, nn.Module]
) -> Iterator[tuple[str, int]]:
    """Matrices that experts (E, out, in) and routers (E, in) hold themselves."""
    last = name.rpartition(".")[2]
    for own, weight in module.named_parameters(recurse=False):
        is_expert = "experts" in last and weight.dim() == 3
        if is_expert or (weight.dim() == 2 and _is_router(name, modules)):
            yield f"{last}.{own}", weight.numel()


def _is_router(name: str, modules: dict[str, nn.Module]) -> bool:
    """A `gate` counts beside experts only: other layers call a part of theirs so too."""
    *_, last = parts = name.split(".")
    if "router" in parts:
        return True
    return last in _ROUTERS and any("expert" in child for child, _ in _children(name, modules))


def _children(name: str, modules: dict[str, nn.Module]) -> list[tuple[str, nn.Module]]:
    """The modules beside this one."""
    return list(_owner(name, modules).named_children())


def _owner(name: str, modules: dict[str, nn.Module]) -> nn.Module:
    return modules[name.rpartition(".")[0]]


def _is_state_space(module: nn.Module) -> bool:
    """Mamba's mixers hold the decay `A_log` and the skip `D` beside a convolution."""
    return all(hasattr(module, part) for part in ("A_log", "D", "conv1d"))


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _refuse_bypassed(named: list[str], reach: _Reach, *, where: str) -> None:
    lost = [name for name in named if name.rpartition(".")[2] in reach.bypassed]
    if lost:
        raise ConfigError(
            f"an adapter on {', '.join(lost)} would never be trained: the state-space kernel reads "
            "the weights past the layer",
            where=f"{where}.adapter.target_modules",
            hint=f"--set {where}.adapter.target_modules=all-linear",
        )


def _check_tensors(tensors: list[str], settings: Adapter, *, where: str) -> None:
    """PEFT 0.21 adds an adapter on a tensor to the weights, where there is no input to drop."""
    if not tensors:
        return
    if settings.dropout:
        raise ConfigError(
            f"an adapter on {', '.join(tensors)} has no input that dropout could act on",
            where=f"{where}.adapter.dropout",
            hint=f"--set {where}.adapter.dropout=0",
        )
    if settings.type == "dora":
        raise ConfigError(
            f"DoRA cannot be on {', '.join(tensors)}, which is no linear layer",
            where=f"{where}.adapter.type",
            hint=f"--set {where}.adapter.type=lora",
        )
