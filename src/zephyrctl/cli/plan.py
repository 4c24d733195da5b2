"""`zephyrctl plan`: memory, time and disk of a recipe, before anything is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zephyrctl import terminal
from zephyrctl.cli.options import ConfigOption, JsonOption, RecipeOption, SetOption, load_from
from zephyrctl.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    from zephyrctl.config.layers import Loaded
    from zephyrctl.config.schema import Recipe
    from zephyrctl.planning.hardware import Device
    from zephyrctl.planning.plan import Machine, Plan

DEFAULT_MFU = 0.4


def plan(
    config: ConfigOption = None,
    recipe: RecipeOption = None,
    sets: SetOption = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="Plan for this GPU, such as h100-80g.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Plan for so many GPUs.")
    ] = None,
    mfu: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the GPU's peak that is reached.")
    ] = DEFAULT_MFU,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="Price of one GPU for one hour.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time a matrix product on this CPU first.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Say whether a recipe fits on a machine, how long it takes and what it needs on disk.

    Without --gpu it is this machine that is planned for. Exit code 3 where it does not fit.
    """
    loaded = load_from(config, recipe, sets)
    device = device_of(loaded.recipe, gpu=gpu, gpus=gpus, measure=measure)
    made = make_plan(loaded, device, mfu=mfu, price=price, here=gpu is None)
    show(made, as_json=json)
    if not made.fits:
        problem = does_not_fit(loaded.recipe, made)
        if not json:
            raise problem
        raise typer.Exit(problem.exit_code)


def device_of(recipe: Recipe, *, gpu: str | None, gpus: int | None, measure: bool) -> Device:
    """The stated device, or what this machine has and the recipe may use, on as many machines as
    the recipe asks for."""
    from dataclasses import replace

    from zephyrctl import environment
    from zephyrctl.launch.plan import choose_gpus
    from zephyrctl.planning import hardware

    launch = recipe.launch
    if gpu is not None:
        return hardware.stated(gpu, count=gpus or (launch.gpus_per_node or 1) * launch.nodes)
    found = environment.visible_gpus() if launch.gpus_per_node != 0 else []
    found = choose_gpus(launch.gpus, found)[: launch.gpus_per_node]
    if gpus is not None and gpus > len(found) * launch.nodes:
        raise UsageError(
            f"--gpus {gpus}: this machine has {len(found)} that can be used",
            where="--gpus",
            hint=f"say which kind, for example: --gpu h100-80g --gpus {gpus}",
        )
    if found:
        return replace(hardware.detected(found), count=gpus or len(found) * launch.nodes)
    rate = environment.measure_cpu() if measure else None
    device = hardware.cpu(environment.memory(), processes=launch.cpu_processes, flops=rate)
    return replace(device, count=device.count * launch.nodes)


def make_plan(
    loaded: Loaded,
    device: Device,
    *,
    mfu: float = DEFAULT_MFU,
    price: float | None = None,
    here: bool = True,
) -> Plan:
    """The plan with its warnings; EnvironmentProblem where the model's sizes are unknown.

    `here`: the plan is for this machine, so its disk is looked at too.
    """
    from dataclasses import replace
    from pathlib import Path

    from zephyrctl.models.resolve import on_disk
    from zephyrctl.planning import architecture
    from zephyrctl.planning.plan import make
    from zephyrctl.planning.workload import known_data

    recipe = loaded.recipe
    folder = on_disk(recipe.model.base, revision=recipe.model.revision)
    model = architecture.find(recipe.model.base, folder=folder)
    if model is None:
        raise EnvironmentProblem(
            f"the sizes of {recipe.model.base} are not known here",
            where="model.base",
            hint=f"zephyrctl models fetch {recipe.model.base}",
        )
    run = Path(recipe.output_root).expanduser() / recipe.name
    made = make(
        recipe,
        model,
        machine_of(device, mfu=mfu, here=here),
        data=known_data(recipe, run / "data"),
        on_disk=folder is not None,
        price=price,
    )
    return replace(made, warnings=tuple(warnings_of(loaded, made, here=here)))


def machine_of(device: Device, *, mfu: float, here: bool) -> Machine:
    """The device with what is known of it: measured rates, and whether FlashAdamW is there. A
    machine that was named and not detected is taken to have the `cuda` extra."""
    from zephyrctl import environment
    from zephyrctl.planning import calibration, hardware
    from zephyrctl.planning.plan import Machine

    installed = environment.package_version("flashoptim") is not None
    return Machine(
        device,
        mfu,
        flash=device.on_gpu and (installed or not here),
        torch=environment.package_version("torch"),
        gpu=hardware.name_of(device.label),
        table=tuple(calibration.read()),
    )


def warnings_of(loaded: Loaded, made: Plan, *, here: bool) -> list[str]:
    """What the user should know before starting."""
    from pathlib import Path

    from zephyrctl import environment
    from zephyrctl.planning import drift
    from zephyrctl.sizes import size_words

    found = []
    base = drift.base_of(loaded.source)
    if base is not None:
        found += drift.warnings(loaded.recipe, base[1], name=base[0])
    for planned in made.stages:
        found += drift.steps(loaded.recipe, stage=planned.stage, planned=planned.steps)
    free = environment.free_disk(Path(loaded.recipe.output_root))
    if here and free < made.disk_bytes:
        found.append(
            f"free disk under {loaded.recipe.output_root} is {size_words(free)}, "
            f"the plan needs {size_words(made.disk_bytes)}"
        )
    for stage in ("sft", "dpo"):
        size = getattr(loaded.recipe, stage).global_batch_size
        if size % made.device.count:
            found.append(
                f"{stage}.global_batch_size {size} cannot be shared by {made.device.count}"
            )
    chosen = {stage.optimizer for stage in made.stages}
    if "flash_adamw" in chosen and environment.package_version("flashoptim") is None:
        found.append("flash_adamw needs a package: pip install 'zephyrctl[cuda]'")
    if made.device.on_gpu and not made.device.bf16:
        found.append(f"{made.device.label} does not compute in bfloat16: planned in float32")
    return found


def show(made: Plan, *, as_json: bool) -> None:
    """Print the plan on stdout."""
    from zephyrctl.planning.report import lines

    if as_json:
        terminal.emit_json(made.to_json())
        return
    for line in lines(made):
        terminal.out(line)


def does_not_fit(recipe: Recipe, made: Plan) -> EnvironmentProblem:
    """The error of a plan that does not fit, with what would."""
    from zephyrctl.models.resolve import on_disk
    from zephyrctl.planning import architecture
    from zephyrctl.planning.remedies import ways_out
    from zephyrctl.sizes import size_words

    unfit = [stage for stage in made.stages if not stage.fits]
    worst = max(unfit or made.stages, key=lambda stage: stage.peak_bytes)
    folder = on_disk(recipe.model.base, revision=recipe.model.revision)
    model = architecture.find(recipe.model.base, folder=folder)
    ways = ways_out(recipe, model, made.device, flash=made.flash) if model else []
    return EnvironmentProblem(
        f"{worst.stage} of {recipe.model.base} needs ≈ {size_words(worst.peak_bytes)} on each "
        f"{made.device.label}, which has {size_words(made.device.memory)}",
        where="the plan above",
        hint=ways[0] if ways else "a larger GPU (--gpu h200-141g), or a smaller base model",
    )
