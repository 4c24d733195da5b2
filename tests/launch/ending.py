"""A command whose stage is asked to stop, from its start to the exit of the interpreter."""

import sys
from pathlib import Path

from tests.launch.planned import plan_for

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import ZephyrctlError
from zephyrctl.launch.local import start
from zephyrctl.launch.stopping import listening
from zephyrctl.runs.store import Run

if __name__ == "__main__":
    try:
        with listening(Launch()):
            start(plan_for(Run(Path(sys.argv[1])), "data"), Launch())
    except ZephyrctlError as error:
        sys.exit(error.exit_code)
