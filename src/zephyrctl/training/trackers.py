"""Can the experiment trackers that the recipe names be used, and where do they write?"""

import os
from importlib.util import find_spec
from pathlib import Path

from zephyrctl.config.schema.launch import Track
from zephyrctl.errors import EnvironmentProblem


def prepare(track: Track, *, folder: Path) -> None:
    """Point the trackers at the stage's folder and the recipe's project.

    EnvironmentProblem where a package is missing: transformers 5.23 would begin without it and
    fail, or say nothing.
    """
    missing = [name for name in track.to if find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"track.to names {' and '.join(missing)}, which is not installed",
            where="track.to",
            hint="pip install 'zephyrctl[track]'   or --set 'track.to=[]'",
        )
    if "wandb" in track.to:
        os.environ.setdefault("WANDB_PROJECT", track.project)
        os.environ.setdefault("WANDB_DIR", str(folder))
    if "tensorboard" in track.to:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))
