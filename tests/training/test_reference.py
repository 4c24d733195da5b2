"""The reference's log-probs: however they are had, they are the same, and are computed once."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tests.training.conftest import build_run, run_stage
from tests.training.pair_trainer import LENGTHS, pairs

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import ConfigError, EnvironmentProblem, Interrupted
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run
from zephyrctl.training import reference, reference_cache
from zephyrctl.training.processes import World
from zephyrctl.training.reference import CHOSEN, REJECTED, Source

pytestmark = pytest.mark.train

ALONE = World(0, 1, "cpu", bf16=False)
LORA: dict[str, Any] = {"adapter": {"type": "lora", "r": 4, "dropout": 0.0}, "learning_rate": 0.02}
FROM_BASE: dict[str, Any] = {"init_from": "base", "max_steps": 4}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Model:
    """Gives numbers that follow from the tokens, and remembers what it was asked."""

    def __init__(self, *, fails_after: int = 1000, room: int = 1000) -> None:
        self.batches: list[list[int]] = []
        self.fails_after = fails_after
        self.room = room

    def __call__(self, rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
        if len(rows) > self.room:
            raise torch.OutOfMemoryError
        if len(self.batches) == self.fails_after:
            raise Interrupted("stopped")
        self.batches.append([max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows])
        return [self.of(row) for row in rows]

    @staticmethod
    def of(row: dict[str, Any]) -> tuple[float, float]:
        return -sum(row["chosen_ids"]) / 3, -sum(row["rejected_ids"]) / 3

    @property
    def asked(self) -> int:
        return sum(len(batch) for batch in self.batches)


def source(folder: Path, *, key: str = "a" * 64, **options: Any) -> Source:
    given = {"tokens": 1000, "world": ALONE, "reporter": Reporter(folder)} | options
    return Source(key=key, **given)


def notices(folder: Path) -> list[str]:
    return [r["text"] for r in read_jsonl(folder / "metrics.jsonl") if r["kind"] == "notice"]


def expected(rows: Dataset) -> dict[str, list[float]]:
    both = [Model.of(row) for row in rows.to_list()]
    return {CHOSEN: [pair[0] for pair in both], REJECTED: [pair[1] for pair in both]}


def test_log_probs_come_back_in_the_order_of_the_rows(own_cache: Path, tmp_path: Path) -> None:
    rows, model = pairs(), Model()
    found = source(tmp_path, tokens=30).log_probs(rows, split="train", score=model)
    assert found == expected(rows)
    # The longest first, each pass within 30 tokens, padding included, or of a single pair.
    assert model.batches == [[4], [7], [8], [6]]
    assert notices(tmp_path) == []


def test_another_run_takes_them_from_the_cache(own_cache: Path, tmp_path: Path) -> None:
    rows, first, second = pairs(), Model(), Model()
    source(tmp_path / "one").log_probs(rows, split="train", score=first)
    backwards = rows.select([3, 1, 2])
    found = source(tmp_path / "two").log_probs(backwards, split="test", score=second)
    assert (first.asked, second.asked) == (4, 0)
    assert found == expected(backwards)
    [said] = notices(tmp_path / "two")
    assert said == "reference log-probs of 3 pairs (test) are taken from the cache"


def test_only_what_the_cache_lacks_is_computed(own_cache: Path, tmp_path: Path) -> None:
    source(tmp_path / "one").log_probs(pairs().select([0, 2]), split="train", score=Model())
    model, rows = Model(), pairs()
    assert source(tmp_path / "two").log_probs(rows, split="train", score=model) == expected(rows)
    assert model.asked == 2
    assert "of 2 of 4 pairs" in notices(tmp_path / "two")[0]


def test_what_was_computed_before_a_kill_is_kept(own_cache: Path, tmp_path: Path) -> None:
    rows = pairs()
    one_each: dict[str, Any] = {"batch_size": 1, "round_tokens": 1}
    with pytest.raises(Interrupted):
        source(tmp_path, **one_each).log_probs(rows, split="train", score=Model(fails_after=3))
    model = Model()
    assert source(tmp_path).log_probs(rows, split="train", score=model) == expected(rows)
    assert model.asked == 1


def test_other_weights_have_other_log_probs(own_cache: Path, tmp_path: Path) -> None:
    source(tmp_path).log_probs(pairs(), split="train", score=Model())
    model = Model()
    source(tmp_path, key="b" * 64).log_probs(pairs(), split="train", score=model)
    assert model.asked == 4


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "foreign"])
def test_a_damaged_file_is_computed_again_and_told(
    own_cache: Path, tmp_path: Path, harm: str
) -> None:
    rows = pairs()
    source(tmp_path / "one").log_probs(rows, split="train", score=Model())
    [file] = (own_cache / "reference").rglob("*.shard")
    content = file.read_bytes()
    if harm == "foreign":
        source(tmp_path / "other", key="b" * 64).log_probs(rows, split="train", score=Model())
        [other] = set((own_cache / "reference").rglob("*.shard")) - {file}
        content = other.read_bytes()
    elif harm == "flip":
        content = content[:-200] + bytes([content[-200] ^ 1]) + content[-199:]
    else:
        content = content[: 0 if harm == "empty" else -10]
    file.write_bytes(content)
    model = Model()
    found = source(tmp_path / "two").log_probs(rows, split="train", score=model)
    assert (model.asked, found) == (4, expected(rows))
    assert notices(tmp_path / "two") == [
        "the reference log-probs in the cache are damaged and are computed again"
    ]


def test_the_cache_is_bounded(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(tmp_path).log_probs(pairs(), split="train", score=Model())
    [file] = (own_cache / "reference").rglob("*.shard")
    monkeypatch.setattr(reference_cache, "CACHE_BYTES", file.stat().st_size + 10)
    source(tmp_path, key="b" * 64).log_probs(pairs(), split="train", score=Model())
    left = [path.stem for path in (own_cache / "reference").rglob("*.shard")]
    assert left == ["b" * 64]


def test_numbers_that_are_not_finite_are_not_kept(own_cache: Path, tmp_path: Path) -> None:
    def broken(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
        return [(math.nan, -1.0) for _ in rows]

    found = source(tmp_path).log_probs(pairs(), split="train", score=broken)
    assert all(math.isnan(value) for value in found[CHOSEN])
    model = Model()
    source(tmp_path).log_probs(pairs(), split="train", score=model)
    assert model.asked == 4


def test_a_batch_that_is_too_large_is_halved(own_cache: Path, tmp_path: Path) -> None:
    model, rows = Model(room=1), pairs()
    assert source(tmp_path).log_probs(rows, split="train", score=model) == expected(rows)
    assert model.asked == 4
    with pytest.raises(EnvironmentProblem, match="too small for the reference log-probs"):
        source(tmp_path, key="c" * 64).log_probs(rows, split="train", score=Model(room=0))


def test_every_token_counts_in_a_pairs_name() -> None:
    rows = pairs().to_list()
    names = reference_cache.pair_names(Dataset.from_list(rows))
    assert len(set(names)) == len(LENGTHS)
    moved = dict(rows[0])  # the last token of the prompt goes to the completion
    moved["prompt_ids"], last = moved["prompt_ids"][:-1], moved["prompt_ids"][-1:]
    moved["chosen_ids"] = last + moved["chosen_ids"]
    swapped = rows[0] | {"chosen_ids": rows[0]["rejected_ids"]}
    others = reference_cache.pair_names(Dataset.from_list([moved, swapped, rows[0]]))
    assert others[2] == names[0]
    assert len({*others, *names}) == len(LENGTHS) + 2


def test_the_reference_of_an_adapter_needs_one() -> None:
    recipe = Recipe.model_validate({"dpo": {"reference": "adapter"}})
    with pytest.raises(ConfigError, match="without an adapter") as caught:
        reference.kind(recipe.dpo)
    assert "dpo.reference=precompute" in str(caught.value.hint)


# In training


def course(run: Run, split: str, name: str) -> list[float]:
    return [
        r["values"][name]
        for r in read_jsonl(run.stage("dpo").metrics_path)
        if r["kind"] == "metrics" and r["split"] == split
    ]


@pytest.fixture(scope="module")
def adapter_run(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Run:
    """A run whose SFT stage trained a LoRA adapter."""
    root = tmp_path_factory.mktemp("adapter") / "runs" / "below"
    recipe, run = build_run(root, tiny_base, sft=LORA | {"epochs": 2})
    run_stage("sft", recipe, run)
    return run


@pytest.mark.parametrize("start", ["weights", "adapter on adapter"])
def test_every_kind_of_reference_gives_the_same_training(
    make_run: Any, train_dpo: Any, adapter_run: Run, start: str
) -> None:
    settings = FROM_BASE | ({} if start == "weights" else LORA)
    kinds: dict[str, dict[str, Any]] = {"precompute": {}, "copy": {}}
    if start == "adapter on adapter":
        settings = settings | {"init_from": str(adapter_run.stage("sft").path)}
        kinds |= {"adapter": {"gradient_checkpointing": True}}
    losses, ends = [], []
    for kind, also in kinds.items():
        recipe, run = make_run(kind, dpo=settings | also | {"reference": kind})
        metrics = train_dpo(recipe, run).metrics
        losses.append([*course(run, "train", "loss"), *course(run, "eval", "loss")])
        ends.append([metrics["reward_margin"], metrics["chosen_drift"]])
    assert losses[0][0] == pytest.approx(math.log(2), abs=1e-6)
    assert ends[0][0] > 0.1
    for live, end in zip(losses[1:], ends[1:], strict=True):
        assert live == pytest.approx(losses[0], abs=1e-6)
        assert end == pytest.approx(ends[0], rel=1e-4)


def test_two_processes_ask_the_model_without_its_adapter(
    make_run: Any, drill: Any, train_dpo: Any, adapter_run: Run
) -> None:
    start = {"init_from": str(adapter_run.stage("sft").path), "reference": "adapter"}
    recipe, alone = make_run("alone", dpo=LORA | start | {"max_steps": 2})
    train_dpo(recipe, alone)
    _, both = make_run("both", dpo=LORA | start | {"max_steps": 2})
    assert drill(both, "dpo", ranks=2) == [0, 0]
    for split in ("train", "eval"):
        found, expected = (course(run, split, "loss") for run in (both, alone))
        assert found == pytest.approx(expected, abs=1e-5)
