"""What do the options of a step benchmark mean, and what does it answer?

`dpo_step.py` and `sft_step.py` differ in a `Benchmark`; everything else is here.
"""

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steps import figures, race, report
from steps.contenders import Contender, Course, Stage, names, parse
from steps.models import MODELS
from steps.rows import SEED, Row, Shape

MOST_SECONDS = 9 * 60
"""No round is begun that would end later than this on a GPU: one command stays under 10 minutes."""

NOTHING_RAN: dict[str, Any] = {"processor": "unknown: no contender ended well", "versions": {}}


@dataclass(frozen=True)
class Benchmark:
    """One of the two scripts."""

    name: str
    stage: Stage
    unit: str
    """What is counted per second: `pairs` or `rows`."""
    shapes: dict[str, Shape]
    draw: Callable[..., list[Row]]
    contenders: tuple[str, ...]
    rivals: dict[str, tuple[str, str]]
    """Names of the ratios in the answer, each with ours and the rival it is taken against."""
    same: dict[str, str]
    """Contenders that must compute the same as another one: contender → that one."""


def main(benchmark: Benchmark, description: str, arguments: Sequence[str] | None = None) -> int:
    """Race, print, and keep; 1 where ours broke or did not compute the same."""
    options = _options(benchmark, description, arguments)
    folder = Path(options.keep or tempfile.mkdtemp(prefix=f"{benchmark.name}-"))
    try:
        found = _race(benchmark, options, folder)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if options.out:
        name = options.out_name or _result_name(benchmark, options)
        for path in report.save(found, Path(options.out), name=name):
            _say(f"wrote {path}")
    print(json.dumps(found) if options.json else "\n".join(report.lines(found)))
    broken = any("error" in found["contenders"][ours] for ours, _ in benchmark.rivals.values()
                 if ours in found["contenders"])  # fmt: skip
    return 1 if broken or not all(p["same"] for p in found["parity"].values()) else 0


def _options(
    benchmark: Benchmark, description: str, arguments: Sequence[str] | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--model", choices=tuple(MODELS), help="[small; cuda: mistral-7b]")
    add("--adapter", choices=("none", "lora"), default="none", help="none trains all weights")
    add("--lengths", choices=tuple(benchmark.shapes), default=next(iter(benchmark.shapes)))
    add(
        "--contenders",
        nargs="+",
        default=list(benchmark.contenders),
        metavar="NAME",
        help=f"{', '.join(names(benchmark.stage))}; +compile, @EXAMPLES_PER_PASS after a name",
    )
    add("--batch", type=int, help=f"{benchmark.unit} per optimizer step [8; cuda: 16]")
    add("--steps", type=int, help="timed optimizer steps of each run [4; cuda: 15]")
    add("--warmup", type=int, help="optimizer steps before them [1; cuda: 5]")
    add("--repeats", type=int, default=2, help="rounds: A B C A B C [2]")
    add("--threads", type=int, default=1, help="threads of a run on a CPU [1]")
    add("--seed", type=int, default=SEED, help="of lengths and tokens")
    add(
        "--finish",
        action=argparse.BooleanOptionalAction,
        help="let each run save its model too [on a CPU]",
    )
    add("--time-limit", type=float, metavar="S", help=f"[none; cuda: {MOST_SECONDS}]")
    add("--keep", metavar="DIR", help="work in DIR: the model made there is used again")
    add("--out", metavar="DIR", help="also write NAME.json and NAME.md there")
    add("--out-name", metavar="NAME")
    add("--json", action="store_true", help="one JSON object on the last line of stdout")
    options = parser.parse_args(arguments)
    on_gpu = options.device == "cuda"
    for name, on_cpu, on_cuda in (
        ("model", "small", "mistral-7b"), ("batch", 8, 16), ("steps", 4, 15), ("warmup", 1, 5),
        ("finish", True, False), ("time_limit", float("inf"), MOST_SECONDS),
    ):  # fmt: skip
        if getattr(options, name) is None:
            setattr(options, name, on_cuda if on_gpu else on_cpu)
    try:
        options.parsed = [parse(label, benchmark.stage) for label in options.contenders]
    except ValueError as error:
        parser.error(str(error))
    return options


def _race(benchmark: Benchmark, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    plan = plan_of(benchmark, options, folder)
    records = race.run(plan, say=_say)
    return {
        "benchmark": benchmark.name,
        "unit": benchmark.unit,
        "model": options.model,
        "lengths": options.lengths,
        "course": asdict(plan.course),
        "timed_steps": options.steps,
        "warmup_steps": options.warmup,
        "rounds": max(map(len, records.values())),
        "threads": options.threads,
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": next(
            (r["machine"] for runs in records.values() for r in race.whole(runs)), NOTHING_RAN
        ),
        **answer(benchmark, options, records),
    }


def plan_of(benchmark: Benchmark, options: argparse.Namespace, folder: Path) -> race.Plan:
    """The race that the options ask for."""
    shape = benchmark.shapes[options.lengths]
    steps = options.warmup + options.steps
    course = Course(
        stage=benchmark.stage,
        base=str((folder / "models" / f"{options.model}-{options.device}").absolute()),
        device=options.device,
        adapter=options.adapter,
        steps=steps,
        global_batch=options.batch,
        packed_batch=max(1, options.batch // 2),
        max_length=shape.longest,
        max_prompt_length=shape.longest_prompt,
        seed=options.seed,
    )
    rows = benchmark.draw(
        options.lengths,
        steps * options.batch,
        vocabulary=MODELS[options.model].vocabulary,
        seed=options.seed,
    )
    heats = Path(tempfile.mkdtemp(prefix="heats-", dir=_made(folder))).absolute()
    return race.Plan(
        course=course,
        model=options.model,
        contenders=options.parsed,
        rows=rows,
        repeats=options.repeats,
        threads=options.threads,
        finish=options.finish,
        time_limit_s=options.time_limit,
        folder=heats,
    )


def answer(
    benchmark: Benchmark, options: argparse.Namespace, records: dict[str, list[race.Record]]
) -> dict[str, Any]:
    """Figures of every contender, ratios and parity."""
    by_label = {who.label: who for who in options.parsed}
    contenders = {
        label: figures.contender(
            runs,
            warmup=options.warmup,
            unit=benchmark.unit,
            model=MODELS[options.model],
            adapter=options.adapter == "lora",
        )
        for label, runs in records.items()
    }
    ratios = dict.fromkeys(benchmark.rivals)
    for name, (ours, family) in benchmark.rivals.items():
        theirs = _fastest(family, by_label, contenders, unit=benchmark.unit)
        if ours in records and theirs is not None:
            ratios[name] = figures.ratios(records[ours], records[theirs], warmup=options.warmup)
    parity = {}
    for label, who in by_label.items():
        other = benchmark.same.get(who.name)
        if (
            other in records
            and (a := race.whole(records[label]))
            and (b := race.whole(records[other]))
        ):
            found = figures.parity(b[0], a[0], device=options.device)
            parity[f"{label} and {other}"] = found
    medians = {name: ratio and ratio["median"] for name, ratio in ratios.items()}
    return {"contenders": contenders, **medians, "ratios": ratios, "parity": parity}


def _fastest(
    family: str, by_label: dict[str, Contender], figures_of: dict[str, Any], *, unit: str
) -> str | None:
    """The best of several settings of one rival."""
    labels = [
        label
        for label, who in by_label.items()
        if who.name == family and "error" not in figures_of[label]
    ]
    return max(labels, key=lambda label: figures_of[label][f"{unit}_per_s"], default=None)


def _result_name(benchmark: Benchmark, options: argparse.Namespace) -> str:
    return f"{benchmark.name}-{options.device}-{options.model}-{options.adapter}-{options.lengths}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
