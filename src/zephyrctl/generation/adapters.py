"""Which weights make up a model folder: a full model, or adapters upon adapters upon a base?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from zephyrctl.catalogue import BASE_MODELS
from zephyrctl.errors import DataError, quoted
from zephyrctl.runs.references import HUB_ID, only_pickles, pickled_instead

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin")


@dataclass(frozen=True)
class Chain:
    """A base (folder, Hub id) and the adapter folders to put on it, the innermost first."""

    base: str
    adapters: tuple[Path, ...] = ()


def chain_of(path: str) -> Chain:
    """Follow `base_model_name_or_path` from adapter to adapter down to a full model.

    A folder that holds both full weights and an adapter is refused: `from_pretrained` would put
    the adapter, most often a forgotten one, on top of the weights without a word.
    """
    adapters: list[Path] = []
    target = path
    while (folder := Path(target).expanduser()).is_dir() and (folder / ADAPTER_CONFIG).is_file():
        _refuse_both(folder)
        refuse_pickled(folder)
        if folder.resolve() in [adapter.resolve() for adapter in adapters]:
            raise DataError(
                "an adapter names itself as its base, directly or over others",
                where=str(folder / ADAPTER_CONFIG),
            )
        adapters.append(folder)
        target = _base_of(folder)
    return Chain(_located(target), tuple(reversed(adapters)))


def adds_up(chain: Chain) -> bool:
    """Whether the adapters give the same sum side by side as one merged after the other.

    Not DoRA, which scales by the weights below it, nor modules that are replaced as a whole.
    """
    settings = [
        json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        for adapter in chain.adapters
    ]
    return len(settings) < 2 or all(
        one.get("peft_type") == "LORA"
        and not one.get("use_dora")
        and one.get("bias", "none") == "none"
        and not one.get("modules_to_save")
        for one in settings
    )


def refuse_pickled(folder: Path) -> None:
    """UsageError where an adapter's weights are no safetensors: PEFT would open the pickle."""
    if pickled := pickled_instead(folder):
        raise only_pickles(pickled, where=str(folder))


def _base_of(folder: Path) -> str:
    """The base an adapter names; a relative path is tried from the adapter's own folder first."""
    path = folder / ADAPTER_CONFIG
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the adapter does not say its base ({error})", where=str(path)) from error
    if not isinstance(base, str) or not base:
        raise DataError("the adapter does not say its base", where=str(path))
    beside = folder / base
    if not Path(base).is_absolute() and beside.is_dir():
        return str(beside)
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise DataError(
            f"the adapter's base is no longer there: {base}",
            where=str(path),
            hint=f"set base_model_name_or_path in {path} to where the base is now",
        )
    return base


def _refuse_both(folder: Path) -> None:
    weights = [found.name for pattern in _WEIGHTS for found in folder.glob(pattern)]
    if weights:
        raise DataError(
            f"the folder holds a full model ({weights[0]}) and an adapter ({ADAPTER_CONFIG}); "
            "which of them is meant cannot be told",
            where=str(folder),
            hint=f"rm {quoted(folder)}/adapter_*    (or remove the full weights)",
        )


def _located(base: str) -> str:
    is_elsewhere = not Path(base).expanduser().is_dir() and HUB_ID.fullmatch(base)
    if base not in BASE_MODELS and not is_elsewhere:
        return base
    from zephyrctl.models.resolve import locate

    return str(locate(base, revision=None).path)
