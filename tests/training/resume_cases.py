"""Trainings that must end alike however often they are killed: what each is, and how it is asked.

Each has eight examples in steps of four: step 1 is in the middle of the first pass, step 2 at its
edge, step 3 in the middle of the second. One interrupted run is killed after each of them.
"""

from dataclasses import dataclass
from typing import Any

from tests.training.test_resume import outcome

KILLS = ("step=2:kill", "step=3:kill", "step=4:kill")
"""With a checkpoint after each step, training goes on from steps 1, 2 and 3."""
_ALL = {"epochs": 3, "save_every": 1, "log_every": 2, "sample_prompts": 0, "max_length": 128}
_LORA = {"adapter": {"type": "lora", "r": 4, "dropout": 0.2}}
_DPO = {"init_from": "base", "max_prompt_length": 64}


@dataclass(frozen=True)
class Case:
    """One training."""

    stage: str
    settings: dict[str, Any]


CASES = {
    "sft full": Case("sft", {}),
    "sft lora": Case("sft", _LORA),
    "sft neftune": Case("sft", {"neftune_alpha": 5.0}),
    "sft packed": Case("sft", {"packing": "bfd", "global_batch_size": 2}),
    "sft packed lora": Case("sft", _LORA | {"packing": "bfd", "global_batch_size": 2}),
    "sft evaluated": Case("sft", _LORA | {"eval_every": 1, "keep_checkpoints": 1}),
    "sft padded": Case("sft", _LORA | {"padding_free": False, "micro_batch_size": 1}),
    "sft adamw_bf16": Case("sft", {"optimizer": "adamw_bf16"}),
    "dpo full precomputed": Case("dpo", _DPO | {"reference": "precompute"}),
    "dpo full copy": Case("dpo", _DPO | {"reference": "copy"}),
    "dpo lora precomputed": Case("dpo", _DPO | _LORA | {"reference": "precompute"}),
    "dpo lora adapter": Case("dpo", _DPO | _LORA | {"reference": "adapter"}),
    "dpo lora copy": Case("dpo", _DPO | _LORA | {"reference": "copy"}),
    "dpo shared": Case("dpo", _DPO | {"padding_free": True, "prefix_sharing": True}),
    "dpo shared lora": Case(
        "dpo",
        _DPO | _LORA | {"padding_free": True, "prefix_sharing": True, "reference": "adapter"},
    ),
    "dpo padded": Case("dpo", _DPO | {"padding_free": False, "prefix_sharing": False}),
}


def ends_alike(
    case: Case, ranks: int, make_run: Any, drill: Any, kills: tuple[str, ...] = KILLS
) -> None:
    """Train once without and once with interruptions; weights, losses and metrics are the same."""
    sections: dict[str, Any] = {case.stage: _ALL | case.settings, "unequal": True}
    if case.settings.get("optimizer") == "adamw_bf16":
        sections["model"] = {"dtype": "bfloat16"}
    _, straight = make_run("straight", **sections)
    _, killed = make_run("killed", **sections)
    assert drill(straight, case.stage, ranks=ranks) == [0] * ranks
    for kill in kills:
        assert drill(killed, case.stage, ranks=ranks, fault=kill) == [-9] * ranks
        assert killed.stage(case.stage).newest_checkpoint() == int(kill[5]) - 1
    assert drill(killed, case.stage, ranks=ranks) == [0] * ranks
    expected, found = (outcome(run.stage(case.stage)) for run in (straight, killed))
    assert expected["metrics"]["steps"] > 3
    assert found == expected
