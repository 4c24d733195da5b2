"""Every piece of dirt planted in the first-run data is found, and no clean row goes with it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import zephyrctl
from zephyrctl.config.schema import Recipe
from zephyrctl.data.prepare import prepare
from zephyrctl.runs.store import open_run

DATA = Path(zephyrctl.__file__).parent / "recipes" / "first-run"
FILTERS = ["drop_empty", "drop_refusals", "drop_lowercase", "dedup"]
KINDS = {
    "refusal or AI disclaimer": "refusal",
    "answer in lower case": "lower_case",
    "contains a judged prompt (rules)": "overlap",
    "duplicate": "copy",
    "tie: no completion has a lower score": "tie",
}


def kind_of(reason: str) -> str:
    broken = reason.startswith(("broken: ", "empty "))
    return KINDS.get(reason, "broken" if broken else reason)


@pytest.mark.parametrize(("stage", "name"), [("sft", "dialogues"), ("dpo", "ratings")])
def test_planted_rows_are_the_removed_rows(
    stage: str, name: str, tiny_base: Path, tmp_path: Path
) -> None:
    section: dict[str, Any] = {"train": [{"path": str(DATA / f"{name}.jsonl")}], "filters": FILTERS}
    recipe = Recipe.model_validate(
        {
            "output_root": str(tmp_path),
            "data": {stage: section, "decontaminate": {"against": ["rules"]}},
            "eval": {"rules": {"questions": str(DATA / "questions.jsonl")}},
        }
    )
    run = open_run(recipe)
    account = prepare(
        recipe,
        run,
        tokenizer_path=str(tiny_base),
        revision=None,
        reporter=run.stage("data").reporter(),
    )
    planted = json.loads((DATA / "planted.json").read_text(encoding="utf-8"))[name]
    expected = Counter({kind: len(numbers) for kind, numbers in planted.items()})
    expected["copy"] = expected.pop("exact_duplicate") + expected.pop("near_duplicate")
    found: Counter[str] = Counter()
    for reason, count in account.stages[stage].removed.items():
        found[kind_of(reason)] += count
    assert found == expected
