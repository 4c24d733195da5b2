"""Which judge a spec names, and what is said of one that names none."""

import pytest

from zephyrctl.config.layers import load
from zephyrctl.errors import UsageError
from zephyrctl.evaluation.judges.open import kind_of, open_judge


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("openai:gpt-4o", "openai"),
        ("openai+http://localhost:8000/v1:judge", "openai"),
        ("openai+https://host/v1:org/model:tag", "openai"),
        ("local:./runs/judge/dpo", "local"),
        ("replay:judgments.jsonl", "replay"),
    ],
)
def test_a_spec_names_its_kind(spec: str, kind: str):
    assert kind_of(spec) == kind


@pytest.mark.parametrize(
    ("spec", "words", "hint"),
    [
        ("gpt-4o", "does not say of which kind", "openai:gpt-4o"),
        ("tiny", "does not say of which kind", "local:tiny"),
        ("lokal:tiny", "did you mean 'local'", "known: openai, local, replay"),
        ("local:", "names no model", "local:MODEL"),
        ("replay:", "names no file", "replay:FILE"),
        ("openai+http://host:8000/v1", "is not an address and a model", ":MODEL"),
        ("openai+http://host:8000", "is not an address and a model", ":MODEL"),
        ("openai+ftp://host/v1:m", "is not an address and a model", "openai+http"),
    ],
)
def test_a_spec_that_names_none_is_refused_with_what_was_meant(spec: str, words: str, hint: str):
    with pytest.raises(UsageError, match=words) as caught:
        kind_of(spec)
    assert hint in (caught.value.hint or "")


def test_no_judge_at_all_is_said():
    with pytest.raises(UsageError, match="needs a judge"):
        open_judge(load().recipe)
