"""How processes share the work is chosen before anything is loaded, and seen to be so."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.training.tiny_models import mistral, padded
from torch.nn.parallel import DistributedDataParallel

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import ConfigError, DataError, EnvironmentProblem
from zephyrctl.training import fsdp2, sharding, strategies, weights
from zephyrctl.training.micro_batches import MicroBatches
from zephyrctl.training.processes import World, by_first
from zephyrctl.training.strategies import Strategy, check_active
from zephyrctl.training.trl_arguments import Job, sft_arguments

HERE = World(0, 1, "cpu", bf16=False)
TWO = replace(HERE, size=2)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def recipe(strategy: str = "auto", **sections: Any) -> Recipe:
    return Recipe.model_validate({"launch": {"strategy": strategy}} | sections)


def sharded(**settings: Any) -> Any:
    model = mistral(**settings)
    fsdp2.shard(model, HERE)
    return model


def adamw(model: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW((w for w in model.parameters() if w.requires_grad), lr=0.01)


def train(model: Any, optimizer: Any, *, steps: int, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        loss = model(**padded(2, 9, seed=step)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize(
    ("wanted", "world", "name"),
    [
        ("auto", HERE, "single"),
        ("fsdp2", HERE, "single"),
        ("auto", TWO, "ddp"),
        ("ddp", TWO, "ddp"),
        ("fsdp2", TWO, "fsdp2"),
    ],
)
def test_the_strategy_of_the_recipe_is_taken(wanted: str, world: World, name: str) -> None:
    found = strategies.choose(recipe(wanted), world, stage="sft")
    assert (found.name, found.size) == (name, world.size)
    assert found.shards == (name == "fsdp2")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"sft": {"compile": True}}, "sft.compile"),
        ({"sft": {"optimizer": "adamw_bf16"}}, "sft.optimizer"),
        ({"model": {"load_in_4bit": True}}, "model.load_in_4bit"),
    ],
)
def test_what_it_cannot_carry_out_is_refused_before_loading(settings: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        strategies.choose(recipe("fsdp2", **settings), TWO, stage="sft")
    assert caught.value.where == where
    assert "launch.strategy=ddp" in (caught.value.hint or "")


def test_several_processes_are_not_a_single_one() -> None:
    with pytest.raises(ConfigError, match="2 processes were started"):
        strategies.choose(recipe("single"), TWO, stage="sft")


def test_zero3_names_what_it_needs() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        strategies.choose(recipe("zero3"), TWO, stage="sft")
    is_there = find_spec("deepspeed") is not None
    assert ("needs GPUs" if is_there else "package deepspeed") in caught.value.message
    assert is_there or "zephyrctl[deepspeed]" in (caught.value.hint or "")


@pytest.mark.parametrize("bf16", [False, True])
def test_what_deepspeed_is_told(bf16: bool, tmp_path: Path) -> None:
    world = World(0, 2, "cuda", bf16=bf16)
    passes = MicroBatches([[0]], per_step=1, largest=1, most_tokens=9)
    job = Job(passes, 1, 1, world, tmp_path, has_test=False, resumes=False)
    told = sft_arguments(recipe("zero3"), job)["deepspeed"]
    assert told["zero_optimization"]["stage"] == 3
    assert not [key for key in told["zero_optimization"] if "offload" in key]
    assert told["bf16"] == {"enabled": bf16}
    assert "deepspeed" not in sft_arguments(recipe("fsdp2"), job)


@dataclass
class Engine:
    """What is asked of deepspeed's engine."""

    stage: int
    dp_world_size: int

    def zero_optimization_stage(self) -> int:
        return self.stage


def test_an_engine_of_deepspeed_must_have_stage_3() -> None:
    check_active(Strategy("zero3", 2), Engine(3, 2), None)
    with pytest.raises(EnvironmentProblem, match="runs with stage 2"):
        check_active(Strategy("zero3", 2), Engine(2, 2), None)
    with pytest.raises(EnvironmentProblem, match="1 processes share the model"):
        check_active(Strategy("zero3", 2), Engine(3, 1), None)


@pytest.mark.usefixtures("group")
def test_a_strategy_that_is_active_is_found_so() -> None:
    plain = mistral()
    check_active(Strategy("single", 1), plain, adamw(plain))
    check_active(Strategy("ddp", 1), DistributedDataParallel(plain), adamw(plain))
    model = sharded()
    check_active(Strategy("fsdp2", 1), model, adamw(model))


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("strategy", "wrap", "flaw"),
    [
        (Strategy("single", 1), DistributedDataParallel, "the model is a Distributed"),
        (Strategy("single", 2), None, "there are 2 processes"),
        (Strategy("ddp", 2), None, "whose gradients nobody sums"),
        (Strategy("ddp", 2), DistributedDataParallel, "1 processes sum gradients, not 2"),
        (Strategy("fsdp2", 2), None, "model.embed_tokens.weight is whole on every process"),
        (Strategy("fsdp2", 2), DistributedDataParallel, "wrapped for ddp"),
        (Strategy("zero3", 2), DistributedDataParallel, "no engine of deepspeed"),
    ],
)
def test_a_strategy_that_is_not_active_is_an_error(
    strategy: Strategy, wrap: Any, flaw: str
) -> None:
    model = mistral()
    wrapped = wrap(model) if wrap is not None else model
    with pytest.raises(EnvironmentProblem, match=f"{strategy.name} is not active: .*{flaw}"):
        check_active(strategy, wrapped, adamw(model))


@pytest.mark.usefixtures("group")
def test_too_few_parts_and_a_foreign_optimizer_are_errors() -> None:
    model = sharded()
    with pytest.raises(EnvironmentProblem, match="not shared out among 2 processes"):
        check_active(Strategy("fsdp2", 2), model, adamw(model))
    with pytest.raises(EnvironmentProblem, match="updates other weights"):
        check_active(Strategy("fsdp2", 1), model, adamw(mistral()))


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("tied", [False, True])
def test_a_shared_model_trains_like_a_plain_one(tied: bool) -> None:
    plain, model = (make(tie_word_embeddings=tied) for make in (mistral, sharded))
    with torch.inference_mode():  # as sample answers do before the first step
        model(**padded(1, 5))
    assert train(model, adamw(model), steps=3) == train(plain, adamw(plain), steps=3)
    whole = dict(sharding.each_whole(model))
    for name, weight in plain.named_parameters():
        found = whole[name]
        assert found is not None, name
        assert torch.equal(found, weight), name
    assert all(sharding.own(w) is not w for w in model.parameters())  # given back after a pass


@pytest.mark.usefixtures("group")
def test_gradients_that_wait_are_the_same_in_the_end() -> None:
    plain, model = mistral(), sharded()
    for each, waiting in ((plain, False), (model, True)):
        if waiting:
            with sharding.gradients_wait(each):
                each(**padded(2, 9, seed=1)).loss.backward()
            assert all(weight.grad is None for weight in each.parameters())
        else:
            each(**padded(2, 9, seed=1)).loss.backward()
        each(**padded(2, 9, seed=2)).loss.backward()
    for (name, weight), wanted in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(sharding.whole(weight.grad), wanted.grad, msg=name)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("into", [sharded, mistral])
def test_what_was_saved_in_parts_goes_on_exactly(into: Any, tmp_path: Path) -> None:
    model = sharded()
    optimizer = adamw(model)
    train(model, optimizer, steps=2)
    sharding.save_shards(model, optimizer, tmp_path)
    straight = train(model, optimizer, steps=2, first=2)

    again = into(seed=5)
    fresh = adamw(again)
    sharding.load_shards(again, fresh, tmp_path)
    assert train(again, fresh, steps=2, first=2) == straight


@pytest.mark.usefixtures("group")
def test_parts_of_another_model_are_refused(tmp_path: Path) -> None:
    small = sharded(layers=1)
    sharding.save_shards(small, adamw(small), tmp_path)
    large = sharded(layers=2)
    with pytest.raises(DataError, match=r"model\.layers\.1"):
        sharding.load_shards(large, adamw(large), tmp_path)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("tied", [False, True])
def test_a_reference_is_copied_part_by_part(tied: bool) -> None:
    model = sharded(tie_word_embeddings=tied)
    twin = fsdp2.twin(model)
    assert sharding.is_sharded(twin)
    batch = padded(2, 9)
    before = model(**batch).loss.detach()
    train(model, adamw(model), steps=1)
    assert torch.equal(twin(**batch).loss, before)
    assert not torch.equal(model(**batch).loss, before)
    assert not any(weight.requires_grad for weight in twin.parameters())


@pytest.mark.usefixtures("group")
def test_weights_are_looked_at_in_parts() -> None:
    model = sharded()
    before = weights.sample(model)
    train(model, adamw(model), steps=1)
    assert weights.share_moved(before, weights.sample(model)) > 0.9
    weights.check_end(model, step=1, where=Path("here"))
    weights.spoil(model)
    with pytest.raises(weights.TrainingDiverged, match="not finite"):
        weights.check_end(model, step=1, where=Path("here"))


@pytest.mark.usefixtures("group")
def test_the_first_process_leads_and_its_failure_is_its_own() -> None:
    model = sharded()
    answer = sharding.led_by_first(model, lambda: model(**padded(1, 5)).logits.shape)
    assert answer == (1, 5, 64)
    assert by_first(lambda: 7) == 7
    with pytest.raises(DataError, match="broken"):
        by_first(_broken)


def _broken() -> None:
    raise DataError("broken")


@pytest.mark.parametrize("wanted", ["auto", "single", "ddp", "fsdp2", "zero3"])
def test_a_strategy_that_one_process_cannot_carry_out_is_told(wanted: str) -> None:
    asked = recipe(wanted)
    told = strategies.overridden(asked, strategies.choose(asked, HERE, stage="sft"))
    assert (told is None) == (wanted in ("auto", "single"))
    assert told is None or told.startswith(f"launch.strategy is {wanted}, and one process")
