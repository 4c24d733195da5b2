"""How are a model's weights loaded: the base, the adapters upon it, and their number format?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    modeling_utils,  # noqa: F401  # most of what a model's class imports, here with the rest
)
from transformers.utils import logging as transformers_logging

from zephyrctl.errors import DataError, EnvironmentProblem
from zephyrctl.models import remote_code
from zephyrctl.runs.references import only_pickles, pickled_instead


def load_base(
    base: str,
    *,
    dtype: torch.dtype,
    attention: str = "auto",
    revision: str | None = None,
    **options: Any,
) -> Any:
    """A full model from a folder or a Hub id; `attention` is as in the configuration, `options`
    are further ones of `from_pretrained`."""
    # None: sdpa, or what else the model can (Gemma 2 has its own, with soft-capping).
    model, _ = read_weights(
        base,
        dtype=dtype,
        attn_implementation=None if attention == "auto" else attention,
        revision=revision if not Path(base).is_dir() else None,
        **options,
    )
    return model


def read_weights(base: str, **options: Any) -> tuple[Any, list[str]]:
    """A full model, every tensor of which stands in its files, and the names of those in the files
    that the model has no place for. `options` are those of `from_pretrained`.

    DataError where files are damaged or do not belong together: transformers 5.23 draws what it
    does not find at random, with a warning.
    """
    if pickled := pickled_instead(Path(base)):
        raise only_pickles(pickled, where=base)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base,
            output_loading_info=True,
            trust_remote_code=remote_code.may_run(base),
            use_safetensors=True,  # the other format is a pickle
            **options,
        )
    except SafetensorError as error:
        raise DataError(
            f"a file of weights is damaged: {_reason(error)}",
            where=base,
            hint="copy or download the model again",
        ) from error
    except RuntimeError as error:
        if "mismatched_sizes" not in str(error):
            raise
        raise _do_not_belong("tensors have other shapes than config.json says", base) from error
    except (OSError, ValueError, ImportError) as error:
        if remote_code.is_about_code(error):
            raise remote_code.needed(base) from None
        raise EnvironmentProblem(
            f"the model cannot be loaded: {_reason(error)}",
            where=base,
            hint="zephyrctl models list   shows the bases that need no Hub",
        ) from error
    model, found = loaded
    missing = sorted(found["missing_keys"])
    if missing:
        raise _do_not_belong(
            f"{len(missing)} tensors that config.json asks for are in no file ({missing[0]}, …)",
            base,
        )
    return model, sorted(found["unexpected_keys"])


def _do_not_belong(reason: str, base: str) -> DataError:
    return DataError(
        f"config.json and the weights are of different models: {reason}",
        where=base,
        hint="copy or download the model again, both from one place",
    )


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


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


def side_by_side(model: Any, adapters: Sequence[Path]) -> Any:
    """`model` with all adapters at work at once, unmerged, where they add up (`adds_up`)."""
    names = [f"link{place}" for place in range(len(adapters))]
    for name, adapter in zip(names, adapters, strict=True):
        model = put_on(model, adapter, name=name)
    if len(names) > 1:
        model.base_model.set_adapter(names)
    return model


def merged(model: Any, adapter: Path) -> Any:
    """`model` with an adapter added into its weights, in the number format they are in.

    Of tied weights the embedding and the output layer each get their own then, where an adapter
    changes one of them. EnvironmentProblem where it cannot be added to them.
    """
    peft = put_on(model, adapter)
    if changes_tied(peft):
        _part_tied(model)
    try:
        return peft.merge_and_unload()
    except (RuntimeError, ValueError) as error:
        raise EnvironmentProblem(
            f"the adapter cannot be merged: {str(error).strip().splitlines()[0]}",
            where=str(adapter),
        ) from error


def changes_tied(model: Any) -> bool:
    """Whether an adapter adds to a weight that embedding and output layer share."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    first, last = (getattr(end, "weight", None) for end in ends)
    return first is last and any(isinstance(end, BaseTunerLayer) for end in ends)


def _part_tied(model: Any) -> None:
    """Give the output layer a weight of its own: PEFT 0.21 would add to both ends what it adds to
    one."""
    last = model.get_output_embeddings()
    plain = last.get_base_layer() if hasattr(last, "get_base_layer") else last
    plain.weight = torch.nn.Parameter(plain.weight.detach().clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between the libraries, not for users
            warnings.filterwarnings("ignore", category=UserWarning, module="peft")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
