"""Where are the parts of a model that is shared out among the processes, and how are they gathered?

Between passes each process holds its rows of every tensor (`fsdp2.shard`); a layer is whole only
while it computes. Whoever calls such a model makes every process gather its layers: all must call
it equally often.
"""

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from zephyrctl.errors import DataError

FOLDER = "shards"
"""Within a checkpoint: a safetensors file per process, with weights and optimizer state."""
_WEIGHTS, _OPTIMIZER = "weights.", "optimizer."

T = TypeVar("T")


def is_sharded(model: Any) -> bool:
    """Whether the weights of this model are shared out, by FSDP2 or by deepspeed."""
    return isinstance(model, FSDPModule) or any(map(_is_partitioned, model.parameters()))


def _is_partitioned(weight: Any) -> bool:
    """Whether deepspeed keeps only a part of this weight here."""
    return hasattr(weight, "ds_tensor")


def sharded_parts(model: Any) -> list[FSDPModule]:
    """The parts that are gathered as one: the decoder layers and the root."""
    return [part for part in model.modules() if isinstance(part, FSDPModule)]


def whole(value: Any) -> Any:
    """A tensor as one process would have it; every process must call it for a sharded one."""
    if _is_partitioned(value):
        deepspeed = importlib.import_module("deepspeed")
        with deepspeed.zero.GatheredParameters([value]):
            return value.detach().clone()
    return value.full_tensor() if isinstance(value, DTensor) else value


def own(value: torch.Tensor) -> torch.Tensor:
    """This process's part of a tensor, which shares its memory; a plain tensor is all its own."""
    if _is_partitioned(value):
        return value.ds_tensor  # type: ignore[attr-defined]
    return value.to_local() if isinstance(value, DTensor) else value


@contextlib.contextmanager
def gradients_wait(model: Any) -> Iterator[None]:
    """Within it, a backward pass adds to gradients that are not yet summed over the processes.

    This spares traffic, and takes the memory of all gradients, unsharded, on each process.
    """
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def led_by_first(model: Any, work: Callable[[], T]) -> T | None:
    """What `work` returns on the first process, None on the others.

    On the first, `work` may call the model as often as it likes; the others take part in gathering
    the weights, with a pass over one token of their own.
    """
    if not is_sharded(model):
        return work()
    if dist.get_rank() == 0:
        return _lead(model, work)
    was_training = model.training
    model.eval()
    token = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    with torch.no_grad():
        while _tell(model, again=False):
            model(input_ids=token, use_cache=False)
    model.train(was_training)
    return None


def _lead(model: Any, work: Callable[[], T]) -> T:
    passes = {"begun": 0, "ended": 0}

    def before(*_: Any) -> None:
        _tell(model, again=True)
        passes["begun"] += 1

    def after(*_: Any) -> None:
        passes["ended"] += 1

    # Before FSDP2's own hook, which gathers the weights.
    hooks = [
        model.register_forward_pre_hook(before, prepend=True),
        model.register_forward_hook(after),
    ]
    try:
        return work()
    finally:
        for hook in hooks:
            hook.remove()
        # Within a pass that failed the others wait for weights, and would not hear it.
        if passes["begun"] == passes["ended"]:
            _tell(model, again=False)


def _tell(model: Any, *, again: bool) -> bool:
    """The first process says whether another pass follows; the others' word does not count."""
    word = torch.tensor(int(again), device=model.device)
    dist.broadcast(word, src=0)
    return bool(word.item())


def each_whole(model: Any) -> Iterator[tuple[str, torch.Tensor | None]]:
    """The trained weights by name, each gathered whole on the first process's CPU, None elsewhere.

    No process holds more than one of them at a time; every process must go through all.
    """
    first = not dist.is_initialized() or dist.get_rank() == 0
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        gathered = whole(weight).detach()
        yield name, gathered.cpu() if first else None


def fill_from(model: Any, plain: Any) -> None:
    """Copy the trained weights of a sharded `model` into `plain`, the same model in one piece on
    the first process; the others pass None. DataError where it is another model."""
    places = dict(plain.named_parameters()) if plain is not None else {}
    with torch.no_grad():
        for name, weight in each_whole(model):
            if weight is None:
                continue
            if name not in places or places[name].shape != weight.shape:
                raise DataError(f"the model that was loaded again has no {name} like the trained")
            places[name].copy_(weight)


def save_shards(model: Any, optimizer: Any, folder: Path) -> None:
    """Write each process's part of the trained weights and of the optimizer's state.

    torch.distributed.checkpoint in its safetensors form; its own form has a pickle in it.
    """
    path = folder / FOLDER
    with _quiet(), _own_errors():
        save(
            _state(model, optimizer),
            storage_writer=HuggingFaceStorageWriter(str(path), save_distributed=True),
        )


def load_shards(model: Any, optimizer: Any, folder: Path) -> None:
    """Read what `save_shards` wrote, in place, into a model that may be shared out among another
    number of processes, or not at all. DataError where a tensor is missing or has another shape."""
    state = _state(model, optimizer)
    reader = HuggingFaceStorageReader(str(folder / FOLDER))
    saved: dict[str, Any] = dict(reader.read_metadata().state_dict_metadata)
    for name, tensor in state.items():
        if name not in saved or tuple(saved[name].size) != tuple(tensor.shape):
            raise DataError(
                f"the checkpoint holds other weights than are trained ({name})", where=str(folder)
            )
    with _quiet(), _own_errors():
        load(state, storage_reader=reader)


def _state(model: Any, optimizer: Any) -> dict[str, Any]:
    """Every tensor of a checkpoint by name; they share the memory of the model and optimizer."""
    plain = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper holds torch's
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    # An optimizer that has not stepped yet gets its state here, by a step with a rate of 0.
    kept: dict[str, Any] = get_optimizer_state_dict(model, plain, options=options)
    weights = {n: w for n, w in model.named_parameters() if w.requires_grad}
    return {_WEIGHTS + name: weight.detach() for name, weight in weights.items()} | {
        # What is no tensor (rates, betas) comes from the recipe and its schedule.
        _OPTIMIZER + name: value
        for name, value in kept.items()
        if isinstance(value, torch.Tensor) and name.startswith("state.")
    }


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """The error of the first process that failed, in place of torch's collection of them."""
    try:
        yield
    except CheckpointException as error:
        rank = min(error.failures)
        raise error.failures[rank][0] from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings that a single process checkpoints without a group."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
