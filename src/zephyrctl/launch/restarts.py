"""After which ends is a training stage started again, and how is that told?

Each attempt is a fresh torchrun: a restart inside one recovered 1 time in 11 with gloo (torch 2.13,
`--max-restarts 1`, one rank killed). A crash or a hang is answered by another attempt only where
the last one saved a newer checkpoint than there was before it, so that a fault that comes again at
the same step ends the stage the second time. Divergence, wrong settings or data, a full disk and
refused credentials would come again, and are never repeated. Where memory ran out, the next attempt
computes the same steps in smaller passes.
"""

from __future__ import annotations

from collections.abc import Callable

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import OutOfMemory, ZephyrctlError
from zephyrctl.launch.plan import EXIT_CODES, TRAINING
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import StageDir

_PREFIX = "checkpoint-"


def keep_going(
    stage: StageDir,
    recipe: Recipe,
    *,
    attempt: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Call `attempt` until the stage ended well; raises the error that is not answered by another
    one. What is not a training stage is attempted once."""
    if stage.name not in TRAINING:
        attempt()
        return
    most = recipe.launch.max_restarts
    restarts = 0
    while True:
        before = newest_step(stage)
        try:
            attempt()
        except ZephyrctlError as error:
            why = _answer(error, stage, recipe, before=before, restarts=restarts)
            if why is None:
                if is_crash(error) and most:
                    reason = refusal(before, newest_step(stage), restarts=restarts, most=most)
                    _tell(stage, f"is not started again: {reason}", say=say)
                raise
            restarts += 1
            _record(stage, why, number=restarts)
            _tell(stage, _restart(stage, why, number=restarts, most=most), say=say)
        else:
            return


def is_crash(error: ZephyrctlError) -> bool:
    """Whether the error may not come again: a crash or a hang, and nothing that was asked for."""
    return error.exit_code in EXIT_CODES["restart"]


def refusal(before: int | None, after: int | None, *, restarts: int, most: int) -> str | None:
    """Why a crashed stage is not started again, in words; None where it is.

    `before` and `after` are the steps of the newest checkpoint at the attempt's begin and end.
    """
    if restarts >= most:
        return f"launch.max_restarts is {most}"
    if after is None:
        return "it saved no checkpoint"
    if before is not None and after <= before:
        return f"it saved no newer checkpoint than checkpoint-{before}, from which it began"
    return None


def newest_step(stage: StageDir) -> int | None:
    """The step of the newest finished checkpoint; one that is still written has another
    name. The worker verifies its content when it goes on from it."""
    steps = [
        int(number)
        for path in stage.checkpoints.glob(f"{_PREFIX}*")
        if (number := path.name.removeprefix(_PREFIX)).isdigit()
        and (path / "manifest.json").is_file()
    ]
    return max(steps, default=None)


def _answer(
    error: ZephyrctlError, stage: StageDir, recipe: Recipe, *, before: int | None, restarts: int
) -> str | None:
    """Why the stage is started again, in words; None where it is not."""
    most = recipe.launch.max_restarts
    if isinstance(error, OutOfMemory):
        if restarts >= most:
            return None
        from zephyrctl.runs.adjustments import halve

        return halve(stage, recipe.sft if stage.name == "sft" else recipe.dpo)
    if not is_crash(error):
        return None
    if refusal(before, newest_step(stage), restarts=restarts, most=most) is not None:
        return None
    return error.message.splitlines()[0]


def _restart(stage: StageDir, why: str, *, number: int, most: int) -> str:
    step = newest_step(stage)
    start = "from the beginning" if step is None else f"from {_PREFIX}{step}"
    return f"starts again {start} ({number} of at most {most}): {why}"


def _record(stage: StageDir, why: str, *, number: int) -> None:
    _reporter(stage).event("restarted", number=number, step=newest_step(stage), why=why)


def _tell(stage: StageDir, text: str, *, say: Callable[[str], None]) -> None:
    """On the screen, and in the records and so in the stage's manifest."""
    _reporter(stage).notice(text, level="warning")
    say(f"{stage.name:<6} {text}")


def _reporter(stage: StageDir) -> Reporter:
    return Reporter(stage.path, rank=0)  # whatever RANK somebody left in our environment
