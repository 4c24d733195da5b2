"""A stage is run, skipped or resumed for a reason that is said."""

import json
from pathlib import Path

import pytest
from tests.stages.conftest import begin_stage, finish_stage

from zephyrctl import environment
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import (
    DataError,
    InputsChanged,
    JobFailed,
    StoppedEarly,
    UsageError,
    from_json,
)
from zephyrctl.runs import manifest
from zephyrctl.runs.store import STAGES, Run, StageDir, StageName
from zephyrctl.stages import forecast
from zephyrctl.stages.pipeline import (
    Decision,
    Step,
    Terms,
    check_allowed,
    decide,
    execute,
    init_model,
    plan_steps,
    refusal,
    start_afresh,
    window,
)
from zephyrctl.training import checkpoint_record, checkpoints


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


def test_unfinished_training_with_checkpoints_is_refused_other_inputs(
    recipe: Recipe, run: Run
) -> None:
    folder = killed_at_step_7(recipe, run)
    other = _with_rate(recipe, 1e-5)
    decision = decide("sft", other, run)
    assert (decision.action, decision.reason) == ("refuse", "sft.learning_rate 2e-05 → 1e-05")
    with pytest.raises(InputsChanged) as caught:
        execute(Step("sft", decision), other, run, start=lambda stage: pytest.fail("started"))
    error = caught.value
    assert error.message.splitlines() == [
        "sft is unfinished (checkpoint-7 stands) and its inputs changed:",
        "sft.learning_rate  2e-05 → 1e-05",
    ]
    assert (error.hint or "").splitlines() == [
        "--allow-change sft.learning_rate   goes on and records it",
        "--force                            begins sft afresh and removes its checkpoints",
        "--set name=OTHER                   leaves this run as it is",
    ]
    assert error.to_json()["changes"] == [
        {"field": "sft.learning_rate", "before": 2e-5, "after": 1e-5, "fixed": None}
    ]
    assert (folder.checkpoints / "checkpoint-7").exists()
    copy = from_json(json.loads(json.dumps(error.to_json())))
    assert (copy.exit_code, copy.to_json()) == (2, error.to_json())


def test_unfinished_training_without_checkpoints_starts_afresh(recipe: Recipe, run: Run) -> None:
    begin_stage(run, recipe, "sft")
    assert decide("sft", _with_rate(recipe, 1e-5), run).action == "run"


def test_force_removes_the_checkpoints_and_says_so(recipe: Recipe, run: Run) -> None:
    folder = killed_at_step_7(recipe, run)
    other = _with_rate(recipe, 1e-5)
    said: list[str] = []

    def start(stage: StageName) -> None:
        assert not folder.checkpoints.exists()
        assert not folder.metrics_path.exists()
        finish_stage(run, other, stage)

    step = Step("sft", decide("sft", other, run, force=True))
    execute(step, other, run, start=start, say=said.append)
    assert said == ["sft: starts afresh; removed checkpoint-7"]
    assert decide("sft", other, run).action == "skip"


def test_an_allowed_change_goes_on_and_is_recorded(recipe: Recipe, run: Run) -> None:
    folder = killed_at_step_7(recipe, run)
    other = _with_rate(recipe, 1e-5)
    terms = Terms(allow=("sft.learning_rate",))
    decision = decide("sft", other, run, terms=terms)
    assert decision.action == "resume"
    assert decision.reason.endswith("checkpoint-7 stands, with sft.learning_rate 2e-05 → 1e-05")

    def start(stage: StageName) -> None:
        assert (folder.checkpoints / "checkpoint-7").exists()
        finish_stage(run, other, stage)

    execute(Step("sft", decision), other, run, start=start, verify_hashes=False)
    manifest = folder.read_manifest()
    assert manifest is not None
    assert [change.model_dump() for change in manifest.allowed_changes] == [
        {"field": "sft.learning_rate", "before": 2e-5, "after": 1e-5, "step": 7}
    ]
    assert (manifest.attempts, manifest.hashes_verified) == (2, False)
    assert manifest.inputs["sft.learning_rate"] == 1e-5
    assert decide("sft", other, run).action == "skip"


def test_an_allowed_change_stays_allowed_for_the_same_command(recipe: Recipe, run: Run) -> None:
    killed_at_step_7(recipe, run)
    other = _with_rate(recipe, 1e-5)
    terms = Terms(allow=("sft.learning_rate",))
    step = Step("sft", decide("sft", other, run, terms=terms))
    with pytest.raises(JobFailed):
        execute(step, other, run, start=lambda stage: begin_stage(run, other, stage))
    for again in (terms, Terms()):
        assert decide("sft", other, run, terms=again).action == "resume"
        assert check_allowed(other, run, ["sft"], lambda stage: again) is None  # noqa: B023
    assert decide("sft", recipe, run).action == "refuse"


@pytest.mark.parametrize(
    ("section", "setting", "value", "field"),
    [
        ("model", "dtype", "float16", "model.dtype"),
        ("sft", "optimizer", "rmsprop", "sft.optimizer"),
        ("sft", "trainable_layers", 2, "sft.trainable_layers"),
        ("sft", "adapter", {"type": "lora", "r": 4}, "sft.adapter.type"),
        ("sft", "trainer_args", {"optim_args": "x"}, "sft.trainer_args.optim_args"),
    ],
)
def test_what_belongs_to_the_weights_cannot_change(
    recipe: Recipe, run: Run, section: str, setting: str, value: object, field: str
) -> None:
    killed_at_step_7(recipe, run)
    values = recipe.model_dump(mode="json")
    values[section][setting] = value
    other = Recipe.model_validate(values)
    found = decide("sft", other, run).changes
    allow = tuple(change.field for change in found)
    assert field in allow
    decision = decide("sft", other, run, terms=Terms(allow=allow))
    assert decision.action == "refuse"
    error = refusal("sft", run, decision)
    assert f"{field} " in error.message
    assert "(cannot change: " in error.message
    assert "--allow-change" not in (error.hint or "")


def test_other_starting_weights_cannot_be_allowed(recipe: Recipe, run: Run, tmp_path: Path) -> None:
    killed_at_step_7(recipe, run)
    (tmp_path / "base" / "model.safetensors").write_text("other weights")
    decision = decide("sft", recipe, run, terms=Terms(allow=("model.base", "model.base digest")))
    assert decision.action == "refuse"
    assert {change.field for change in decision.changes} == {"model.base", "model.base digest"}


def test_processes_and_versions_count_while_a_stage_is_unfinished(
    recipe: Recipe, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = killed_at_step_7(recipe, run, whole=True)
    assert decide("sft", recipe, run, terms=Terms(processes=1)).action == "resume"
    decision = decide("sft", recipe, run, terms=Terms(processes=2))
    assert (decision.action, decision.reason) == ("refuse", "world_size 1 → 2")
    allowed = Terms(allow=("world_size",), processes=2)
    assert decide("sft", recipe, run, terms=allowed).action == "resume"
    assert decide("sft", recipe, run, terms=Terms(processes=1, strategy="fsdp2")).reason == (
        "strategy single → fsdp2"
    )
    assert decide("sft", recipe, run, terms=Terms(processes=1, strategy="ddp")).action == "resume"

    own = environment.package_version("torch") or ""
    major, minor, *_ = own.split(".")
    versions = {"torch": f"{major}.{minor}.99+cu130"}
    monkeypatch.setattr(environment, "package_version", lambda name: versions.get(name, "0"))
    reasons = decide("sft", recipe, run).reason
    assert "versions.torch" not in reasons  # a patch release
    assert "versions.trl" in reasons
    monkeypatch.undo()
    finish_stage(run, recipe, "sft")
    assert decide("sft", recipe, run, terms=Terms(processes=2)).action == "skip"
    assert folder.newest_checkpoint() == 7


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("sft.lerning_rate", r"no stage has an input 'sft.lerning_rate'.*sft.learning_rate"),
        ("sft.weight_decay", "sft.weight_decay did not change since sft was begun"),
        ("launch.cpu_processes", "no input; what it changes is: --allow-change world_size"),
        ("launch.strategy", "no input; what it changes is: --allow-change strategy"),
    ],
)
def test_only_what_changed_can_be_allowed(recipe: Recipe, run: Run, field: str, says: str) -> None:
    killed_at_step_7(recipe, run)
    other = _with_rate(recipe, 1e-5)
    terms = Terms(allow=("sft.learning_rate", field))
    with pytest.raises(UsageError, match=says):
        check_allowed(other, run, ["sft"], lambda stage: terms)


def test_a_permission_without_anything_to_go_on_from_is_said(recipe: Recipe, run: Run) -> None:
    terms = Terms(allow=("sft.learning_rate",))
    remark = check_allowed(recipe, run, ["sft"], lambda stage: terms)
    assert "has nothing to act on" in (remark or "")
    assert check_allowed(recipe, run, ["sft"], lambda stage: Terms()) is None


def test_data_that_will_be_prepared_again_is_not_judged_before_it_is(
    recipe: Recipe, run: Run
) -> None:
    """The settings come back that training began with: the data comes back with them."""
    finish_stage(run, recipe, "data")
    killed_at_step_7(recipe, run)
    sft = recipe.data.sft.model_copy(update={"test_size": 0.5})
    other = recipe.model_copy(update={"data": recipe.data.model_copy(update={"sft": sft})})
    finish_stage(run, other, "data", content="other")
    assert check_allowed(recipe, run, ["data", "sft"], lambda stage: Terms()) is None
    assert decide("sft", recipe, run).action == "refuse"
    with pytest.raises(InputsChanged, match="data"):
        check_allowed(other, run, ["data", "sft"], lambda stage: Terms())
    finish_stage(run, recipe, "data")
    assert decide("sft", recipe, run).action == "resume"


def test_a_plan_shows_what_is_refused(recipe: Recipe, run: Run) -> None:
    killed_at_step_7(recipe, run)
    steps = plan_steps(_with_rate(recipe, 1e-5), run, ["sft", "dpo"])
    assert [step.decision.action for step in steps] == ["refuse", "run"]


def test_checkpoints_behind_a_link_are_removed_and_the_link_stays(
    recipe: Recipe, run: Run, tmp_path: Path
) -> None:
    folder = killed_at_step_7(recipe, run)
    elsewhere = tmp_path / "scratch"
    folder.checkpoints.rename(elsewhere)
    folder.checkpoints.symlink_to(elsewhere)
    (elsewhere / "mine.txt").write_text("kept")
    (elsewhere / "checkpoint-9").symlink_to(tmp_path / "base")
    start_afresh(folder, recipe, force=True)
    assert folder.checkpoints.is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["mine.txt"]
    assert (tmp_path / "base" / "config.json").exists()


def killed_at_step_7(recipe: Recipe, run: Run, *, whole: bool = False) -> StageDir:
    """The sft stage, unfinished, with a checkpoint; a `whole` one has a manifest."""
    begin_stage(run, recipe, "sft")
    folder = run.stage("sft")
    partial = checkpoints.begin(folder.checkpoints, 7)
    if whole:
        inputs = (folder.read_manifest() or pytest.fail("no manifest")).inputs
        work = checkpoints.Work(inputs, 1, "single", sharded=False)
        files = checkpoint_record.entries(partial)
        facts = checkpoints.Facts(work, step=7, total=9, epoch=0, taken=7)
        checkpoint_record.write(partial, checkpoints.record(facts, files))
    else:
        (partial / "manifest.json").write_text("{}")
    partial.rename(checkpoints.folder_of(folder.checkpoints, 7))
    folder.reporter().metrics(step=7, total=9, values={"loss": 1.0})
    return folder


def test_an_old_model_stays_until_the_new_one_replaces_it(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    start_afresh(run.stage("sft"), recipe, force=True)
    assert (run.stage("sft").model / "config.json").exists()
    assert not run.stage("sft").is_finished()


def test_nothing_of_an_older_attempt_is_taken_for_the_new_ones(recipe: Recipe, run: Run) -> None:
    finish_stage(run, recipe, "sft")
    folder = run.stage("sft")
    folder.reporter().metrics(step=7, total=9, values={"loss": 1.0})
    for name in ("diverged-rank0.json", "diverged-rank1.json", "spike-step7.json"):
        (folder.path / name).write_text("{}")
    start_afresh(folder, recipe, force=True)
    assert [path.name for path in folder.path.iterdir()] == ["model"]


@pytest.mark.parametrize("removals", range(5))
def test_no_kill_leaves_a_finished_stage_without_its_records(
    recipe: Recipe, run: Run, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    finish_stage(run, recipe, "sft")
    folder = run.stage("sft")
    folder.reporter().metrics(step=7, total=9, values={"loss": 1.0})
    left, real = iter(range(removals)), Path.unlink

    def killed_after(path: Path, missing_ok: bool = False) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(path, missing_ok=missing_ok)

    with monkeypatch.context() as here:
        here.setattr(Path, "unlink", killed_after)
        with pytest.raises(KeyboardInterrupt):
            start_afresh(folder, recipe, force=True)
    assert folder.metrics_path.exists() or not folder.is_finished()
    assert decide("sft", recipe, run).action == ("skip" if removals == 0 else "run")


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
    left = run.stage("sft").checkpoints / "checkpoint-7"  # by a kill right after the end
    left.mkdir(parents=True)
    step = Step("sft", Decision("skip", "finished, inputs unchanged"))
    execute(step, recipe, run, start=started.append)
    assert started == []
    assert not left.exists()


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


def test_what_auto_came_to_outlives_an_allowed_change(recipe: Recipe, run: Run) -> None:
    folder = killed_at_step_7(recipe, run)
    manifest = folder.read_manifest()
    assert manifest is not None
    path = folder.path / forecast.FILE
    path.write_text(json.dumps({"digest": manifest.digest, "optimizer": "adamw_bf16"}))
    other = _with_rate(recipe, 1e-5)
    step = Step("sft", decide("sft", other, run, terms=Terms(allow=("sft.learning_rate",))))
    execute(step, other, run, start=lambda stage: finish_stage(run, other, stage))
    now = folder.read_manifest()
    assert now is not None
    assert json.loads(path.read_text()) == {"digest": now.digest, "optimizer": "adamw_bf16"}
    assert now.digest != manifest.digest
