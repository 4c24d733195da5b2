"""What does one process of a stage do? (`python -m zephyrctl.worker --run RUN --stage sft`)

It reads a resolved configuration, the run directory's or the one it is told, and nothing else: no
flags, no YAML, no environment overrides. The same entry serves one CPU, eight GPUs and a cluster.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from zephyrctl import catalogue
from zephyrctl.errors import DiskFull, ZephyrctlError, quoted
from zephyrctl.launch.neighbours import hang_of, loss_of, lost_connection, waited_in_vain
from zephyrctl.launch.stopping import resumable
from zephyrctl.runs import faults, heartbeat, last_words, manifest, signals, trusted
from zephyrctl.runs.atomic import NO_SPACE
from zephyrctl.runs.metrics import rank_of_process
from zephyrctl.runs.processes import children_die_too, die_with_parent
from zephyrctl.runs.store import STAGES, Run, StageDir, StageName
from zephyrctl.terminal import safe

_SUPERVISOR = "ZEPHYRCTL_SUPERVISOR_PID"
"""Variable with the process that started this one and reads its error file."""
_NO_SPACE_TEXTS = tuple(os.strerror(number) for number in NO_SPACE)
"""As libraries that are not written in Python say it."""


def main(arguments: list[str] | None = None) -> int:
    """Run one stage on this rank; the exit code is the error's own, 0 where it ended well."""
    die_with_parent()
    _exit_if_abandoned()
    children_die_too()
    signals.install()
    given = _parse(arguments)
    rank = rank_of_process()
    run = Run(Path(given.run))
    stage = run.stage(cast(StageName, given.stage))
    # Nobody reads the error file of a command that was pasted into a shell or another engine.
    terminal = os.dup(2) if _SUPERVISOR not in os.environ else None
    _redirect_output(stage, rank=rank)
    _show_stacks_on_request(stage, rank=rank)
    last_words.keep_room(error_path(stage, rank))
    heartbeat.install(stage.path, rank=rank)
    try:
        _run_stage(run, stage, config=given.config, rank=rank)
    except ZephyrctlError as error:
        return _report(stage, resumable(error, stage), rank=rank, terminal=terminal)
    except Exception as error:
        with suppress(OSError):  # the log may be on a full disk
            traceback.print_exc()
        known = resumable(_as_zephyrctl_error(error, stage), stage)
        return _report(stage, known, rank=rank, terminal=terminal)
    last_words.drop_room(error_path(stage, rank))
    _leave_group()
    return 0


def error_path(stage: StageDir, rank: int) -> Path:
    """Where a rank leaves the error that ended it, for the process that started it."""
    return stage.path / f"error-rank{rank}.json"


def _run_stage(run: Run, stage: StageDir, *, config: Path | None, rank: int) -> None:
    from zephyrctl.stages.inputs import inputs
    from zephyrctl.training import checkpoints

    trusted.adopt(run.root / "manifest.json")
    recipe = run.recipe(config)
    signals.raise_if_stopping()
    if rank == 0:
        manifest.begin(
            stage,
            inputs=inputs(cast(StageName, stage.name), recipe, run),
            seed=recipe.seed,
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
        )
    with signals.at_once():  # imports of many seconds
        do = catalogue.STAGES.load(stage.name)
    result = do(recipe, run)
    heartbeat.rest("ending")
    if rank == 0:
        faults.meet("finish", 0)
        manifest.finish(stage, result)
        # Not before: until the manifest says what was made, only they tell of the work.
        for text in checkpoints.clear_finished(stage):
            stage.reporter().notice(text, level="warning")


def _report(stage: StageDir, error: ZephyrctlError, *, rank: int, terminal: int | None) -> int:
    """Leave the error behind; on a full disk in the room that was kept for it at the start. It is
    shown at `terminal` too, a descriptor."""
    record = {"error": error.to_json(), "rank": rank, "t": time.time()}
    if terminal is not None:
        with suppress(OSError):
            os.write(terminal, _in_words(error, rank=rank).encode(errors="replace"))
    with suppress(OSError):
        sys.stderr.write(f"error[{error.kind}]: {error.message}\n")
        sys.stderr.flush()
    last_words.leave(error_path(stage, rank), record)
    before = stage.read_manifest() if rank == 0 else None
    # A finished one stays so: what came after it, such as a full disk, did not undo it.
    if before is not None and before.state != "finished":
        with suppress(DiskFull):
            manifest.fail(stage, error)
    return error.exit_code


def _in_words(error: ZephyrctlError, *, rank: int) -> str:
    lines = [f"error[{error.kind}]: rank {rank}: {error.message}"]
    lines += [f"  --> {error.where}"] if error.where else []
    lines += [f"  hint: {error.hint}"] if error.hint else []
    return "".join(f"{safe(line)}\n" for line in lines)


def _as_zephyrctl_error(error: Exception, stage: StageDir) -> ZephyrctlError:
    """An error of ours for an unexpected one; a full disk is recognised however it was wrapped."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ZephyrctlError):
            return cause  # a library wrapped it, such as a stop in the middle of compiling
        is_full = isinstance(cause, OSError) and cause.errno in NO_SPACE
        if is_full or any(text in str(cause) for text in _NO_SPACE_TEXTS):
            return DiskFull(
                f"no space left while the {stage.name} stage was writing",
                where=str(stage.path),
                hint=f"df -h {quoted(stage.path)}",
            )
        cause = cause.__cause__ or cause.__context__
    if waited_in_vain(error):
        return hang_of(error, stage, rank=rank_of_process())
    if lost_connection(error):
        return loss_of(stage, rank=rank_of_process())
    last = traceback.extract_tb(error.__traceback__)[-1]
    return ZephyrctlError(
        f"{type(error).__name__}: {error}",
        where=f"{last.filename}:{last.lineno}",
        hint=f"the traceback is in {stage.logs / f'rank{rank_of_process()}.log'}",
    )


def _leave_group() -> None:
    """Leave the process group of torch.distributed; gloo's threads abort a process that does not.

    torch is not imported for it: where it was never loaded there is no group.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()


def _redirect_output(stage: StageDir, *, rank: int) -> None:
    """Send everything this process prints, C libraries included, to `logs/rankN.log`."""
    stage.logs.mkdir(parents=True, exist_ok=True)
    log = stage.logs / f"rank{rank}.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    faulthandler.enable()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    sys.stderr.write(f"--- {stage.name}, rank {rank}, process {os.getpid()}, {started}\n")
    sys.stderr.flush()


def _show_stacks_on_request(stage: StageDir, *, rank: int) -> None:
    """On SIGUSR2, which the watchdog sends to a job that hangs, write down where each thread is;
    the interpreter's own handler does it also while Python code cannot run."""
    if not hasattr(signal, "SIGUSR2"):
        return
    path = stage.logs / f"stacks-rank{rank}.txt"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    faulthandler.register(signal.SIGUSR2, file=descriptor, all_threads=True)


def _exit_if_abandoned() -> None:
    """End at once where the supervisor died before the kernel was asked to watch over us."""
    supervisor = os.environ.get(_SUPERVISOR)
    if supervisor and Path("/proc/self").exists() and not Path(f"/proc/{supervisor}").exists():
        os._exit(143)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m zephyrctl.worker", description=__doc__)
    parser.add_argument("--run", required=True, help="run directory")
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument("--config", type=Path, help="resolved configuration, in place of the run's")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    code = main()
    # A request to stop that comes now, perhaps the second of two, changes nothing any more.
    signals.leave_to_parent()
    if code:
        # The error is on the disk. A failed rank must not wait for its neighbours' threads.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
