"""What does one machine of several do for a stage? (`python -m zephyrctl.launch.node`)

It finds out which machine it is, plans its part with the devices that it sees, supervises torchrun
and ends with the exit code of the error, where torchrun would only say 1. Slurm's srun and
SkyPilot's `run:` start it; the followers of `zephyrctl run` on several machines call it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from zephyrctl import environment, terminal
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.launch import Launch
from zephyrctl.errors import ZephyrctlError, from_json
from zephyrctl.launch import local
from zephyrctl.launch.grace import saved_bytes
from zephyrctl.launch.places import Place, own_address, parse_rendezvous, place_here
from zephyrctl.launch.plan import TRAINING, WORKER, Host, LaunchPlan, plan_launch
from zephyrctl.launch.restarts import keep_going
from zephyrctl.launch.stopping import stopping_early
from zephyrctl.runs import signals
from zephyrctl.runs.atomic import staged_directory, write_bytes, write_json
from zephyrctl.runs.references import is_endpoint
from zephyrctl.runs.store import STAGES, Run, StageDir, StageName


def main(arguments: list[str] | None = None) -> int:
    """Carry out this machine's part; the exit code is the error's own, 0 where it ended well."""
    # Kept until the end: a cluster sends SIGTERM twice, and the second must not cost the exit code.
    signals.install()
    given = _parse(arguments)
    run, stage = Run(Path(given.run)), cast(StageName, given.stage)
    place: Place | None = None
    try:
        recipe = run.recipe(given.config)
        rendezvous = parse_rendezvous(given.rendezvous) if given.rendezvous else None
        place = place_here(
            recipe.launch, os.environ, rank=given.node_rank, rendezvous=rendezvous,
            attempt=given.attempt,
        )  # fmt: skip
        error_path(run.stage(stage), place.rank).unlink(missing_ok=True)
        if given.given and place.rank == 0:
            take_over(given.given, run)
        _attempts(run, stage, recipe, place, given)
    except ZephyrctlError as error:
        terminal.say_error(error)
        _leave(run.stage(stage), error, rank=place.rank if place else 0)
        return error.exit_code
    finally:
        # The interpreter gives our handlers back as it ends: a second request to stop that comes
        # then would turn 75 into 143.
        signals.leave_to_parent()
    return 0


def _attempts(
    run: Run, stage: StageName, recipe: Recipe, place: Place, given: argparse.Namespace
) -> None:
    """This machine's part, started again after a crash that left progress where that is asked."""

    def attempt() -> None:
        run_part(run, stage, recipe, place, config=given.config)

    with stopping_early(run.stage(stage)):
        if given.keep_going and recipe.launch.nodes == 1:
            keep_going(run.stage(stage), recipe, attempt=attempt, say=terminal.say)
        else:
            attempt()


def take_over(given: Path, run: Run) -> None:
    """Copy what another machine made for this run into its folder: each file or folder that is
    missing, and a stage's result that is another one by its manifest."""
    for manifest in sorted(given.glob("*/manifest.json")):
        mine = run.root / manifest.relative_to(given)
        same = mine.is_file() and mine.read_bytes() == manifest.read_bytes()
        if same:
            continue
        mine.unlink(missing_ok=True)  # copied last: it says that the rest is there
        for source in sorted(manifest.parent.iterdir()):
            if source != manifest:
                _copy(source, mine.parent / source.name)
        _copy(manifest, mine)


def _copy(source: Path, final: Path) -> None:
    if source.is_file():
        write_bytes(final, source.read_bytes())
        return
    with staged_directory(final) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def run_part(
    run: Run,
    stage: StageName,
    recipe: Recipe,
    place: Place,
    *,
    config: Path | None = None,
    on_poll: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = terminal.say,
) -> None:
    """Run this machine's processes of a stage to their end; raise the error that ended it.

    `recipe` says what is launched here, `config` what the processes read in place of the run's
    configuration. Only training spans machines: for any other stage the others do nothing.
    """
    if stage not in TRAINING and place.rank > 0:
        say(f"{stage} runs on machine 0; there is nothing to do on machine {place.rank}")
        return
    plan = plan_part(run, stage, recipe, place, config=config)
    local.start(plan, recipe.launch, on_poll=on_poll, on_stop=say)


def plan_part(
    run: Run, stage: StageName, recipe: Recipe, place: Place, *, config: Path | None = None
) -> LaunchPlan:
    """The plan of this machine's part, with the devices that are seen here."""
    settings = recipe.launch
    own = ("--config", str(config.absolute())) if config else ()
    return plan_launch(
        run,
        stage,
        settings,
        host=host_here(settings, place),
        worker=(*WORKER, *own),
        alone=stage == "eval" and all(map(is_endpoint, recipe.eval.models)),
        saved_bytes=saved_bytes(recipe, stage),
    )


def host_here(settings: Launch, place: Place) -> Host:
    """This machine as a plan must know it."""
    far = place.rank > 0 and place.rendezvous is not None
    return Host(
        gpus=environment.visible_gpus() if settings.gpus != "none" else [],
        cores=environment.cpu_cores(),
        env_names=tuple(os.environ),
        rank=place.rank,
        address=own_address(place.rendezvous) if far and place.rendezvous else None,
        rendezvous=place.rendezvous,
        attempt=place.attempt,
    )


def error_path(stage: StageDir, rank: int) -> Path:
    """Where a machine leaves the error that ended its part."""
    return stage.path / f"error-node{rank}.json"


def error_left(stage: StageDir) -> ZephyrctlError | None:
    """The error of the machine that ended first with one, by the clocks of the machines."""
    found: list[tuple[float, ZephyrctlError]] = []
    for path in stage.path.glob("error-node*.json"):
        with suppress(OSError, ValueError, KeyError):  # torn, or not seen yet on a network disk
            record = json.loads(path.read_text(encoding="utf-8"))
            found.append((record["t"], from_json(record["error"])))
    return min(found, key=lambda left: left[0])[1] if found else None


def _leave(stage: StageDir, error: ZephyrctlError, *, rank: int) -> None:
    record = {"error": error.to_json(), "node": rank, "t": time.time()}
    try:
        write_json(error_path(stage, rank), record)
    except (ZephyrctlError, OSError):
        # A full or missing disk: the exit code still says what happened.
        terminal.say(f"{error_path(stage, rank)} could not be written")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m zephyrctl.launch.node",
        description="Carry out one machine's part of a stage.",
    )
    parser.add_argument("--run", required=True, help="run directory, on a disk that all share")
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument("--config", type=Path, help="resolved configuration, in place of the run's")
    parser.add_argument(
        "--node-rank",
        type=int,
        metavar="N",
        help="which machine this is; else Slurm or SkyPilot says",
    )
    parser.add_argument("--rendezvous", metavar="HOST:PORT", help="where machine 0 is met")
    parser.add_argument(
        "--given", type=Path, metavar="FOLDER", help="what the run takes over where it lacks it"
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="start again after a crash that left progress"
    )
    parser.add_argument("--attempt", help="name of this start, the same on all machines")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
