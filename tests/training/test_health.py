"""What the numbers of a training run say of its health."""

import math

import pytest

from zephyrctl.config.schema.training import Canary, Dpo, Sft
from zephyrctl.training import health

START = {"logps/chosen": -280.0, "rewards/accuracies": 0.0, "rewards/margins": 0.0}
FLAT = [2.0, 2.01, 1.99, 2.0] * 2


def test_a_loss_that_does_not_fall_is_said_after_half_the_steps() -> None:
    assert health.loss_course(FLAT, share_done=0.4) is None
    flat = health.loss_course(FLAT, share_done=0.6)
    assert flat is not None
    assert flat.state == "warn"
    assert "too low?" in flat.text
    falling = health.loss_course([2.0, 1.9, 1.5, 1.4, 1.2, 1.1, 1.0, 1.0], share_done=1.0)
    assert falling is not None
    assert falling.state == "pass"


def test_a_loss_that_rises_asks_for_a_lower_rate() -> None:
    rising = health.loss_course([1.0] * 4 + [3.0] * 4, share_done=1.0)
    assert rising is not None
    assert "rises" in rising.text
    assert "too high?" in rising.text


def test_a_few_records_are_no_ground_for_an_alarm() -> None:
    assert health.loss_course([2.0, 2.1, 2.2], share_done=1.0) is None


@pytest.mark.parametrize(("loss", "state"), [(0.0, "fail"), (0.1, "pass")])
def test_a_loss_of_zero(loss: float, state: str) -> None:
    assert health.loss_is_zero(loss).state == state


def test_a_loss_near_zero_is_an_alarm_early_and_a_success_late() -> None:
    early = health.nothing_left(0.001, share_done=0.2)
    assert early is not None
    assert early.state == "warn"
    assert health.nothing_left(0.001, share_done=0.4) is None
    usual = health.nothing_left(0.5, share_done=0.2)
    assert usual is not None
    assert usual.state == "pass"


def test_a_spike_of_the_gradient_norm() -> None:
    assert health.gradient_norm([1.0] * 10 + [50.0]) is None
    spike = health.gradient_norm([1.0] * 20 + [50.0])
    assert spike is not None
    assert spike.state == "warn"
    usual = health.gradient_norm([1.0] * 20 + [5.0])
    assert usual is not None
    assert usual.state == "pass"


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "cosine_with_min_lr"])
def test_the_learning_rate_against_its_schedule(schedule: str) -> None:
    from torch import nn, optim
    from transformers import get_scheduler

    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=2e-5)
    extra = {"min_lr_rate": 0.1} if schedule == "cosine_with_min_lr" else None
    scheduler = get_scheduler(schedule, optimizer, 10, 100, scheduler_specific_kwargs=extra)
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    sft = Sft.model_validate({"lr_scheduler": schedule, "learning_rate": 2e-5})

    def judged(seen: list[float]) -> str:
        return health.learning_rate(
            sft, highest=max(seen), last=seen[-1], warmup=10, steps=100
        ).state

    assert judged(rates) == "pass"
    if schedule != "constant":
        assert judged(rates[:9]) == "fail"  # never warmed up
        assert judged(rates[:50]) == "fail"  # made for twice as many steps


def test_a_schedule_with_settings_of_its_own_is_not_checked() -> None:
    sft = Sft.model_validate({"trainer_args": {"lr_scheduler_kwargs": {"num_cycles": 2}}})
    found = health.learning_rate(sft, highest=0.0, last=0.0, warmup=0, steps=9)
    assert found.state == "not checked"


@pytest.mark.parametrize(
    ("share", "rounded", "state"),
    [(0.0, False, "fail"), (0.0, True, "fail"), (0.1, False, "warn"), (0.1, True, "pass"),
     (0.99, False, "pass")],
)  # fmt: skip
def test_weights_that_do_not_change(share: float, rounded: bool, state: str) -> None:
    assert health.weights_move(share, rounded=rounded, updates=10).state == state


@pytest.mark.parametrize(
    ("sizes", "state"),
    [({"a": 0.0, "b": 0.0}, "fail"), ({"a": 0.0, "b": 1e-4}, "warn"), ({"a": 1e-6}, "pass")],
)
def test_adapters_that_do_not_move(sizes: dict[str, float], state: str) -> None:
    assert health.adapters_move(sizes, updates=10).state == state


@pytest.mark.parametrize(
    ("now", "share", "words"),
    [
        ({"rewards/accuracies": 0.3, "rewards/margins": -0.2}, 1.0, "under chance"),
        ({"rewards/accuracies": 0.3, "rewards/margins": -0.2}, 0.2, None),
        ({"rewards/accuracies": 0.99, "rewards/margins": 2.0, "pairs": 200}, 0.2, "too good"),
        ({"rewards/accuracies": 0.99, "rewards/margins": 2.0, "pairs": 8}, 0.2, None),
        # the published run of an adapter at the rate of full fine-tuning, and the healthy ones
        ({"rewards/accuracies": 0.686, "rewards/margins": 0.033}, 1.0, "hardly moves"),
        ({"rewards/accuracies": 0.724, "rewards/margins": 0.46}, 0.5, None),
        ({"rewards/accuracies": 0.7, "rewards/margins": 1.0, "logps/chosen": -520.0}, 0.5, "less"),
        ({"rewards/accuracies": 0.77, "rewards/margins": 1.0, "logps/chosen": -380.0}, 1.0, None),
    ],
)
def test_preferences(now: dict[str, float], share: float, words: str | None) -> None:
    values = {"logps/chosen": -285.0} | now
    found = [c for c in health.preferences(Dpo(), START, values, share_done=share) if c.text]
    assert all(check.state == "warn" for check in found)
    assert [words in check.text for check in found if words] == ([True] if words else [])
    assert words is not None or not found


def test_adapters_may_drift_further_as_the_published_ones_do() -> None:
    lora = Dpo.model_validate({"adapter": {"type": "lora"}})
    now = {"logps/chosen": -600.0, "rewards/accuracies": 0.75, "rewards/margins": 1.2}
    assert any(c.text for c in health.preferences(Dpo(), START, now, share_done=1.0))
    assert not any(c.text for c in health.preferences(lora, START, now, share_done=1.0))


def test_short_answers_may_lose_their_few_nats() -> None:
    start = {"logps/chosen": -6.0}
    now = {"logps/chosen": -14.0, "rewards/accuracies": 0.9, "rewards/margins": 1.0}
    assert not any(c.text for c in health.preferences(Dpo(beta=0.1), start, now, share_done=1.0))


def test_a_strong_pull_is_no_alarm_for_its_small_margin_in_nats() -> None:
    now = {"logps/chosen": -281.0, "rewards/accuracies": 0.7, "rewards/margins": 1.0}
    assert not any(c.text for c in health.preferences(Dpo(beta=0.5), START, now, share_done=1.0))


@pytest.mark.parametrize(
    ("canary", "value", "state"),
    [
        ({"below": 1.05}, 1.09, "warn"),
        ({"below": 1.05}, 1.0, "pass"),
        ({"above": 0.56, "below": 0.6}, 0.55, "warn"),
        ({"above": -1.0, "below": 0.0}, 0.0, "warn"),
        ({"above": 0.56, "below": 0.6}, 0.58, "pass"),
        ({"above": 0.56}, math.nan, "warn"),
    ],
)
def test_a_range_of_the_recipe(canary: dict[str, float], value: float, state: str) -> None:
    own = Canary.model_validate({"metric": "eval_loss", "at": 0.2, "source": "a card", **canary})
    found = health.in_band(own, value)
    assert found.state == state
    assert ("a card" in found.text) == (state == "warn")
