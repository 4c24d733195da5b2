"""What decides the answers of a model that is not loaded."""

from pathlib import Path

import pytest

from zephyrctl.config.schema.model import Model
from zephyrctl.generation.answerer import number_format, subject_of
from zephyrctl.runs.references import resolve_model


def test_one_model_at_two_services_gives_answers_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    digests = []
    for base in ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1", "http://127.0.0.1:2/v1/"):
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        ref = resolve_model("openai:m", output_root=tmp_path)
        digests.append(subject_of(ref, model=Model(), at_once=1).digest)
    assert digests[0] != digests[1] == digests[2]


def test_a_run_that_moves_to_a_gpu_does_not_mix_number_formats() -> None:
    assert number_format("auto", on_gpu=True) != number_format("auto", on_gpu=False)
    assert number_format("float32", on_gpu=True) == number_format("float32", on_gpu=False)
