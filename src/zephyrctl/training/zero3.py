"""What is deepspeed told, so that it shares out a training's state (ZeRO stage 3)?

It needs GPUs: on a CPU accelerate 1.15 leaves deepspeed out without a word. Nothing is offloaded.
"""

from typing import Any

from zephyrctl.config import sharing
from zephyrctl.errors import EnvironmentProblem
from zephyrctl.training.processes import World


def configuration(world: World) -> dict[str, Any]:
    """deepspeed's configuration as data; transformers fills in each `auto` from its arguments."""
    return {
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        # The optimizer updates float32 weights either way; gradients are summed in float32.
        "bf16": {"enabled": world.bf16},
        "communication_data_type": "fp32",
        # transformers' fused AdamW, of which deepspeed knows nothing.
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
    }


def check(world: World) -> None:
    """EnvironmentProblem where deepspeed, or what it needs, is not there."""
    found = sharing.lacks_zero3(on_cpu=world.device == "cpu")
    if found is not None:
        raise EnvironmentProblem(found.message, where=found.where, hint=found.hint)
