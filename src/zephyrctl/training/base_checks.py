"""Can this base be trained at all, and are its weights whole?

Asked before anything is computed: of the configuration before the weights are read, of the weights
before they are moved to a device.
"""

from typing import Any

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from zephyrctl.config.schema.training import Training
from zephyrctl.errors import ConfigError, DataError
from zephyrctl.models import remote_code
from zephyrctl.training import weights
from zephyrctl.training.starting_point import Start

_OTHER_SENSES = ("vision_config", "audio_config", "vision_tower", "vq_config")
_OTHER_BASE = "--set model.base=FOLDER   (or a Hub id, of a language model)"


def check_architecture(start: Start, training: Training, *, where: str) -> int:
    """DataError or ConfigError where the model's configuration says that this stage cannot train
    it; else the number of its embeddings. `where` is the stage."""
    config = _config(start)
    sense = next((name for name in _OTHER_SENSES if hasattr(config, name)), None)
    if sense is not None or config.get_text_config() is not config:
        raise DataError(
            f"{start.label} is a multimodal model ({config.model_type}); only text is trained here",
            where=str(start.base),
            hint=f"{_OTHER_BASE}, such as the one it is built on",
        )
    is_known = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if not (is_known or "AutoModelForCausalLM" in getattr(config, "auto_map", {})):
        raise DataError(
            f"{start.label} is no causal language model ({config.model_type})",
            where=str(start.base),
            hint=_OTHER_BASE,
        )
    quantized = getattr(config, "quantization_config", None)
    if quantized is not None:
        kind = dict(quantized).get("quant_method", "quantized")
        raise DataError(
            f"the weights of {start.label} are stored quantized ({kind}), which cannot be trained",
            where=str(start.base / "config.json"),
            hint=f"{_OTHER_BASE} with full weights; --set model.load_in_4bit=true quantizes those",
        )
    positions = getattr(config, "max_position_embeddings", None)
    if getattr(config, "alibi", False):
        positions = None  # a bias by distance, which does not end
    if isinstance(positions, int) and training.max_length > positions:
        raise ConfigError(
            f"max_length {training.max_length} is over the model's {positions} positions",
            where=f"{where}.max_length",
            hint=f"--set {where}.max_length={positions}",
        )
    return config.vocab_size


def check_checkpointing(model: Any, training: Training, *, where: str) -> None:
    """ConfigError where activations are to be recomputed by a model that cannot do it."""
    if training.gradient_checkpointing in (False, "auto") or model.supports_gradient_checkpointing:
        return
    raise ConfigError(
        f"{type(model).__name__} has no gradient checkpointing in transformers",
        where=f"{where}.gradient_checkpointing",
        hint=f"--set {where}.gradient_checkpointing=false",
    )


def check_finite(model: Any, start: Start) -> None:
    """DataError where a weight is NaN or infinite: every loss would be, too."""
    bad = weights.not_finite(model.named_parameters())
    if bad:
        raise DataError(
            f"the weights hold NaN or infinity: {bad}",
            where=str(start.base),
            hint="copy or download the model again; if it was trained, from an earlier checkpoint",
        )


def _config(start: Start) -> Any:
    try:
        own_code = remote_code.may_run(str(start.base))
        return AutoConfig.from_pretrained(str(start.base), trust_remote_code=own_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if remote_code.is_about_code(error):
            raise remote_code.needed(str(start.base)) from None
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"the model's config.json is of no use: {reason}",
            where=str(start.base / "config.json"),
            hint="copy or download the model again, or use a model that this version of "
            "transformers knows: pip show transformers",
        ) from error
