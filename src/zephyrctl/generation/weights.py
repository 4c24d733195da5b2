"""How are a model's weights loaded: the base, the adapters upon it, and their number format?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from zephyrctl.errors import EnvironmentProblem


def load_base(
    base: str, *, dtype: torch.dtype, attention: str = "auto", revision: str | None = None
) -> Any:
    """A full model from a folder or a Hub id; `attention` is as in the configuration."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            base,
            dtype=dtype,
            # None: sdpa, or what else the model can (Gemma 2 has its own, with soft-capping).
            attn_implementation=None if attention == "auto" else attention,
            revision=revision if not Path(base).is_dir() else None,
        )
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EnvironmentProblem(
            f"the model cannot be loaded: {reason}",
            where=base,
            hint="zephyrctl models list shows the bases that need no Hub",
        ) from error


def put_on(model: Any, adapter: Path, *, name: str = "default") -> Any:
    """`model` with an adapter at work on it, unmerged; on a PEFT model, one more adapter."""
    from peft import PeftModel

    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(adapter), adapter_name=name)
            return model
        return PeftModel.from_pretrained(model, str(adapter), adapter_name=name)
    except (OSError, ValueError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"the adapter cannot be loaded: {str(error).strip().splitlines()[0]}",
            where=str(adapter),
        ) from error


def merged(model: Any, adapter: Path) -> Any:
    """`model` with an adapter added into its weights, in the number format they are in."""
    return put_on(model, adapter).merge_and_unload()


def cast(model: Any, dtype: torch.dtype) -> None:
    """Change the number format of the weights, in place.

    Parameters only: rotary frequencies are buffers, and wrong at long range in 16 bits.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's loading bars and notes off a terminal that shows our own."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
