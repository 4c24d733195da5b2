"""A foreign chat template is a program: it is tried in a child with limits before it is used."""

import hashlib
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.security.conftest import Hostile

from zephyrctl import environment, templates
from zephyrctl.data import template_trial
from zephyrctl.errors import UsageError

ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
HARMLESS = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.fixture(autouse=True)
def _an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    template_trial._flaw.cache_clear()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (ENDLESS, "does not come to an end"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "or has no end"),
    ],
    ids=["loops", "recursion"],
)
def test_a_hostile_template_is_refused_within_its_limits(template: str, said: str) -> None:
    began = time.monotonic()
    with pytest.raises(UsageError, match=said) as caught:
        template_trial.require_harmless(template, where="m")
    assert time.monotonic() - began < template_trial._PATIENCE_S
    assert "--set model.chat_template=zephyr" in (caught.value.hint or "")


def test_a_hostile_template_of_a_model_is_refused_by_the_command_that_would_use_it(
    hostile: Hostile, cli: Cli
) -> None:
    folder = hostile.copy("m")
    (folder / "chat_template.jinja").write_text("{{ 'a' * 10000000000 }}")

    done = cli("chat", str(folder), "-p", "Hi")

    assert done.code == 2
    assert "the chat template needs more than 2 GiB" in done.err


def test_one_of_several_templates_is_enough(hostile: Hostile) -> None:
    with pytest.raises(UsageError, match="what no template may touch"):
        template_trial.require_harmless(
            {"default": HARMLESS, "tool_use": "{{ cycler.__init__.__globals__.os }}"}, where="m"
        )


def test_an_ordinary_template_is_tried_once_and_ours_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template_trial.require_harmless(HARMLESS, where="m")
    template_trial.require_harmless("{{ raise_exception('no system prompts') }}", where="m")
    (passed,) = [
        path
        for path in (environment.cache_root() / "templates").iterdir()
        if path.name.endswith(hashlib.sha256(HARMLESS.encode()).hexdigest())
    ]
    assert passed.is_file()

    template_trial._flaw.cache_clear()  # as in the next process
    monkeypatch.setattr(template_trial, "_try_in_child", lambda text: pytest.fail("tried again"))
    template_trial.require_harmless(HARMLESS, where="m")
    for name in templates.names():
        template_trial.require_harmless(templates.read(name), where="m")


def test_the_child_sees_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    seen = tmp_path / "environment"
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nenv > {seen}\n")
    python.chmod(0o755)
    monkeypatch.setattr(template_trial.sys, "executable", str(python))

    template_trial.require_harmless(HARMLESS, where="m")

    assert "PATH=" in seen.read_text()
    assert "sk-canary" not in seen.read_text()
