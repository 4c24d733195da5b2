"""A stage is run, skipped or resumed for a reason that is said."""

from pathlib import Path

import pytest
from tests.stages.conftest import begin_stage, finish_stage

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, JobFailed, StoppedEarly, UsageError
from zephyrctl.runs import manifest
from zephyrctl.runs.store import STAGES, Run, StageName
from zephyrctl.stages.pipeline import (
    Decision,
    Step,
    decide,
    execute,
    init_model,
    plan_steps,
    start_afresh,
    window,
)


def _with_rate(recipe: Recipe, rate: float) -> Recipe:
    return recipe.model_copy(update={"sft": recipe.sft.model_copy(update={"learning_rate": rate})})


def test_a_stage_that_never_began_is_run(recipe: Recipe, run: Run) -> None:
    assert decide("sft", recipe, run) == Decision("run", "first run")


def test_a_finished_stage_is_skipped(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    assert decide("sft", recipe, run) == Decision("skip", "finished, inputs unchanged")


def test_a_changed_setting_is_named_with_both_values(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    decision = decide("sft", _with_rate(recipe, 1e-5), run)
    assert decision == Decision("run", "sft.learning_rate 2e-05 → 1e-05")


def test_many_changes_are_cut_to_the_first_three(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    settings = {"learning_rate": 1e-5, "epochs": 2.0, "weight_decay": 0.1, "max_grad_norm": 2.0}
    other = recipe.model_copy(update={"sft": recipe.sft.model_copy(update=settings)})
    reason = decide("sft", other, run).reason
    assert reason.endswith("; and 1 more")
    assert reason.count("→") == 3


def test_force_redoes_what_is_finished(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    assert decide("sft", recipe, run, force=True) == Decision("run", "--force")


def test_a_finished_stage_whose_model_is_gone_is_run(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    (run.stage("sft").model / "config.json").unlink()
    run.stage("sft").model.rmdir()
    assert decide("sft", recipe, run) == Decision("run", "model is gone")


@pytest.mark.parametrize(
    ("error", "words"),
    [(None, "was killed"), (StoppedEarly("x"), "was stopped"), (DataError("x"), "failed")],
)
def test_unfinished_work_with_a_checkpoint_goes_on(
    recipe: Recipe, run: Run, error: DataError | StoppedEarly | None, words: str
) -> None:
    begin_stage(run, recipe, "sft")
    if error is not None:
        manifest.fail(run.stage("sft"), error)
    assert decide("sft", recipe, run) == Decision("run", f"{words} before anything was saved")
    (run.stage("sft").checkpoints / "checkpoint-7").mkdir(parents=True)
    assert decide("sft", recipe, run) == Decision("resume", f"{words}; checkpoint-7 stands")


def test_unfinished_work_on_other_inputs_starts_afresh_and_says_so(
    recipe: Recipe, run: Run
) -> None:
    begin_stage(run, recipe, "sft")
    folder = run.stage("sft")
    (folder.checkpoints / "checkpoint-7").mkdir(parents=True)
    folder.reporter().metrics(step=7, total=9, values={"loss": 1.0})
    other = _with_rate(recipe, 1e-5)
    decision = decide("sft", other, run)
    assert decision.action == "run"
    said: list[str] = []

    def start(stage: StageName) -> None:
        assert not folder.checkpoints.exists()
        assert not folder.metrics_path.exists()
        finish_stage(run, other, stage)

    execute(Step("sft", decision), other, run, start=start, say=said.append)
    assert said == ["sft: starts afresh; removed checkpoint-7"]
    assert decide("sft", other, run).action == "skip"


def test_an_old_model_stays_until_the_new_one_replaces_it(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    start_afresh(run.stage("sft"), recipe, force=True)
    assert (run.stage("sft").model / "config.json").exists()
    assert not run.stage("sft").is_finished()


@pytest.mark.parametrize("force", [False, True])
def test_answers_and_judgments_are_removed_by_force_only(
    recipe: Recipe, run: Run, force: bool
) -> None:
    begin_stage(run, recipe, "eval")
    answers = run.stage("eval").path / "rules" / "base" / "answers.jsonl"
    answers.parent.mkdir(parents=True)
    answers.write_text("{}\n")
    said = start_afresh(run.stage("eval"), recipe, force=force)
    assert answers.exists() is not force
    assert bool(said) is force


def test_resuming_removes_nothing(recipe: Recipe, run: Run) -> None:
    begin_stage(run, recipe, "sft")
    checkpoint = run.stage("sft").checkpoints / "checkpoint-7"
    checkpoint.mkdir(parents=True)

    def start(stage: StageName) -> None:
        assert checkpoint.exists()
        finish_stage(run, recipe, stage)

    execute(Step("sft", decide("sft", recipe, run)), recipe, run, start=start)
    read = run.stage("sft").read_manifest()
    assert read is not None
    assert read.attempts == 2


def test_a_skipped_stage_starts_nothing(recipe: Recipe, run: Run) -> None:
    started: list[str] = []
    step = Step("sft", Decision("skip", "finished, inputs unchanged"))
    execute(step, recipe, run, start=started.append)
    assert started == []


def test_an_error_that_the_processes_could_not_record_is_kept(recipe: Recipe, run: Run) -> None:
    def killed(stage: StageName) -> None:
        begin_stage(run, recipe, stage)
        raise JobFailed("rank 1 was killed by SIGKILL")

    with pytest.raises(JobFailed):
        execute(Step("sft", Decision("run", "first run")), recipe, run, start=killed)
    read = run.stage("sft").read_manifest()
    assert read is not None
    assert read.state == "failed"
    assert read.error is not None
    assert read.error["message"] == "rank 1 was killed by SIGKILL"


def test_processes_that_end_well_without_a_result_are_a_failure(recipe: Recipe, run: Run) -> None:
    with pytest.raises(JobFailed, match="ended without a result"):
        execute(
            Step("sft", Decision("run", "first run")),
            recipe,
            run,
            start=lambda stage: begin_stage(run, recipe, stage),
        )


def test_a_plan_shows_what_follows_from_what(recipe: Recipe, run: Run) -> None:
    for stage in STAGES:
        finish_stage(run, recipe, stage)
    # The trained models are there now, which eval counts.
    finish_stage(run, recipe, "dpo")
    finish_stage(run, recipe, "eval")
    assert [step.decision.action for step in plan_steps(recipe, run, STAGES)] == ["skip"] * 4
    steps = plan_steps(_with_rate(recipe, 1e-5), run, STAGES)
    assert [(step.stage, step.decision.action) for step in steps] == [
        ("data", "skip"), ("sft", "run"), ("dpo", "run"), ("eval", "run"),
    ]  # fmt: skip
    assert steps[2].decision.reason == "unless sft comes out unchanged"


def test_a_plan_fetches_nothing(recipe: Recipe, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_stage(run, recipe, "sft")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("fetched")

    monkeypatch.setattr("zephyrctl.stages.inputs.locate", refuse)
    assert [step.decision.action for step in plan_steps(recipe, run, ["sft"])] == ["skip"]


def test_a_window_of_stages_has_both_ends(recipe: Recipe) -> None:
    assert window() == ["data", "sft", "dpo", "eval", "report"]
    assert window(first="sft", last="dpo") == ["sft", "dpo"]
    assert window(last="data") == ["data"]
    with pytest.raises(UsageError, match="--from eval comes after --until sft"):
        window(first="eval", last="sft")


def test_dpo_needs_its_starting_model(recipe: Recipe, run: Run) -> None:
    with pytest.raises(UsageError, match="sft model of run 'mine' is not there") as caught:
        init_model(recipe, run)
    assert "zephyrctl sft -c" in (caught.value.hint or "")
    finish_stage(run, recipe, "sft")
    assert Path(init_model(recipe, run).target) == run.stage("sft").model
