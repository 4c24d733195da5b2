"""A sample of rows is looked at before any time on a GPU is spent."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.errors import DataError
from zephyrctl.training import token_checks


def checked(recipe: Any, run: Any, base: Path, stage: Any, *, template: str = "zephyr") -> Any:
    tokenizer = load_tokenizer(str(base), chat_template=template)
    return {c.name: c for c in token_checks.check(recipe, run, tokenizer, stage=stage)}


def rewrite(run: Any, stage: str, change: Any) -> None:
    """Change every prepared row of tokens."""
    path = run.stage("data").path / stage / "train.parquet"
    rows = Dataset.from_parquet(str(path), keep_in_memory=True).to_list()
    for number, row in enumerate(rows):
        change(number, row)
    Dataset.from_list(rows).to_parquet(path)


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_rows_as_data_preparation_makes_them_pass(
    make_run: Any, tiny_base: Path, stage: str
) -> None:
    recipe, run = make_run()
    found = checked(recipe, run, tiny_base, stage)
    assert {check.state for check in found.values()} == {"pass"}
    assert {"one BOS", "prompt ids are a prefix", "EOS is trained", "no double EOS"} <= set(found)


def test_rows_of_another_template_are_refused(
    make_run: Any, tiny_base: Path, tmp_path: Path
) -> None:
    recipe, run = make_run()
    other = tmp_path / "other.jinja"
    text = "{% for m in messages %}{% generation %}[{{ m.content }}]{{ eos_token }}"
    other.write_text(text + "{% endgeneration %}{% endfor %}", encoding="utf-8")
    for stage in ("sft", "dpo"):
        with pytest.raises(
            DataError, match="not what the tokenizer and its template give"
        ) as found:
            checked(recipe, run, tiny_base, stage, template=str(other))
        assert "data prepare" in str(found.value.hint)


def test_rows_whose_ends_are_not_trained_are_refused(make_run: Any, tiny_base: Path) -> None:
    recipe, run = make_run()

    def without_end(number: int, row: dict[str, Any]) -> None:
        last = max(i for i, inside in enumerate(row["assistant_mask"]) if inside)
        row["assistant_mask"][last] = 0

    rewrite(run, "sft", without_end)
    with pytest.raises(DataError, match=r"could learn to stop \(8 of 8 sampled rows"):
        checked(recipe, run, tiny_base, "sft")


def test_one_odd_row_is_a_warning_that_says_how_to_look_at_it(
    make_run: Any, tiny_base: Path
) -> None:
    recipe, run = make_run()

    def second_bos(number: int, row: dict[str, Any]) -> None:
        if number == 3:
            row["prompt_ids"] = row["prompt_ids"][:1] + row["prompt_ids"]

    rewrite(run, "dpo", second_bos)
    found = checked(recipe, run, tiny_base, "dpo")
    assert found["one BOS"].state == "warn"
    assert "--stage dpo --index 3" in found["one BOS"].text
    assert found["no double EOS"].state == "pass"


def test_a_second_end_after_an_answer_is_found(make_run: Any, tiny_base: Path) -> None:
    recipe, run = make_run()

    def twice(number: int, row: dict[str, Any]) -> None:
        if number == 0:
            row["chosen_ids"] = [*row["chosen_ids"], row["chosen_ids"][-1]]

    rewrite(run, "dpo", twice)
    assert checked(recipe, run, tiny_base, "dpo")["no double EOS"].state == "warn"


def test_rows_without_their_text_are_not_checked(make_run: Any, tiny_base: Path) -> None:
    recipe, run = make_run()
    path = run.stage("data").path / "sft" / "train.jsonl"
    path.write_text(json.dumps({"id": "Amir"}) + "\n", encoding="utf-8")
    assert checked(recipe, run, tiny_base, "sft")["tokens"].state == "not checked"
    path.unlink()
    assert checked(recipe, run, tiny_base, "sft")["tokens"].state == "not checked"
