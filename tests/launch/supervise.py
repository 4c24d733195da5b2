"""What a command does around a launch, as a process that a test can interrupt or kill."""

import json
import os
import sys
from pathlib import Path

from tests.launch.planned import plan_for

from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import ZephyrctlError
from zephyrctl.launch.local import start
from zephyrctl.runs.store import Run, lock


def main(root: str, stage: str, grace_s: str) -> None:
    run = Run(Path(root))
    try:
        with lock(run, purpose="test"):
            start(
                plan_for(run, stage, processes=2, grace_s=float(grace_s)),
                Launch(),
                on_stop=_say,
            )
    except ZephyrctlError as error:
        _say(json.dumps(error.to_json()))
        os._exit(error.exit_code)
    _say("finished")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
