"""How are a model's weights, gradients and optimizer state shared out among the processes?

By torch's FSDP2: `fully_shard` over each decoder layer and over what is left at the root, on gloo
and NCCL alike. accelerate 1.15 ignores its own FSDP on a CPU without a word, so nothing here goes
through it.
"""

from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoModelForCausalLM

from zephyrctl.errors import ConfigError
from zephyrctl.training.loading import decoder_parts
from zephyrctl.training.processes import World
from zephyrctl.training.sharding import own, sharded_parts


def shard(model: Any, world: World) -> None:
    """Share out the model's weights, trained and frozen ones, in place.

    With `world.bf16` matrix products and gathered weights are bfloat16, while the shards that the
    optimizer updates keep their format; gradients are always summed in float32.
    """
    mesh = init_device_mesh(world.device, (world.size,), mesh_dim_names=("shards",))
    _apply(model, mesh, bf16=world.bf16)


def _apply(model: Any, mesh: Any, *, bf16: bool) -> None:
    narrow = torch.bfloat16 if bf16 else None
    precision = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32)
    for part in [*_layers(model), model]:
        # The root too gives its weights back after each forward pass (FSDP2 would keep them):
        # whoever reads the weights between two passes finds every one in shards.
        fully_shard(part, mesh=mesh, mp_policy=precision, reshard_after_forward=True)
    for part in sharded_parts(model):
        # FSDP2 makes a tensor for the whole weight at its first use and keeps it. Sample answers
        # come first and in inference mode, and what is made there can never be trained.
        part.unshard()
        part.reshard()


def twin(model: Any) -> Any:
    """A frozen second model with the same weights, shared out in the same way.

    It is made of empty layers, one at a time, so no process ever holds a whole one.
    """
    weights = dict(model.named_parameters())
    mesh = next(iter(weights.values())).device_mesh
    with init_empty_weights(include_buffers=False):
        made: Any = AutoModelForCausalLM.from_config(
            model.config, attn_implementation=model.config._attn_implementation
        )
    made.tie_weights()  # weights without memory are made one by one
    given: dict[int, nn.Parameter] = {}
    like = {name: (weight.dtype, own(weight).device) for name, weight in weights.items()}
    names = {id(weight): name for name, weight in made.named_parameters()}
    if set(names.values()) != set(like):
        raise ConfigError(
            "this model cannot be copied in shards",
            where="dpo.reference",
            hint="--set dpo.reference=precompute",
        )
    narrow = sharded_parts(model)[0]._get_fsdp_state()._mp_policy.param_dtype
    for part in [*_layers(made), made]:
        _fill(part, names=names, like=like, given=given)
        fully_shard(
            part,
            mesh=mesh,
            mp_policy=MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32),
            reshard_after_forward=True,
        )
    with torch.no_grad():
        for name, weight in made.named_parameters():
            own(weight).copy_(own(weights[name]))
        buffers = dict(model.named_buffers())
        for name, buffer in made.named_buffers():
            buffer.data = buffers[name].detach().clone()
    return made.requires_grad_(False).eval()


def _fill(
    part: nn.Module,
    *,
    names: dict[int, str],
    like: dict[str, tuple[torch.dtype, torch.device]],
    given: dict[int, nn.Parameter],
) -> None:
    """Give memory to the weights of `part` that have none yet; tied ones stay one."""
    for module in part.modules():
        for key, weight in module._parameters.items():
            if weight is None or weight.device.type != "meta":
                continue
            if id(weight) not in given:
                dtype, device = like[names[id(weight)]]
                empty = torch.empty(weight.shape, dtype=dtype, device=device)
                given[id(weight)] = nn.Parameter(empty)
            module._parameters[key] = given[id(weight)]


def _layers(model: Any) -> list[nn.Module]:
    try:
        return decoder_parts(model)[0]
    except ConfigError as error:
        raise ConfigError(
            f"{error.message}: it cannot be shared out among processes",
            where="launch.strategy",
            hint="--set launch.strategy=ddp",
        ) from error
