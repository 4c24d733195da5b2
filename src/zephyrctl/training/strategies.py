"""How do the processes share the work of a stage, and do they really?

What is chosen here is verified on the wrapped model before the first step: accelerate 1.15 drops a
strategy that it cannot carry out without a word, and training would look the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers import TrainerCallback

from zephyrctl import environment
from zephyrctl.config import sharing
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import ConfigError, EnvironmentProblem
from zephyrctl.training import fsdp2, zero3
from zephyrctl.training.loading import Policy
from zephyrctl.training.processes import World, any_rank

Name = Literal["single", "ddp", "fsdp2", "zero3"]

_IN_WORDS: dict[Name, str] = {
    "single": "one process trains",
    "ddp": "{size} processes train, each with the whole model (ddp)",
    "fsdp2": "{size} processes train, each with its part of weights, gradients and optimizer state "
    "(fsdp2)",
    "zero3": "{size} processes train, each with its part of weights, gradients and optimizer state "
    "(zero3)",
}


@dataclass(frozen=True)
class Strategy:
    """How the work is shared."""

    name: Name
    size: int
    """Processes."""

    @property
    def shards(self) -> bool:
        """Whether no process holds the whole model."""
        return self.name in sharing.SHARDED

    def describe(self) -> str:
        """One line for the log."""
        return _IN_WORDS[self.name].format(size=self.size)


def overridden(recipe: Recipe, strategy: Strategy) -> str | None:
    """What to say where one process cannot share out its work, as the recipe asks; else None."""
    wanted = recipe.launch.strategy
    if wanted in ("auto", strategy.name):
        return None
    return f"launch.strategy is {wanted}, and one process has nobody to share with: it trains alone"


def choose(recipe: Recipe, world: World, *, stage: Literal["sft", "dpo"]) -> Strategy:
    """The strategy of the recipe, which the memory plan has made concrete where it could; asked
    before anything is loaded. ConfigError with every setting that it cannot carry out."""
    wanted = recipe.launch.strategy
    if world.size == 1:
        return Strategy("single", 1)
    if wanted == "single":
        raise ConfigError(
            f"launch.strategy is single, and {world.size} processes were started",
            where="launch.strategy",
            hint="--set launch.strategy=auto",
        )
    # Where the sizes of a model are not known, no plan could say that it needs more.
    name: Name = "ddp" if wanted == "auto" else wanted
    if name in ("fsdp2", "zero3"):
        found = sharing.problems(recipe, stage, strategy=name)
        if found:
            raise ConfigError.of(found)
    if name == "zero3":
        zero3.check(world)
    return Strategy(name, world.size)


def apply(strategy: Strategy, policy: Policy, world: World) -> None:
    """Share out the policy's weights in place where the strategy does so by itself."""
    if strategy.name != "fsdp2":
        return
    adapters = getattr(policy.peft, "peft_config", {})
    if any(adapter.target_parameters for adapter in adapters.values()):
        raise ConfigError(
            "adapters on experts that share one tensor cannot be trained in shards",
            where="launch.strategy",
            hint="--set launch.strategy=ddp",
        )
    fsdp2.shard(policy.model, world)


def install(trainer: Any, strategy: Strategy) -> None:
    """Keep transformers from wrapping a model that is shared out already, and look at the model
    once it is prepared."""
    if strategy.name == "fsdp2":
        if not hasattr(trainer, "is_distributed_loading_by_transformers"):
            raise EnvironmentProblem(
                "this version of transformers wraps every model of several processes itself; "
                "fsdp2 needs 5.23",
                where="launch.strategy",
                hint="pip install -U 'transformers>=5.23,<5.30'",
            )
        # transformers' own word for a model that takes care of its placement and gradients.
        trainer.is_distributed_loading_by_transformers = True
        trainer.gradients_wait = _gradients_wait(trainer.model)
    trainer.add_callback(Guard(trainer, strategy))


def _gradients_wait(model: Any) -> bool:
    """Whether every process has room for unsharded gradients; all answer alike."""
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    on_gpu = model.device.type == "cuda"
    room = torch.cuda.mem_get_info()[1] if on_gpu else environment.memory().total
    fits = sharing.gradients_wait(4.0 * trained, memory=room)
    return not any_rank(not fits, device=model.device)


class Guard(TrainerCallback):
    """Verifies the strategy after everything is wrapped and before the first step."""

    def __init__(self, trainer: Any, strategy: Strategy) -> None:
        self.trainer = trainer
        self.strategy = strategy

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called once optimizer and model are prepared."""
        check_active(self.strategy, self.trainer.model_wrapped, self.trainer.optimizer)


def check_active(strategy: Strategy, model: Any, optimizer: Any) -> None:
    """EnvironmentProblem where `model`, wrapped for training, is not trained by the strategy."""
    checks: dict[Name, Callable[[Any, Any, int], str | None]] = {
        "single": _flaw_of_single,
        "ddp": _flaw_of_ddp,
        "fsdp2": _flaw_of_fsdp2,
        "zero3": _flaw_of_zero3,
    }
    flaw = checks[strategy.name](model, optimizer, strategy.size)
    if flaw is not None:
        raise EnvironmentProblem(
            f"launch.strategy {strategy.name} is not active: {flaw}",
            where="launch.strategy",
            hint="please report this with the output of: zephyrctl doctor",
        )


def _flaw_of_single(model: Any, optimizer: Any, size: int) -> str | None:
    del optimizer
    if size != 1:
        return f"there are {size} processes"
    if isinstance(model, DistributedDataParallel) or _sharded(model.parameters()):
        return f"the model is a {type(model).__name__}"
    return None


def _flaw_of_ddp(model: Any, optimizer: Any, size: int) -> str | None:
    del optimizer
    if not isinstance(model, DistributedDataParallel):
        return f"the model is a {type(model).__name__}, whose gradients nobody sums"
    found = torch.distributed.get_world_size(model.process_group)
    return None if found == size else f"{found} processes sum gradients, not {size}"


def _flaw_of_fsdp2(model: Any, optimizer: Any, size: int) -> str | None:
    if isinstance(model, DistributedDataParallel):
        return "the model is wrapped for ddp"
    every = list(model.named_parameters())
    for name, weight in every:
        if not isinstance(weight, DTensor):
            return f"{name} is whole on every process"
        if weight.device_mesh.size() != size or not any(p.is_shard() for p in weight.placements):
            return f"{name} is not shared out among {size} processes"
    updated = [weight for group in optimizer.param_groups for weight in group["params"]]
    if {id(w) for w in updated} != {id(w) for _, w in every if w.requires_grad}:
        return "the optimizer updates other weights than those of the model"
    return None


def _flaw_of_zero3(model: Any, optimizer: Any, size: int) -> str | None:
    del optimizer
    stage = getattr(model, "zero_optimization_stage", None)
    if stage is None:
        return f"the model is a {type(model).__name__} and no engine of deepspeed"
    if stage() != 3:
        return f"deepspeed runs with stage {stage()}"
    found = model.dp_world_size
    return None if found == size else f"{found} processes share the model, not {size}"


def _sharded(weights: Any) -> bool:
    return any(isinstance(weight, DTensor) for weight in weights)
