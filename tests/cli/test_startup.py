"""Help, version and configuration commands never pay for torch, and help not for the schema."""

import json
import subprocess
import sys

import pytest

HEAVY = [
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "numpy",
    "pyarrow",
    "pandas",
]

_SCRIPT = """
import contextlib, io, json, sys
from zephyrctl.cli.app import main
from zephyrctl.cli.commands import app
import typer

def run(*args):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(list(args))
        except SystemExit as stopped:
            return stopped.code

def paths(command, prefix=()):
    yield prefix
    for name, child in getattr(command, "commands", {}).items():
        yield from paths(child, (*prefix, name))

found = {"codes": {}, "heavy": {}}
heavy = json.loads(sys.argv[1])
for path in paths(typer.main.get_command(app)):
    found["codes"][" ".join(path)] = run(*path, "--help")
found["after help"] = [name for name in heavy + ["zephyrctl.config.schema"] if name in sys.modules]
for args in (["--version"], ["config", "check", "--recipe", "zephyr-7b"], ["recipes", "list"],
             ["config", "show", "--recipe", "tiny"], ["config", "explain", "sft"],
             ["runs", "list"], ["models", "list"], ["help", "offline"]):
    found["codes"][" ".join(args)] = run(*args)
    found["heavy"][" ".join(args)] = [name for name in heavy if name in sys.modules]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    """What one child process saw: exit codes, and the heavy modules that were loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(HEAVY)],
        cwd=tmp_path_factory.mktemp("empty"),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_help_of_every_command_ends_well_without_torch_or_the_schema(found):
    assert len(found["codes"]) > 25
    assert set(found["codes"].values()) == {0}
    assert found["after help"] == []


def test_commands_on_configurations_and_runs_load_nothing_heavy(found):
    assert {args: names for args, names in found["heavy"].items() if names} == {}
