"""Fixtures that several rooms share."""

import gc
import signal
from pathlib import Path

import pytest
import torch  # noqa: F401  # what prepares data hides it from transformers unless it is here first
from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine is just then: a suite that was green must
# not turn red without a change.
settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")

# A shell starts background jobs with SIGINT ignored, nohup ignores SIGHUP, and the children of the
# tests would inherit both.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection() -> None:
    """What is imported now stays: a collector would look through all of it for nothing."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on collect what the tests leave, and that alone."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a freshly built `tiny` base model (Mistral architecture, 0.75 M weights)."""
    from zephyrctl.models import tiny

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    tiny.build(folder)
    return folder
