"""Inputs that changed while training was unfinished: refused, or allowed with an effect."""

import json
import math
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.conftest import build_run, write_data
from tests.training.test_resume import error_of

from zephyrctl.config.schema import Recipe
from zephyrctl.runs import manifest, verdict
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.manifest import Manifest, Result
from zephyrctl.runs.store import Run, StageDir
from zephyrctl.stages.pipeline import Step, Terms, decide, execute
from zephyrctl.training import checkpoints, resuming
from zephyrctl.training.checkpoints import Facts, Work

pytestmark = pytest.mark.train

SFT: dict[str, Any] = {"epochs": 4, "save_every": 3, "log_every": 1, "warmup_ratio": 0.25}
"""Eight examples in steps of four: two steps a pass, eight in all, killed at 4."""
KILLED = {"step": 3, "epoch": 1, "taken": 4}


@pytest.fixture(scope="module")
def killed_once(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, drill: Any
) -> tuple[Recipe, Run]:
    """A run of which checkpoint-3 stands, in the middle of the second pass."""
    recipe, run = build_run(tmp_path_factory.mktemp("killed") / "killed", tiny_base, sft=SFT)
    record_data(run)
    assert drill(run, "sft", fault="step=4:kill") == [-9]
    record = json.loads((run.stage("sft").checkpoints / "checkpoint-3/manifest.json").read_text())
    assert {key: record[key] for key in KILLED} == KILLED
    return recipe, run


@pytest.fixture
def killed(killed_once: tuple[Recipe, Run], tmp_path: Path) -> tuple[Recipe, Run]:
    """A copy of it."""
    recipe, run = killed_once
    shutil.copytree(run.root, tmp_path / "runs" / "killed")
    moved = recipe.model_copy(update={"output_root": str(tmp_path / "runs")})
    return moved, Run(tmp_path / "runs" / "killed")


def test_allowed_rates_take_effect_by_the_formula_of_the_schedule(
    killed: tuple[Recipe, Run], drill: Any
) -> None:
    recipe, run = killed
    stage = run.stage("sft")
    changed = {"learning_rate": 1e-3, "weight_decay": 0.3, "trainer_args": {"adam_beta2": 0.9}}
    allow = ("sft.learning_rate", "sft.weight_decay", "sft.trainer_args.adam_beta2")
    # Killed again at step 7, so that the checkpoint of step 6 can be looked at.
    assert go_on(edited(recipe, **changed), run, drill, allow, fault="step=7:kill") == [-9]

    groups = torch.load(stage.checkpoints / "checkpoint-6/optimizer.pt", weights_only=True)
    kept = groups["param_groups"]
    assert [group["weight_decay"] for group in kept] == [0.3, 0.0]
    assert {group["betas"] for group in kept} == {(0.9, 0.9)}
    assert {group["initial_lr"] for group in kept} == {1e-3}
    assert drill(run, "sft") == [0]

    records = train_records(stage)
    assert [record["step"] for record in records] == list(range(1, 9))
    for record in records:
        peak = 3e-3 if record["step"] <= 3 else 1e-3
        assert record["values"]["learning_rate"] == pytest.approx(
            peak * cosine(record["step"] - 1, warmup=2, total=8), rel=1e-12
        )
    found = manifest_of(stage)
    losses = [record["values"]["loss"] for record in records]
    assert found.metrics["train_loss"] == pytest.approx(sum(losses) / 8, rel=1e-12)
    assert [(c.field, c.step) for c in found.allowed_changes] == [(field, 3) for field in allow]
    rate = next(c for c in verdict.from_metrics(found.metrics) if c.name == "learning rate")
    assert (rate.state, rate.text) == (
        "not checked",
        "sft.learning_rate and 2 more changed within it, as allowed",
    )
    said = "sft.learning_rate 0.003 → 0.001, as allowed, from checkpoint-3 on"
    assert any(said in text for text in found.notices)


def test_another_batch_goes_on_at_the_same_example(
    killed: tuple[Recipe, Run], drill: Any, make_run: Any
) -> None:
    recipe, run = killed
    assert go_on(
        edited(recipe, global_batch_size=2), run, drill, ("sft.global_batch_size",)
    ) == [0]  # fmt: skip

    # 3 steps of 4; the second half of the second pass in 2 steps of 2; two passes of 4 steps.
    found = manifest_of(run.stage("sft"))
    assert (found.metrics["steps"], found.metrics["epochs"]) == (13, 4.0)
    assert [r["step"] for r in train_records(run.stage("sft"))] == list(range(1, 14))
    assert train_records(run.stage("sft"))[-1]["values"]["epoch"] == 4.0
    _, straight = make_run("straight", sft=SFT)
    assert drill(straight, "sft") == [0]
    assert found.metrics["tokens"] == manifest_of(straight.stage("sft")).metrics["tokens"]


def test_other_data_go_on_after_as_many_examples(killed: tuple[Recipe, Run], drill: Any) -> None:
    recipe, run = killed
    write_data(run, Path(recipe.model.base), unequal=True)
    record_data(run)
    assert decide("sft", recipe, run).action == "refuse"
    assert go_on(recipe, run, drill, ("data",)) == [0]
    found = manifest_of(run.stage("sft"))
    assert (found.metrics["steps"], found.metrics["epochs"]) == (8, 4.0)
    assert any(text.startswith("data ") and "as allowed" in text for text in found.notices)


@pytest.mark.parametrize(("steps", "says"), [(5, None), (2, "nothing is left to train")])
def test_fewer_steps_end_sooner_but_never_in_the_past(
    killed: tuple[Recipe, Run], drill: Any, steps: int, says: str | None
) -> None:
    recipe, run = killed
    codes = go_on(edited(recipe, max_steps=steps), run, drill, ("sft.max_steps",))
    if says is not None:
        assert codes == [2]
        assert says in error_of(run.stage("sft"))["message"]
        assert run.stage("sft").newest_checkpoint() == 3
        return
    assert codes == [0]
    assert manifest_of(run.stage("sft")).metrics["steps"] == steps
    rates = [record["values"]["learning_rate"] for record in train_records(run.stage("sft"))]
    assert rates[3:] == pytest.approx([3e-3 * cosine(s, warmup=2, total=5) for s in (3, 4)])


def test_another_number_of_processes_needs_a_word(killed: tuple[Recipe, Run], drill: Any) -> None:
    recipe, run = killed
    stage = run.stage("sft")
    assert drill(run, "sft", ranks=2) == [2, 2]  # started past the command, as by a job script
    assert error_of(stage)["kind"] == "changed"
    assert error_of(stage)["changes"] == [
        {"field": "world_size", "before": 1, "after": 2, "fixed": None}
    ]
    assert go_on(recipe, run, drill, ("world_size",), ranks=2) == [0, 0]
    assert any("dropout differ" in text for text in manifest_of(stage).notices)
    assert manifest_of(stage).metrics["steps"] == 8


def go_on(
    recipe: Recipe, run: Run, drill: Any, allow: tuple[str, ...], *, ranks: int = 1, **given: Any
) -> list[int]:
    """What the command does with `--allow-change`; the exit codes of the processes."""
    run.config_path.write_text(recipe.model_dump_json(), encoding="utf-8")
    decision = decide("sft", recipe, run, terms=Terms(allow, processes=ranks))
    assert decision.action == "resume"
    codes: list[int] = []

    def start(stage: Any) -> None:
        codes.extend(drill(run, stage, ranks=ranks, **given))
        if any(codes):
            raise _Ended

    with suppress(_Ended):
        execute(Step("sft", decision), recipe, run, start=start)
    return codes


class _Ended(Exception):
    """The processes ended with errors, which the test looks at itself."""


def edited(recipe: Recipe, **settings: Any) -> Recipe:
    values = recipe.model_dump(mode="json")
    values["sft"] |= settings
    return Recipe.model_validate(values)


def record_data(run: Run) -> None:
    """Finish the data stage with the files that are there."""
    stage = run.stage("data")
    manifest.begin(stage, inputs={}, seed=0, world_size=1)
    manifest.finish(stage, Result({}, [stage.path / "sft", stage.path / "dpo"]))


def cosine(step: int, *, warmup: int, total: int) -> float:
    """The schedule `cosine` after a linear warm-up, as a share of the peak."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def train_records(stage: StageDir) -> list[dict[str, Any]]:
    return [
        record
        for record in read_jsonl(stage.metrics_path)
        if record["kind"] == "metrics" and record["split"] == "train"
    ]


def manifest_of(stage: StageDir) -> Manifest:
    found = stage.read_manifest()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("strategy", "of", "expected"),
    [
        ("ddp", "single", True), ("single", "fsdp2", True), ("fsdp2", "fsdp2", True),
        ("fsdp2", "ddp", False), ("zero3", "zero3", True), ("zero3", "fsdp2", False),
        ("fsdp2", "zero3", False), ("ddp", "zero3", False), ("zero3", "ddp", False),
    ],
)  # fmt: skip
def test_deepspeed_alone_reads_its_own_shards(strategy: str, of: str, expected: bool) -> None:
    work = Work({}, 2, strategy=of, sharded=of in ("fsdp2", "zero3"))
    written = checkpoints.record(Facts(work, step=4, total=8, epoch=1, taken=0), {})
    assert resuming.can_take_over(strategy, written) is expected
