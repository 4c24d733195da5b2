"""The model card: metadata that the Hub reads, and figures of the run's own files."""

from pathlib import Path

import yaml

from zephyrctl.data import template_lock
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
