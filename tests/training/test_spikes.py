"""Spikes of the loss are told, and ordinary losses are not."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.training import spikes
from zephyrctl.training.progress import Progress, load


def found(losses: list[float]) -> list[int]:
    window: list[float] = []
    return [step for step, loss in enumerate(losses) if spikes.add(window, loss) is not None]


def noisy(mean: float, noise: float, steps: int) -> list[float]:
    draws = random.Random(7)
    return [mean * (1 + noise * draws.gauss(0, 1)) for _ in range(steps)]


def test_a_loss_far_above_the_last_steps_is_a_spike() -> None:
    losses = noisy(1.3, 0.05, 200)
    losses[150] = 4.0
    assert found(losses) == [150]


def test_too_few_steps_say_nothing() -> None:
    assert found([1.0] * (spikes.FEWEST - 1) + [100.0]) == []


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.25])
def test_noise_and_a_falling_loss_are_none(noise: float) -> None:
    falling = [loss * (0.3 + 0.7 * 0.99**step) for step, loss in enumerate(noisy(3, noise, 500))]
    assert found(falling) == []


def test_preference_losses_double_by_themselves() -> None:
    draws = random.Random(3)
    assert found([draws.expovariate(1 / 0.15) for _ in range(400)]) == []


def test_a_loss_that_stays_high_is_told_of_until_it_is_usual() -> None:
    steps = found(noisy(1.0, 0.02, 100) + noisy(5.0, 0.02, 200))
    assert steps[0] == 100
    assert len(steps) < spikes.WINDOW


def test_recorded_runs_of_the_recipes_have_none() -> None:
    recorded = json.loads(Path(__file__).with_name("recorded_losses.json").read_text())
    assert set(recorded) >= {"tiny sft", "tiny dpo"}
    for losses in recorded.values():
        assert len(losses) > spikes.FEWEST
        assert found(losses) == []


def test_what_is_usual_outlives_a_kill(tmp_path: Path) -> None:
    progress = Progress()
    for loss in noisy(1.0, 0.02, 40):
        spikes.add(progress.recent_losses, loss)
    progress.spikes = 2
    progress.save(tmp_path)
    again = load(tmp_path)
    assert spikes.add(again.recent_losses, 9.0) is not None
    assert again.spikes == 2


@pytest.mark.train
def test_a_spike_is_told_with_its_examples_and_counted(
    make_run: Any, train_sft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spikes, "FEWEST", 2)
    monkeypatch.setattr(spikes, "TIMES", 0.0)  # so that a loss above the median is one
    monkeypatch.setattr(spikes, "SPREADS", 0.0)
    recipe, run = make_run(sft={"epochs": 4, "learning_rate": 1e-6})
    result = train_sft(recipe, run)
    assert result.metrics["loss_spikes"] >= 1
    said = [text for text in run.stage("sft").read_manifest().notices if "stands out" in text]
    assert said
    record = json.loads(Path(said[0].rpartition(" are in ")[2]).read_text())
    assert len(record["sequences"]) == 4
    assert "fruit" in record["texts"][0]
