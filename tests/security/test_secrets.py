"""Keys stay out of what is printed. tests/e2e/test_canary.py searches what reaches the disk."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from tests.cli.conftest import Cli

from zephyrctl import environment

KEY = "sk-canary-0123456789abcdef"
NAMES = ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, KEY)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--recipe", "tiny", "--print-launch"),
        ("run", "--recipe", "tiny", "--dry-run"),
        ("config", "show", "--recipe", "tiny", "--origin"),
        ("doctor", "--recipe", "tiny"),
        ("plan", "--recipe", "tiny"),
    ],
    ids=lambda words: words[-1],
)
def test_no_command_prints_a_key_of_the_environment(cli: Cli, words: tuple[str, ...]) -> None:
    for more in ((), ("--json",)):
        done = cli(*words, *more)
        assert KEY not in done.out + done.err
    if "--print-launch" in words:
        launch = json.loads(cli(*words, "--json").out)["launch"]
        assert all(set(NAMES) <= set(plan["secrets"]) for plan in launch)


def test_a_traceback_shows_no_local_variable() -> None:
    code = (
        "import os\nfrom zephyrctl.cli import app\nfrom zephyrctl.config import layers\n"
        "def broken(*args, **options):\n"
        "    key = os.environ['OPENAI_API_KEY']\n"
        "    raise ValueError('broken')\n"
        "layers.load = broken\napp.main(['config', 'check'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ZEPHYRCTL_DEBUG": "1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" in done.stderr
    assert KEY not in done.stderr + done.stdout


def test_a_key_is_no_option_of_any_command(cli: Cli) -> None:
    for words in (("eval", "mt-bench"), ("chat",), ("run",), ("export", "merged"), ("serve",)):
        shown = cli(*words, "--help")
        assert shown.code == 0
        assert re.search(r"--(api-|hub-)?(key|token|password)(?!-file)", shown.out) is None
        assert cli(*words, "--api-key", KEY).code == 2


def test_a_validation_error_does_not_repeat_its_input() -> None:
    from pydantic import BaseModel, ValidationError

    from zephyrctl.config.schema import Recipe
    from zephyrctl.config.schema.section import Section

    def sections(model: type[BaseModel]) -> Any:
        yield model
        for field in model.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from sections(field.annotation)

    assert all(issubclass(found, Section) for found in sections(Recipe))
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"seed": KEY, "eval": {"judge": {"timeout_s": KEY}}})
    assert KEY not in str(caught.value)


def test_manifests_name_neither_the_machine_nor_its_user() -> None:
    import getpass
    import socket

    record = json.dumps([environment.hardware(), environment.package_versions()])
    for word in (socket.gethostname(), getpass.getuser(), KEY):
        assert f'"{word}"' not in record
