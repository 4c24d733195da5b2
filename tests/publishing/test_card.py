"""The model card: metadata that the Hub reads, and figures of the run's own files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from zephyrctl.config.schema import Recipe
from zephyrctl.data import template_lock
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.publishing.card import Facts, model_card
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import Run

FACTS = Facts("bfloat16", 1234567, 2, 100, "held-out rows of the run", 0.0123)


def metadata(card: str) -> dict[str, object]:
    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def of_run(run: Run) -> ModelRef:
    return ModelRef("sft", "stage", str(run.stage("sft").model), None, run, "sft")


def card_of(run: Run) -> str:
    lock = template_lock.read(run.stage("sft").model)
    return model_card(of_run(run), FACTS, lock=lock, template="tokenizer")


def test_the_metadata_names_hub_data_sets_and_no_local_file(run: Run) -> None:
    card = card_of(run)
    assert metadata(card) == {
        "license": "unknown",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["zephyrctl", "sft", "trl"],
        "datasets": ["org/dialogues"],
    }
    assert "/home/me" not in card
    assert str(run.root) not in card


def test_a_base_of_the_hub_is_named(run: Run) -> None:
    for base, expected in (
        ("mistralai/Mistral-7B-v0.1", ("mistralai/Mistral-7B-v0.1", "apache-2.0")),
        ("someone/model-1b", ("someone/model-1b", "unknown")),
        ("smollm2-135m-instruct", ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")),
        ("/home/me/model", (None, "unknown")),
    ):
        recipe = run.recipe()
        changed = recipe.model_copy(
            update={"model": recipe.model.model_copy(update={"base": base})}
        )
        run.config_path.write_text(changed.model_dump_json(), encoding="utf-8")
        card = card_of(run)
        found = metadata(card)
        assert (found.get("base_model"), found["license"]) == expected
        assert "/home/me" not in card


def test_recipe_and_data_are_those_of_the_run(run: Run) -> None:
    write_json(
        run.stage("data").path / "account.json",
        {
            "sft": {
                "rows_in": 100,
                "rows_out": {"test": 9, "train": 71},
                "removed": {"a": 12, "b": 8},
            }
        },
    )
    card = card_of(run)
    assert "| learning rate | 0.0002, cosine |" in card
    assert "| weights | lora r=4 alpha=16 |" in card
    assert "| sft | 100 | 20 | 9 test, 71 train |" in card
    assert "1,234,567 parameters in bfloat16; 2 adapters merged in float32" in card


def test_scores_stand_with_interval_and_judge_and_cannot_break_the_page(run: Run) -> None:
    evil = "judge|<img src=x>\n# heading `x`"
    score = {"benchmark": "rules", "model": "sft", "judge": None, "metric": "pass_rate",
             "value": 0.5, "low": 0.25, "high": 0.75, "n": 32}  # fmt: skip
    judged = {**score, "benchmark": "mt-bench", "judge": evil, "metric": "score"}
    write_json(run.root / "eval/rules/sft/code/scores.json", {"scores": [score]})
    write_json(run.root / "eval/mt-bench/sft/j/scores.json", {"scores": [judged]})
    write_json(
        run.root / "eval/rules/comparisons.json",
        {"comparisons": [{"benchmark": "rules", "a": "base", "b": "sft", "metric": "pass_rate",
                          "judge": None, "difference": 0.2, "low": 0.1, "high": 0.3}]},
    )  # fmt: skip
    card = card_of(run)
    row = r"| rules | sft | pass\_rate | 0.500 | 0.250 to 0.750 | 32 | none (checked by code) |"
    assert row in card
    assert r"rules pass\_rate: sft − base = 0.200 (0.100 to 0.300)" in card
    assert "<img" not in card.replace("\\<img", "")
    assert "\n# heading" not in card


def test_categories_facts_and_the_judges_card_follow_the_scores(run: Run) -> None:
    score = {"benchmark": "mt-bench", "model": "sft", "judge": "gpt-4", "metric": "average",
             "value": 6.5, "low": 6.1, "high": 6.9, "n": 160}  # fmt: skip
    write_json(
        run.root / "eval/mt-bench/sft/gpt-4/scores.json",
        {
            "scores": [score],
            "categories": {
                "math": {"value": 4.0, "low": 3.0, "high": 5.0, "n": 20},
                "<b>stem</b>": {"value": 9.0, "low": None, "high": None, "n": 1},
            },
            "references": "corrected",
            "coverage": 0.975,
            "judge_card": {"lines": ["agrees 85 %,", "# no heading"]},
            "about": {"template_sha256": "ab" * 32},
        },
    )
    card = card_of(run)
    assert "| math | 4.000 (3.000 to 5.000) |" in card
    assert "| \\<b\\>stem\\</b\\> | 9.000 |" in card
    assert "- mt-bench, sft: coverage 0.975, references corrected, template abababab" in card
    assert "    agrees 85 %,\n    # no heading\n" in card


def test_without_a_run_the_card_says_what_is_not_known(tmp_path: Path) -> None:
    ref = ModelRef("thing", "folder", str(tmp_path))
    card = model_card(ref, FACTS, lock=None, template="zephyr")
    assert "was not at hand" in card
    assert metadata(card)["tags"] == ["zephyrctl"]
    assert "Evaluation" not in card


def changed(run: Run, **sections: object) -> None:
    """Give the run's recipe other values."""
    recipe = json.loads(run.config_path.read_text())
    for name, values in sections.items():
        recipe[name] |= values
    run.config_path.write_text(Recipe.model_validate(recipe).model_dump_json(), encoding="utf-8")


def test_the_metadata_tells_relation_revisions_and_languages_where_they_are_known(run: Run) -> None:
    source = {"path": "org/dialogues", "revision": "a" * 40}
    data = {"sft": {"train": [source], "filters": [{"name": "language", "keep": ["en", "de"]}]}}
    changed(run, model={"base": "org/base"}, data=data)
    found = metadata(card_of(run))
    assert found["base_model_relation"] == "finetune"
    assert found["dataset_revisions"] == {"org/dialogues": "a" * 40}
    assert found["language"] == ["de", "en"]
    assert "model-index" not in found
    lock = template_lock.read(run.stage("sft").model)
    card = model_card(of_run(run), FACTS, lock=lock, template="tokenizer", form="adapter")
    assert metadata(card)["base_model_relation"] == "adapter"
    assert metadata(card)["library_name"] == "peft"


def scored(run: Run, model: str, value: float, *, weights: str | None, judge: str) -> None:
    score = {"benchmark": "mt-bench", "model": model, "judge": judge, "metric": "average",
             "value": value, "low": value - 1, "high": value + 1, "n": 160}  # fmt: skip
    write_json(
        run.root / f"eval/mt-bench/{model}/j/scores.json",
        {"scores": [score], "references": "corrected", "repeats": 1,
         "about": {"weights": weights, "template_sha256": "ab" * 32}},
    )  # fmt: skip


def test_a_rounded_model_without_scores_says_nothing_of_them(run: Run) -> None:
    card = model_card(of_run(run), FACTS, lock=None, template="tokenizer", form="gguf")
    assert "\nNot evaluated.\n\n## " in card
    assert "rounded" not in card


def test_the_index_holds_scores_of_these_weights_and_names_the_judge(run: Run) -> None:
    record = run.stage("sft").read_manifest()
    assert record is not None
    spec = "openai+http://10.0.0.7:8000/v1:judge-70b"
    scored(run, "base", 2.5, weights="elsewhere", judge=spec)
    scored(run, "sft", 6.5, weights=record.outputs["model"], judge=spec)
    card = card_of(run)
    index: Any = metadata(card)["model-index"]
    rounded = model_card(of_run(run), FACTS, lock=None, template="tokenizer", form="gguf")
    assert "model-index" not in metadata(rounded)
    assert "before its weights were rounded" in rounded
    (result,) = index[0]["results"]
    assert result["dataset"] == {"name": "MT-Bench", "type": "mt-bench"}
    (metric,) = result["metrics"]
    assert metric["value"] == 6.5
    assert metric["args"] == {
        "judge": "judge-70b", "interval": "95 %", "low": 5.5, "high": 7.5, "n": 160,
        "references": "corrected", "repeats": 1,
    }  # fmt: skip
    assert "| mt-bench | base | average | 2.500 |" in card
    assert "10.0.0.7" not in card
    scored(run, "sft", 6.5, weights="before", judge=spec)
    card = card_of(run)
    assert "model-index" not in metadata(card)
    assert "left out of mt-bench: sft: scored before it was trained again" in card


def test_data_are_accounted_for_without_folders_of_this_machine(run: Run) -> None:
    local = {"path": "/home/me/x.jsonl", "split": "train", "format": "messages",
             "digest": "cd" * 32, "rows": 7, "repeated": 0}  # fmt: skip
    write_json(
        run.stage("data").path / "account.json",
        {
            "decontamination": [
                {"name": "rules", "status": "checked", "prompts": 120},
                {"name": "/home/me/own.jsonl", "status": "NOT CHECKED", "prompts": 0},
            ],
            "sft": {
                "sources": [local | {"path": "org/dialogues"}, local],
                "rows_in": 14,
                "rows_out": {"train": 12},
                "removed": {"contains a judged prompt (/home/me/own.jsonl)": 2},
            },
        },
    )
    card = card_of(run)
    assert "| sft | org/dialogues | not pinned | train | 7 |" in card
    assert "| sft | a local file | SHA-256 `cdcdcdcdcdcdcdcd` | train | 7 |" in card
    assert "- checked for the 120 prompts of rules" in card
    assert "- own.jsonl: NOT CHECKED" in card
    assert "/home/me" not in card


def test_the_python_of_the_card_answers(
    run: Run, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = template_lock.read(run.stage("sft").model)
    folder = tiny_base.parent / "with-template"
    if not folder.exists():
        shutil.copytree(tiny_base, folder)
        load_tokenizer(str(tiny_base), chat_template="zephyr").save_pretrained(folder)
    card = model_card(of_run(run), FACTS, lock=lock, template="tokenizer", name=str(folder))
    code = card.split("```python\n")[1].split("```")[0]
    exec(code.replace("max_new_tokens=128", "max_new_tokens=3"), {})
    assert capsys.readouterr().out.endswith("\n")
