"""A trained model as one GGUF file, for llama.cpp and the programs built on it."""

from __future__ import annotations

import importlib.util
import sys

from zephyrctl.errors import EnvironmentProblem


def require_gguf() -> None:
    """EnvironmentProblem where the package that writes GGUF files is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise EnvironmentProblem(
            "writing a GGUF file needs the package 'gguf', which is not installed",
            where=sys.executable,
            hint="pip install 'gguf>=0.18,<1'   or: pip install 'zephyrctl[demo]'",
        )
