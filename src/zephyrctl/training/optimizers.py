"""Which optimizer trains the weights, and in which number format must it find them?

A full fine-tuning is right in two ways only: float32 weights (a GPU's matrix products still run in
bfloat16), or bfloat16 weights with an optimizer that loses no update to rounding. bfloat16 weights
under AdamW that rounds to nearest look like training and are none: at a learning rate of 5e-7 over
478 steps 0.4 % of the update was realised, at 2e-5 it was 11 %.
"""

import importlib
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from zephyrctl.errors import ConfigError, EnvironmentProblem, JobFailed
from zephyrctl.training.adamw_bf16 import AdamWBf16

OF_BF16_WEIGHTS = ("flash_adamw", "adamw_bf16")
"""Optimizers of bfloat16 weights: a 24-bit master weight (Gonzalez Ortiz et al. 2026,
arXiv 2602.23349), and stochastic rounding."""

PACKAGES = {
    "flash_adamw": "flashoptim",
    "adamw_8bit": "bitsandbytes",
    "paged_adamw_32bit": "bitsandbytes",
}
"""Optimizers of the `cuda` extra."""

MASTER_BITS = 24
"""Of FlashAdamW's weights: 8 bits of correction beside each bfloat16 weight."""


def build(
    name: str, arguments: Any, *, device: str
) -> tuple[type[Optimizer], dict[str, Any]] | None:
    """Class and keyword arguments of an optimizer that transformers does not know by name, or None.

    `arguments` are the trainer's; weight decay comes with the parameter groups, which transformers
    makes: none on norms and biases.
    """
    if name not in OF_BF16_WEIGHTS:
        return None
    keywords = {
        "lr": arguments.learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
    }
    if name == "adamw_bf16":
        return AdamWBf16, keywords | {"seed": arguments.seed}
    check_installed(name, device=device, where="optimizer")
    flash: Any = importlib.import_module("flashoptim")
    return flash.FlashAdamW, keywords | {"master_weight_bits": MASTER_BITS}


def check_installed(name: str, *, device: str, where: str) -> None:
    """EnvironmentProblem where an optimizer of a package lacks the package or a GPU."""
    package = PACKAGES.get(name)
    if package is None or (device == "cuda" and find_spec(package) is not None):
        return
    instead = f"--set {where}={'adamw_bf16' if name in OF_BF16_WEIGHTS else 'adamw'}"
    raise EnvironmentProblem(
        f"the optimizer {name} needs {f'the package {package}' if device == 'cuda' else 'a GPU'}",
        where=where,
        hint=f"pip install 'zephyrctl[cuda]'   or {instead}" if device == "cuda" else instead,
    )


def check_setting(name: str, *, dtype: str, adapter: bool, rate: float, where: str) -> None:
    """ConfigError where optimizer and number format do not go together.

    `dtype` is `model.dtype`, `rate` the learning rate, `where` the stage.
    """
    place, of_bf16 = f"{where}.optimizer", name in OF_BF16_WEIGHTS
    if adapter:
        if of_bf16:
            raise ConfigError(
                f"{name} is for bfloat16 weights; the weights of an adapter are float32",
                where=place,
                hint=f"--set {place}=adamw",
            )
        return
    if dtype == "float16" or (dtype == "bfloat16" and not of_bf16):
        raise ConfigError(
            f"full fine-tuning with {dtype} weights loses most of its updates to rounding: at a "
            "learning rate of 5e-7 only 0.4 % of the update was realised, at 2e-5 11 % "
            f"(here {rate:g})",
            where="model.dtype",
            hint="--set model.dtype=auto   (float32 weights; a GPU still computes in bfloat16)   "
            f"or --set {place}=flash_adamw, or --set {place}=adamw_bf16   (bfloat16 weights "
            "without that loss)",
        )
    if dtype == "float32" and of_bf16:
        raise ConfigError(
            f"{name} keeps bfloat16 weights, and model.dtype asks for float32",
            where=place,
            hint=f"--set {place}=adamw   or --set model.dtype=auto",
        )


def check_weights(model: nn.Module, optimizer: str) -> None:
    """JobFailed where a weight would be trained in a number format that loses its updates.

    The last guard, on the weights themselves: TRL 1.16 turns the adapters of a 4-bit model into
    bfloat16, and a model's own code may keep what it likes.
    """
    safe = (torch.float32, torch.bfloat16) if optimizer in OF_BF16_WEIGHTS else (torch.float32,)
    for name, weight in model.named_parameters():
        if weight.requires_grad and weight.dtype not in safe:
            raise JobFailed(
                f"{name} is {str(weight.dtype).removeprefix('torch.')}, and {optimizer} would "
                "lose most of its updates to rounding",
                where="model.dtype",
                hint="--set model.dtype=auto",
            )
