"""Bad settings, inputs that changed since the last run, and what goes on with a word about it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import transformers
from tests.training.conftest import Drill, build_run, run_stage
from tests.training.spoiled import (
    FROM_BASE,
    Case,
    column,
    config,
    first,
    gemma_with_vision,
    rewrite,
    spoiled,
    weights,
    with_nan,
)

from zephyrctl.config import layers
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, ZephyrctlError
from zephyrctl.runs import manifest
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.metrics import notices
from zephyrctl.runs.store import Run
from zephyrctl.stages import pipeline

pytestmark = pytest.mark.train

# ------------------------------------------------------------------------ what goes on, and is said


def test_rows_that_teach_nothing_are_counted(tmp_path: Path, tiny_base: Path) -> None:
    recipe, run = build_run(tmp_path / "runs" / "t", tiny_base, sft={"max_steps": 1}, dpo=FROM_BASE)
    data = run.stage("data").path
    chosen = pq.read_table(data / "dpo" / "train.parquet")["chosen_ids"].to_pylist()
    column("rejected_ids", lambda rows: [*chosen[:3], *rows[3:]])(data / "dpo")
    column("assistant_mask", lambda rows: [[0] * len(rows[0]), *rows[1:]])(data / "sft")
    for stage, text in (
        ("sft", "1 of 8 rows hold no token of the assistant"),
        ("dpo", "3 of 8 pairs teach nothing: chosen and rejected are the same"),
    ):
        run_stage(stage, recipe, run)
        assert text in notices(run.root / stage / "metrics.jsonl")


def test_an_example_over_the_tokens_of_a_pass_is_not_split(tmp_path: Path, tiny_base: Path) -> None:
    recipe, run = build_run(
        tmp_path / "runs" / "t", tiny_base, sft={"micro_batch_tokens": 8, "max_steps": 1}
    )
    assert run_stage("sft", recipe, run).metrics["steps"] == 1


def test_a_tokenizer_without_padding_token_pads_with_eos(tmp_path: Path, tiny_base: Path) -> None:
    case = Case("", "", base=rewrite("tokenizer_config.json", pad_token=None),
                sections={"sft": {"max_steps": 1}})  # fmt: skip
    recipe, run = spoiled(case, tmp_path, tiny_base)
    run_stage("sft", recipe, run)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run.stage("sft").model)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


def test_layers_that_the_configuration_leaves_out_are_named(
    tmp_path: Path, tiny_base: Path
) -> None:
    case = Case("", "", base=config(num_hidden_layers=2), sections={"sft": {"max_steps": 1}})
    recipe, run = spoiled(case, tmp_path, tiny_base)
    run_stage("sft", recipe, run)
    said = notices(run.stage("sft").metrics_path)
    assert any("9 tensors of the base have no place in its configuration" in text for text in said)


# ------------------------------------------------------------------ what changed since the last run


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda recipe, run: column("input_ids", first([5, 6, 7]))(
            run.stage("data").path / "sft"), "data "),
        (lambda recipe, run: weights(lambda t: {n: w * 2 for n, w in t.items()})(
            Path(recipe.model.base)), "model.base"),
    ],
    ids=["data", "base"],
)  # fmt: skip
def test_a_stage_does_not_go_on_where_its_data_or_its_base_changed(
    change: Callable[[Recipe, Run], object], says: str, tmp_path: Path, tiny_base: Path
) -> None:
    case = Case("", "", sections={"sft": {"max_steps": 4, "save_every": 1}})
    recipe, run = spoiled(case, tmp_path, tiny_base)
    record_data(run)
    stage = run.stage("sft")
    manifest.begin(stage, inputs=pipeline.inputs("sft", recipe, run), seed=0, world_size=1)
    (stage.checkpoints / "checkpoint-2").mkdir(parents=True)
    manifest.fail(stage, DataError("killed"))
    change(recipe, run)
    record_data(run)
    decision = pipeline.decide("sft", recipe, run)
    assert decision.action == "refuse"
    assert says in decision.reason
    said = pipeline.start_afresh(stage, recipe, force=False)
    assert said == ["sft: starts afresh; removed checkpoint-2"]


def record_data(run: Run) -> None:
    """Finish the data stage with the files that are there."""
    stage = run.stage("data")
    manifest.begin(stage, inputs={}, seed=0, world_size=1)
    manifest.finish(stage, Result({}, [stage.path / "sft", stage.path / "dpo"]))


# ----------------------------------------------------------------- settings, and the command itself


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sft: {learning_rate: 0}", "a number above 0"),
        ("dpo: {learning_rate: 0.0}", "a number above 0"),
        ("sft: {trainer_args: {adam_bet1: 1}}", "did you mean 'adam_beta1'"),
        ("dpo: {trainer_args: {beta: 1}}", "is decided by dpo.beta"),
        ("sft: {micro_batch_size: 8, global_batch_size: 4}", "is not a multiple of"),
        ("dpo: {loss: [sigmoid, sft], loss_weights: [1.0]}", "has 1 values for 2"),
        ("dpo: {loss: [sigmoid, sft], loss_weights: [1.0, -1.0]}", "is not above 0"),
        ("dpo: {loss: [sigmoid, sft], loss_weights: [1.0, .nan]}", ""),
        ("dpo: {loss: []}", "empty list"),
        ("dpo: {init_from: '@dpo'}", "is the model that this stage is about to make"),
        ("sft: {adapter: {type: lora, r: 0}}", "at least 1"),
    ],
)
def test_settings_are_refused_with_file_and_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "zephyr.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ZephyrctlError) as caught:
        layers.load(config=path, env={}, cwd=tmp_path, flags={})
    error = caught.value
    assert (error.exit_code, error.kind) == (2, "config")
    assert any(says in problem.message for problem in error.problems)
    assert all(problem.where and "zephyr.yaml:1" in problem.where for problem in error.problems)


def typed(
    folder: Path, *args: str, module: str = "zephyrctl", before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A command as a user types it."""
    return subprocess.run(
        [*before, sys.executable, "-m", module, *args],
        cwd=folder,
        env={**os.environ, "ZEPHYRCTL_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_worker_ends_with_the_code_and_leaves_the_error(
    tmp_path: Path, tiny_base: Path, drill: Drill
) -> None:
    _, run = spoiled(Case("", "", base=weights(with_nan)), tmp_path, tiny_base)
    assert drill(run, "sft", ranks=2) == [2, 2]
    left = json.loads((run.root / "sft" / "error-rank0.json").read_text())["error"]
    assert left["message"].startswith("the weights hold NaN or infinity")
    assert left["hint"]
    assert "Traceback" not in (run.root / "sft" / "logs" / "rank0.log").read_text()


def test_a_plan_for_a_multimodal_base_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    gemma_with_vision(base)
    (tmp_path / "zephyr.yaml").write_text(f"model: {{base: {base}}}\n")
    done = typed(tmp_path, "plan", "--gpu", "h100-80g")
    assert done.returncode == 2, done.stderr
    assert "the base is a multimodal model (gemma3)" in done.stderr


def test_a_disk_that_is_too_small_is_exit_73(tmp_path: Path, tiny_base: Path) -> None:
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if not shutil.which("unshare") or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs a user namespace in which a small file system can be mounted")
    _, run = build_run(tmp_path / "runs" / "t", tiny_base)
    small = run.stage("sft").path
    small.mkdir(parents=True)
    script = f'mount -t tmpfs -o size=4m tmpfs {small} && "$@"; code=$?; cat {small}/*.json; '
    done = typed(
        tmp_path, "--run", str(run.root), "--stage", "sft", module="zephyrctl.worker",
        before=("unshare", "-rm", "sh", "-c", script + "exit $code", "sh"),
    )  # fmt: skip
    assert done.returncode == 73, done.stdout
    assert "checkpoints and model of sft need" in done.stdout
