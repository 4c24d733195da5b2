"""Planned faults."""

import pytest
import torch

from zephyrctl.errors import UsageError
from zephyrctl.training import faults


def test_nothing_happens_where_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    assert faults.planned() is None
    faults.meet("step", step=1)


def test_a_fault_acts_at_its_place_and_step_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(2, 2)
    monkeypatch.setenv(faults.VARIABLE, "step=3:nan")
    faults.meet("step", step=2, model=model)
    faults.meet("save", step=3, model=model)
    assert torch.isfinite(model.weight).all()
    faults.meet("step", step=3, model=model)
    assert torch.isnan(model.weight).any()


def test_a_fault_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(faults.VARIABLE, "at step 3")
    with pytest.raises(UsageError, match="is no fault"):
        faults.planned()
