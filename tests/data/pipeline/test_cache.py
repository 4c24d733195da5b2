"""A change rebuilds what depends on it and nothing else; a kill loses what was in the making."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.data.prepare import prepare
from zephyrctl.data.tokens.piecewise import Piecewise
from zephyrctl.runs.store import Run, open_run

ROWS = 700  # three chunks


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))


def dialogues(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"data": [f"What has number {i}?", f"The thing with number {i} is a stone."]}
        for i in range(start, start + count)
    ]


def prepared(recipe: Recipe, tiny_base: Path) -> tuple[Run, dict[str, Any]]:
    run = open_run(recipe)
    prepare(
        recipe,
        run,
        tokenizer_path=str(tiny_base),
        revision=None,
        reporter=run.stage("data").reporter(),
    )
    timing = json.loads((run.stage("data").path / "timing.json").read_text())
    return run, timing["sft"]


def contents(run: Run) -> dict[str, bytes]:
    root = run.stage("data").path
    names = [f"sft/{split}.{kind}" for split in ("train", "test") for kind in ("jsonl", "parquet")]
    return {name: (root / name).read_bytes() for name in [*names, "account.json"]}


def reused(timing: dict[str, Any]) -> tuple[int, int, int]:
    return timing["chunks"], timing["reused_rows"], timing["reused_tokens"]


def test_a_change_rebuilds_only_what_depends_on_it(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    path = jsonl(dialogues(ROWS))

    def of(filters: list[Any], *, name: str = "test", **sections: Any) -> Recipe:
        data = {"sft": {"train": [{"path": str(path)}], "test_size": 0.1, "filters": filters}}
        recipe = recipe_of(data, model={"base": "tiny"}, **sections)
        return recipe.model_copy(update={"name": name})

    _, timing = prepared(of(["dedup"]), tiny_base)
    assert reused(timing) == (3, 0, 0)
    run, timing = prepared(of(["dedup"], name="other"), tiny_base)
    assert reused(timing) == (3, 3, 3)
    fresh = contents(run)
    # A filter that changes nothing: the rows are filtered anew, their tokens are there.
    _, timing = prepared(of(["drop_refusals", "dedup"]), tiny_base)
    assert reused(timing) == (3, 0, 3)
    # What needs all rows, the seed of the split and the limits of length, is never kept.
    bound = {"name": "length", "max_tokens": 500}
    _, timing = prepared(of(["dedup", bound], sft={"max_length": 64}, seed=3), tiny_base)
    assert reused(timing) == (3, 3, 3)
    # Rows added at the end make one chunk anew.
    jsonl(dialogues(ROWS + 9))
    _, timing = prepared(of(["dedup"]), tiny_base)
    assert reused(timing) == (3, 2, 2)
    jsonl(dialogues(ROWS))
    run, _ = prepared(of(["dedup"]), tiny_base)
    assert contents(run) == fresh


def test_a_damaged_cache_gives_the_same_data(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path, tmp_path: Path
) -> None:
    data = {"sft": {"train": [{"path": str(jsonl(dialogues(ROWS)))}], "test_size": 0.1}}
    recipe = recipe_of(data, model={"base": "tiny"})
    run, _ = prepared(recipe, tiny_base)
    before = contents(run)
    for number, path in enumerate(sorted((tmp_path / "cache" / "data").glob("*/*.shard"))):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * number // 6])
    run, timing = prepared(recipe, tiny_base)
    assert contents(run) == before
    assert reused(timing)[1] < 3


def test_no_cache_leaves_nothing_behind(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path, tmp_path: Path
) -> None:
    data = {"sft": {"train": [{"path": str(jsonl(dialogues(50)))}], "test_size": 0.1}}
    run, _ = prepared(recipe_of(data | {"cache_gb": 0}, model={"base": "tiny"}), tiny_base)
    assert not (tmp_path / "cache" / "data").exists()
    left = {path.name for path in run.stage("data").path.iterdir()}
    assert left == {"sft", "account.json", "timing.json", "metrics.jsonl", "events.jsonl"} & left
    assert {"sft", "account.json"} <= left
    kept, _ = prepared(recipe_of(data, model={"base": "tiny"}), tiny_base)
    assert (kept.stage("data").path / "account.json").is_file()


def test_repeated_rows_are_no_duplicates_and_are_counted(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    rows = [*dialogues(40), dialogues(1)[0]]
    source = {"path": str(jsonl(rows)), "weight": 2.5}
    data = {"sft": {"train": [source], "test_size": 0, "filters": ["dedup"]}}
    run, _ = prepared(recipe_of(data, model={"base": "tiny"}), tiny_base)
    account = json.loads(contents_account(run))["sft"]
    assert account["removed"] == {"duplicate": 1}
    assert account["sources"][0]["rows"] == 41
    assert account["rows_in"] == 41 + account["sources"][0]["repeated"]
    assert account["rows_out"]["train"] == account["rows_in"] - 1
    assert 2.4 < account["rows_out"]["train"] / 40 < 2.6


def contents_account(run: Run) -> str:
    return (run.stage("data").path / "account.json").read_text()


def test_one_wrong_id_makes_all_ids_anew(
    recipe_of: Callable[..., Recipe],
    jsonl: Callable[..., Path],
    tiny_base: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A fault put into the looked-up ids of one row that is checked, and of others that are not."""
    data = {"sft": {"train": [{"path": str(jsonl(dialogues(ROWS)))}], "test_size": 0.1}}
    recipe = recipe_of(data, model={"base": "tiny"})
    right = contents(prepared(recipe, tiny_base)[0])
    shutil.rmtree(tmp_path / "cache" / "data")
    encode = Piecewise.encode

    def with_a_fault(self: Piecewise, text: str, **settings: Any) -> Any:
        ids, located = encode(self, text, **settings)
        return (ids[:-4] + ids[:4], located) if "number 1" in text else (ids, located)

    monkeypatch.setattr(Piecewise, "encode", with_a_fault)
    run, timing = prepared(recipe, tiny_base)
    assert contents(run) == right
    notices = (run.stage("data").path / "metrics.jsonl").read_text()
    assert "ids looked up piece by piece were not the tokenizer's" in notices
    # What was noted holds for the next run, which makes nothing by pieces.
    run, timing = prepared(recipe, tiny_base)
    assert contents(run) == right
    assert reused(timing) == (3, 3, 3)


def test_what_leaves_the_cache_is_told(
    recipe_of: Callable[..., Recipe], jsonl: Callable[..., Path], tiny_base: Path
) -> None:
    data = {"sft": {"train": [{"path": str(jsonl(dialogues(50)))}], "test_size": 0.1}}
    run, _ = prepared(recipe_of(data | {"cache_gb": 1e-6}, model={"base": "tiny"}), tiny_base)
    told = (run.stage("data").path / "metrics.jsonl").read_text()
    assert "2 parts left the data cache to keep it within 1e-06 GB" in told
