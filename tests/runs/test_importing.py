"""Nothing is collected while libraries are imported, and only they are set aside afterwards."""

import gc
import sys
from contextlib import suppress
from types import ModuleType

import pytest

from zephyrctl.runs.importing import importing


@pytest.fixture(autouse=True)
def _collector_as_it_was():
    was, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.enable()
    yield
    if frozen == 0:
        gc.unfreeze()
    if not was:
        gc.disable()


def test_nothing_is_collected_within_and_again_after_a_failed_import() -> None:
    within = []
    with suppress(ImportError), importing():
        within.append(gc.isenabled())
        raise ImportError("no such library")
    assert within == [False]
    assert gc.isenabled()


def test_a_block_within_another_leaves_the_end_to_the_outer_one() -> None:
    with importing():
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_whoever_had_the_collector_off_keeps_it_off() -> None:
    gc.disable()
    with importing():
        pass
    assert not gc.isenabled()


@pytest.mark.parametrize(("count", "aside"), [(3, False), (500, True)])
def test_only_a_large_library_is_set_aside(
    monkeypatch: pytest.MonkeyPatch, count: int, aside: bool
) -> None:
    before = gc.get_freeze_count()
    with importing():
        for number in range(count):
            monkeypatch.setitem(sys.modules, f"large.part{number}", ModuleType("part"))
    assert (gc.get_freeze_count() > before) is aside
