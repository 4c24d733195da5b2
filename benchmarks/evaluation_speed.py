"""How long do scores take that need no model and no judge?

    python benchmarks/evaluation_speed.py [--models 63] [--repeats 5] [--json] [--out FOLDER]

Two races on made-up judgments of MT-Bench's size (160 a model, each about 1,000 characters):

- rescore: a file of 10,080 judgments into every figure with its interval, by `eval rescore
  mt-bench` as a command, by the same function without the start of a process, and by plain
  Python, which draws and adds up question by question (without categories);
- bootstrap: 1,000 replicates for two models and for their difference, on 80 questions with two
  turns and on 805 with one, beside a loop over replicates with numpy and one in plain Python.

Every contender draws all but one question of each category with replacement; means have to agree
to 1e-9, bounds of intervals within 0.1. Seconds are medians of wall time and of CPU time; ratios
and limits go by CPU time, which other work on the machine does not change (everything runs on one
thread). Exit 1 where a limit is passed: 2 s for the command, 1 s for the bootstrap.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from zephyrctl.evaluation.mt_bench.protocol import category_of
from zephyrctl.evaluation.mt_bench.rescoring import rescore
from zephyrctl.evaluation.mt_bench.stored import read_rows
from zephyrctl.evaluation.statistics import bootstrap_mean, paired_difference
from zephyrctl.evaluation.verdicts import parse_rating

REPLICATES = 1000
COMMAND_LIMIT_S, BOOTSTRAP_LIMIT_S = 2.0, 1.0
Bounds = dict[str, tuple[float, float, float]]
"""Mean, low and high by what they are of."""


@dataclass(frozen=True)
class Timed:
    """Median seconds of some rounds; CPU seconds include child processes."""

    wall_s: float
    cpu_s: float

    def to_json(self) -> dict[str, float]:
        return {"wall_s": round(self.wall_s, 5), "cpu_s": round(self.cpu_s, 5)}


def timed(work: Callable[[], Bounds], *, repeats: int) -> tuple[Timed, Bounds]:
    """Median time of `work`, and what it came to; the first round is not counted."""
    found = work()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(cpu_seconds() - cpu)
    return Timed(statistics.median(walls), statistics.median(cpus)), found


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children so far."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def write_judgments(path: Path, *, models: int, seed: int = 0) -> int:
    """A file as FastChat's; returns how many judgments it holds."""
    rng = random.Random(seed)
    words = [f"{word} " for word in ("the", "assistant", "answer", "is", "relevant", "accurate")]
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for model in range(models):
            for question in range(81, 161):
                level = rng.gauss(6, 2)
                for turn in (1, 2):
                    rating = min(10, max(1, round(level + rng.gauss(0, 1))))
                    said = "".join(rng.choices(words, k=140)) + f"Rating: [[{rating}]]"
                    row = {
                        "question_id": question, "model": f"model-{model}",
                        "judge": ["gpt-4", "single-v1"], "judgment": said, "score": rating,
                        "turn": turn, "tstamp": 1700000000.0 + count,
                    }  # fmt: skip
                    stream.write(json.dumps(row) + "\n")
                    count += 1
    return count


def rescore_race(folder: Path, *, models: int, repeats: int) -> dict[str, Any]:
    """A file of judgments into every figure."""
    path = folder / "judgments.jsonl"
    count = write_judgments(path, models=models)

    def of(found: dict[str, Any]) -> Bounds:
        return {m["model"]: (m["average"], *m["interval"]) for m in found["models"]}

    def command() -> Bounds:
        words = ["eval", "rescore", "mt-bench", "--judgments", str(path), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "zephyrctl", *words], capture_output=True, check=True
        )
        return of(json.loads(done.stdout))

    def function() -> Bounds:
        return of(rescore(read_rows(path)).to_json())

    def plain() -> Bounds:
        values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                row = json.loads(line)
                rating = parse_rating(row["judgment"])
                values[row["model"]][row["question_id"]].append(float(rating or 0))
        return {
            model: plain_bounds([sum(v) for v in of.values()], [len(v) for v in of.values()],
                                [str(category_of(question)) for question in of])
            for model, of in values.items()
        }  # fmt: skip

    contenders = {"command": command, "function": function, "plain": plain}
    result = raced(contenders, repeats=repeats, against="plain")
    return {"judgments": count, "megabytes": round(path.stat().st_size / 1e6, 1), **result}


def bootstrap_race(questions: int, turns: int, *, repeats: int) -> dict[str, Any]:
    """Intervals of two models and of their difference."""
    rng = np.random.default_rng(questions)
    level = rng.normal(6, 2, questions)
    models = {name: level[:, None] + rng.normal(0, 1, (questions, turns)) for name in ("a", "b")}
    strata = {question: question * 8 // questions for question in range(questions)}
    groups = [question for question in range(questions) for _ in range(turns)]
    labels = [str(strata[question]) for question in range(questions)]
    sums = {name: values.sum(axis=1) for name, values in models.items()}
    sums["b - a"] = sums["b"] - sums["a"]

    def ours() -> Bounds:
        found: Bounds = {}
        for name, values in models.items():
            interval = bootstrap_mean(
                values.ravel().tolist(), groups, replicates=REPLICATES, seed=0, strata=strata
            )
            found[name] = (interval.value, interval.low, interval.high)
        a, b = (dict(enumerate(values.mean(axis=1).tolist())) for values in models.values())
        apart = paired_difference(a, b, replicates=REPLICATES, seed=0, strata=strata)
        return {**found, "b - a": (apart.value, apart.low, apart.high)}

    def loop() -> Bounds:
        return {name: numpy_bounds(of, turns, labels) for name, of in sums.items()}

    def plain() -> Bounds:
        counts = [turns] * questions
        return {name: plain_bounds(of.tolist(), counts, labels) for name, of in sums.items()}

    contenders = {"ours": ours, "numpy-loop": loop, "plain": plain}
    result = raced(contenders, repeats=repeats, against="plain")
    return {"questions": questions, "turns": turns, "replicates": REPLICATES, **result}


def numpy_bounds(sums: np.ndarray, turns: int, labels: Sequence[str]) -> tuple[float, float, float]:
    """One replicate after the other, each drawn with numpy; `sums` (Q,) over the turns."""
    rng = np.random.default_rng(1)
    names = np.array(labels)
    places = [np.flatnonzero(names == name) for name in dict.fromkeys(labels)]
    means = []
    for _ in range(REPLICATES):
        total = 0.0
        for of in places:
            drawn = rng.choice(of, size=len(of) - 1)
            total += sums[drawn].sum() * len(of) / (len(of) - 1)
        means.append(total / (turns * len(sums)))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(sums.sum()) / (turns * len(sums)), float(low), float(high)


def plain_bounds(
    sums: Sequence[float], counts: Sequence[int], labels: Sequence[str]
) -> tuple[float, float, float]:
    """One replicate after the other, without numpy."""
    rng = random.Random(1)
    places: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(labels):
        places[name].append(place)
    means = []
    for _ in range(REPLICATES):
        total = drawn = 0.0
        for of in places.values():
            weight = len(of) / (len(of) - 1)
            for place in rng.choices(of, k=len(of) - 1):
                total += weight * sums[place]
                drawn += weight * counts[place]
        means.append(total / drawn)
    cuts = statistics.quantiles(means, n=40, method="inclusive")
    return sum(sums) / sum(counts), cuts[0], cuts[-1]


def raced(
    contenders: dict[str, Callable[[], Bounds]], *, repeats: int, against: str
) -> dict[str, Any]:
    """Times of all contenders, how many times as fast as `against` each is, and whether they came
    to the same."""
    times, results = {}, {}
    for name, work in contenders.items():
        times[name], results[name] = timed(work, repeats=1 if name == against else repeats)
    reference = results[against]
    off = [
        [abs(x - y) for x, y in zip(found[key], reference[key], strict=True)]
        for found in results.values()
        for key in reference
    ]
    return {
        "contenders": {name: found.to_json() for name, found in times.items()},
        "times_as_fast": {
            name: round(times[against].cpu_s / found.cpu_s, 2)
            for name, found in times.items()
            if name != against
        },
        "largest_difference": {
            "mean": max(row[0] for row in off),
            "bounds": round(max(max(row[1:]) for row in off), 4),
        },
    }


def facts() -> dict[str, Any]:
    """Machine, versions, date."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "versions": {name: version(name) for name in ("zephyrctl", "numpy")},
    }


def missed(races: dict[str, Any]) -> list[str]:
    """What is over its limit, or did not come to the same."""
    found = []
    command = races["rescore"]["contenders"]["command"]["cpu_s"]
    if races["rescore"]["judgments"] <= 10_500 and command > COMMAND_LIMIT_S:
        found.append(f"rescore took {command:.2f} s, over {COMMAND_LIMIT_S:g}")
    for name, race in races.items():
        ours = race["contenders"].get("ours")
        if ours is not None and ours["cpu_s"] > BOOTSTRAP_LIMIT_S:
            found.append(f"{name} took {ours['cpu_s']:.2f} s, over {BOOTSTRAP_LIMIT_S:g}")
        off = race["largest_difference"]
        if off["mean"] > 1e-9 or off["bounds"] > 0.1:
            found.append(f"{name}: the contenders did not come to the same ({off})")
    return found


def lines(result: dict[str, Any]) -> list[str]:
    """The figures as people read them."""
    found = []
    for name, race in result["races"].items():
        size = ", ".join(f"{key} {race[key]:,}" for key in race if not isinstance(race[key], dict))
        found += [f"{name}: {size}", f"{'contender':<12}{'wall s':>9}{'CPU s':>9}  times as fast"]
        for contender, of in race["contenders"].items():
            ratio = race["times_as_fast"].get(contender, 1.0)
            row = f"{contender:<12}{of['wall_s']:>9.4f}{of['cpu_s']:>9.4f}{ratio:>15.1f}"
            found.append(row)
        off = race["largest_difference"]
        found += [f"means differ by {off['mean']:.1e}, bounds by {off['bounds']:.3f}", ""]
    return [*found, *(f"MISSED: {text}" for text in result["missed"])]


def write(result: dict[str, Any], folder: Path, name: str) -> None:
    """`NAME.json` and `NAME.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    about = result["machine"]
    head = (
        f"# {name}\n\n    {result['command']}\n\n{about['date']}; {about['cores']} cores, "
        f"{about['threads']} thread(s); {about['platform']}; Python {about['python']}, "
        f"numpy {about['versions']['numpy']}.\n\n```\n"
    )
    body = "\n".join(lines(result)).rstrip()
    (folder / f"{name}.md").write_text(f"{head}{body}\n```\n", encoding="utf-8")


def main() -> int:
    """Race, print, and keep the result where a folder is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=63, help="models of 160 judgments each")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds of each contender")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="folder for NAME.json and NAME.md")
    parser.add_argument("--out-name", default="cpu-evaluation-speed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        races = {
            "rescore": rescore_race(Path(folder), models=args.models, repeats=args.repeats),
            "bootstrap-80": bootstrap_race(80, 2, repeats=args.repeats),
            "bootstrap-805": bootstrap_race(805, 1, repeats=args.repeats),
        }
    words = f"python benchmarks/evaluation_speed.py --models {args.models} --repeats {args.repeats}"
    result = {
        "benchmark": "evaluation_speed", "command": words, "machine": facts(), "races": races,
        "missed": missed(races),
    }  # fmt: skip
    if args.out:
        write(result, args.out, args.out_name)
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 1 if result["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
