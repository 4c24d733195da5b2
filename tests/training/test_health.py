"""Notices on the course of training."""

import pytest

from zephyrctl.training import health

START = {"logps/chosen": -280.0, "rewards/accuracies": 0.0, "rewards/margins": 0.0}


def row(text: str, *, stopped: bool = True) -> dict[str, object]:
    return {"completion": text, "stopped": stopped}


def test_a_loss_that_does_not_fall_is_said_after_half_the_steps() -> None:
    flat = [2.0, 2.01, 1.99, 2.0] * 2
    assert health.loss_is_stuck(flat, share_done=0.4) is None
    assert "does not fall" in (health.loss_is_stuck(flat, share_done=0.6) or "")
    assert health.loss_is_stuck([2.0, 1.9, 1.5, 1.4, 1.2, 1.1, 1.0, 1.0], share_done=1.0) is None


def test_a_few_steps_are_no_ground_for_an_alarm() -> None:
    assert health.loss_is_stuck([2.0, 2.1, 2.2], share_done=1.0) is None


def test_a_loss_of_zero() -> None:
    assert health.loss_is_zero({"loss": 0.0})
    assert health.loss_is_zero({"loss": 0.1}) is None


@pytest.mark.parametrize(
    ("now", "share", "words"),
    [
        ({"rewards/accuracies": 0.3, "rewards/margins": -0.2}, 1.0, "under chance"),
        ({"rewards/accuracies": 0.3, "rewards/margins": -0.2}, 0.2, None),
        ({"rewards/accuracies": 0.99, "rewards/margins": 2.0, "pairs": 200}, 0.2, "too good"),
        ({"rewards/accuracies": 0.99, "rewards/margins": 2.0, "pairs": 8}, 0.2, None),
        ({"rewards/accuracies": 0.6, "rewards/margins": 0.0002}, 1.0, "hardly moves"),
        ({"rewards/accuracies": 0.7, "rewards/margins": 1.0, "logps/chosen": -520.0}, 0.5, "less"),
        ({"rewards/accuracies": 0.77, "rewards/margins": 1.0, "logps/chosen": -380.0}, 1.0, None),
    ],
)
def test_preferences(now: dict[str, float], share: float, words: str | None) -> None:
    found = health.preferences(START, {"logps/chosen": -285.0} | now, share_done=share)
    assert [words in text for text in found if words] == ([True] if words else [])
    assert words is not None or not found


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([row(""), row(" "), row("yes")], "2 of 3 sample answers are empty"),
        ([row("I am.")] * 3, "the same text"),
        ([row("dear dear dear " * 20)] * 2, "repeat themselves"),
        ([row("a", stopped=False), row("b", stopped=False)], "only 0 of 2"),
        ([row("Paris."), row("Rome.")], None),
    ],
)
def test_collapse_of_sample_answers(answers: list[dict[str, object]], words: str | None) -> None:
    before = [row("Paris is the capital."), row("Rome is the capital.")]
    found = health.samples(answers, before)
    assert any(words in text for text in found) if words else not found


def test_an_untrained_model_that_already_repeats_is_no_alarm() -> None:
    looping = [row("dear " * 30, stopped=False)]
    assert health.samples(looping, looping) == []
    assert health.samples(looping, []) == []
