"""What decides a result is counted, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from tests.stages.conftest import finish_stage

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.store import STAGES, Run
from zephyrctl.stages.inputs import changed, flatten, inputs


def _edited(recipe: Recipe, path: str, value: Any) -> Recipe:
    values = recipe.model_dump(mode="json")
    *parents, leaf = path.split(".")
    section = values
    for name in parents:
        section = section[name]
    section[leaf] = value
    return Recipe.model_validate(values)


def _affected(recipe: Recipe, other: Recipe, run: Run) -> list[str]:
    return [s for s in STAGES if inputs(s, recipe, run) != inputs(s, other, run)]


@pytest.mark.parametrize(
    ("path", "value", "stages"),
    [
        ("sft.learning_rate", 1e-3, ["sft"]),
        ("dpo.beta", 0.5, ["dpo"]),
        ("dpo.max_prompt_length", 99, ["data", "dpo"]),
        ("sft.adapter.type", "lora", ["sft"]),
        ("sft.trainer_args", {"adam_beta2": 0.9}, ["sft"]),
        ("data.sft.filters", ["drop_empty"], ["data"]),
        ("model.dtype", "float16", ["sft", "dpo", "eval"]),
        ("model.chat_template", "tokenizer", ["data", "sft", "dpo", "eval"]),
        ("eval.rules.max_new_tokens", 7, ["eval"]),
        ("eval.models", ["base", "dpo"], ["eval"]),
        ("eval.fail_under", 0.5, ["eval"]),
        ("eval.repeats", 2, ["eval"]),
        ("eval.judge.scoring", "probabilities", ["eval"]),
        ("seed", 43, ["data", "sft", "dpo", "eval"]),
    ],
)
def test_a_setting_concerns_the_stages_it_decides(
    recipe: Recipe, run: Run, path: str, value: Any, stages: list[str]
) -> None:
    assert _affected(recipe, _edited(recipe, path, value), run) == stages


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("launch.gpus", "none"),
        ("launch.cpu_processes", 2),
        ("launch.grace_s", 5),
        ("sft.micro_batch_size", 2),
        ("sft.log_every", 1),
        ("sft.save_every", 1),
        ("dpo.gradient_checkpointing", True),
        ("data.processes", 4),
        ("eval.batch_size", 2),
        ("eval.judge.concurrency", 1),
        ("eval.judge.deadline_s", 60),
        ("eval.max_cost", 5),
        ("chat.temperature", 0.1),
        ("track.to", ["wandb"]),
    ],
)
def test_how_the_work_is_done_does_not_count(
    recipe: Recipe, run: Run, path: str, value: Any
) -> None:
    assert _affected(recipe, _edited(recipe, path, value), run) == []


def test_the_margin_of_simpo_counts_only_for_simpo(recipe: Recipe, run: Run) -> None:
    assert _affected(recipe, _edited(recipe, "dpo.simpo_gamma_ratio", 0.8), run) == []
    recipe = _edited(recipe, "dpo.loss", "simpo")
    assert _affected(recipe, _edited(recipe, "dpo.simpo_gamma_ratio", 0.8), run) == ["dpo"]


def test_a_source_counts_by_its_content_and_not_by_its_place(
    recipe: Recipe, run: Run, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere.jsonl"
    original = tmp_path / "dialogues.jsonl"
    moved.write_bytes(original.read_bytes())
    other = _edited(recipe, "data.sft.train", [{"path": str(moved)}])
    assert _affected(recipe, other, run) == []
    before = inputs("data", recipe, run)
    original.write_text('{"row": "edited"}\n')
    assert [text.split()[0] for text in changed(before, inputs("data", recipe, run))] == [
        "data.sft.train[0].content"
    ]


def test_the_questions_count_for_eval_and_for_decontamination(
    recipe: Recipe, run: Run, tmp_path: Path
) -> None:
    before = {stage: inputs(stage, recipe, run) for stage in STAGES}
    (tmp_path / "questions.jsonl").write_text("{}\n")
    after = {stage: inputs(stage, recipe, run) for stage in STAGES}
    assert [stage for stage in STAGES if before[stage] != after[stage]] == ["data", "eval"]


@pytest.mark.parametrize(
    ("benchmark", "path", "value"),
    [
        ("mt-bench", "eval.mt_bench.mode", "both"),
        ("alpaca-eval", "eval.alpaca_eval.version", 1),
        ("own", "eval.own.temperature", 0.2),
    ],
)
def test_a_benchmarks_settings_count_where_it_is_asked_for(
    recipe: Recipe, run: Run, benchmark: str, path: str, value: Any
) -> None:
    assert _affected(recipe, _edited(recipe, path, value), run) == []
    recipe = _edited(recipe, "eval.benchmarks", [benchmark])
    assert _affected(recipe, _edited(recipe, path, value), run) == ["eval"]


def test_own_questions_and_rubric_count_by_their_content(
    recipe: Recipe, run: Run, tmp_path: Path
) -> None:
    rubric = tmp_path / "rubric.jinja"
    rubric.write_text("Rate {{ answer }}.")
    recipe = _edited(recipe, "eval.benchmarks", ["own"])
    recipe = _edited(recipe, "eval.own.rubric", str(rubric))
    before = inputs("eval", recipe, run)
    rubric.write_text("Grade {{ answer }}.")
    (change,) = changed(before, inputs("eval", recipe, run))
    assert change.startswith("eval.own.rubric")


@pytest.mark.parametrize("kind", ["replay", "local"])
def test_a_judge_on_this_machine_counts_by_its_content(
    recipe: Recipe, run: Run, tmp_path: Path, kind: str
) -> None:
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "config.json").write_text("{}")
    (judge / "judgments.jsonl").write_text("{}\n")
    target = judge / "judgments.jsonl" if kind == "replay" else judge
    recipe = _edited(recipe, "eval.judge.spec", f"{kind}:{target}")
    before = inputs("eval", recipe, run)
    (judge / "judgments.jsonl").write_text('{"score": 1}\n')
    (change,) = changed(before, inputs("eval", recipe, run))
    assert change.startswith("eval.judge.spec content")


def test_the_base_models_weights_count(recipe: Recipe, run: Run, tmp_path: Path) -> None:
    before = {stage: inputs(stage, recipe, run) for stage in STAGES}
    (tmp_path / "base" / "model.safetensors").write_text("other weights")
    after = {stage: inputs(stage, recipe, run) for stage in STAGES}
    assert [s for s in STAGES if before[s] != after[s]] == ["data", "sft", "eval"]


def test_each_training_counts_its_own_part_of_the_data(recipe: Recipe, run: Run) -> None:
    assert inputs("sft", recipe, run)["data"] is None
    finish_stage(run, recipe, "data")
    before = {stage: inputs(stage, recipe, run)["data"] for stage in ("sft", "dpo")}
    text = run.stage("data").manifest_path.read_text()
    digest = run.stage("data").read_manifest().outputs["dpo/train.parquet"]  # type: ignore[union-attr]
    position = text.index("dpo/train.parquet")
    run.stage("data").manifest_path.write_text(
        text[:position] + text[position:].replace(digest, "0" * 64, 1)
    )
    assert inputs("sft", recipe, run)["data"] == before["sft"]
    assert inputs("dpo", recipe, run)["data"] != before["dpo"]


def test_a_trained_model_counts_by_its_digest(recipe: Recipe, run: Run) -> None:
    assert inputs("dpo", recipe, run)["init_model"] is None
    finish_stage(run, recipe, "sft", content="one")
    first = inputs("dpo", recipe, run)["init_model"]
    finish_stage(run, recipe, "sft", content="two")
    assert first
    assert inputs("dpo", recipe, run)["init_model"] not in (None, first)


def test_differences_are_put_in_words() -> None:
    before = flatten("sft", {"learning_rate": 2e-5, "list": [1, 2], "gone": None})
    now = flatten("sft", {"learning_rate": 1e-5, "list": [1], "new": "a" * 64})
    assert changed(before, now) == [
        "sft.learning_rate 2e-05 → 1e-05",
        "sft.list[1] 2 → (absent)",
        "sft.gone null → (absent)",
        "sft.new (absent) → aaaaaaaa",
    ]
