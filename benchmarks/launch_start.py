"""How much later does a worker begin under our supervisor than under plain torchrun?

    python benchmarks/launch_start.py [--repeat 9] [--processes 1] [--json] [--out FILE]

Each round starts the same worker twice, by `zephyrctl.launch.local.start` and by a torchrun of the
same number of processes, in an order that alternates. The worker writes the time at its first line.
Printed are medians over the rounds and the median of the rounds' differences, in seconds; exit 1
where that is more than the 0.3 s that the project promises.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.launch import Launch
from zephyrctl.launch.local import start
from zephyrctl.launch.plan import Host, plan_launch
from zephyrctl.runs.store import open_run

LIMIT_S = 0.3
WORKER = """\
import time
now = time.time()
import os
with open(os.environ["FIRST_LINE"] + "." + os.environ["RANK"], "w") as stream:
    stream.write(repr(now))
"""


def rounds(folder: Path, *, repeat: int, processes: int) -> list[tuple[float, float]]:
    """Seconds until the last worker's first line, (supervised, plain) of each round."""
    script = folder / "worker.py"
    script.write_text(WORKER)
    os.environ["FIRST_LINE"] = str(folder / "first")
    settings = Launch(gpus="none", cpu_processes=processes)
    run = open_run(Recipe(name="start", output_root=str(folder)))
    host = Host([], cores=os.cpu_count() or 1, env_names=tuple(os.environ))
    plan = plan_launch(run, "sft", settings, host=host, worker=(str(script),))
    plain = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), str(script),
    ]  # fmt: skip

    def supervised() -> None:
        start(plan, settings)

    def bare() -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(plain, stdin=quiet, stdout=quiet, stderr=quiet, check=True)

    for contender in (supervised, bare):
        _seconds(contender, folder)  # files are read from the disk once
    measured: list[tuple[float, float]] = []
    for number in range(repeat):
        order = (supervised, bare) if number % 2 == 0 else (bare, supervised)
        found = {contender: _seconds(contender, folder) for contender in order}
        measured.append((found[supervised], found[bare]))
    return measured


def _seconds(contender: Callable[[], None], folder: Path) -> float:
    began = time.time()
    contender()
    files = list(folder.glob("first.*"))
    last = max(float(path.read_text()) for path in files)
    for path in files:
        path.unlink()
    return last - began


def report(measured: list[tuple[float, float]], *, processes: int) -> dict[str, object]:
    """The figures, in seconds."""
    ours, plain = (statistics.median(column) for column in zip(*measured, strict=True))
    difference = statistics.median(a - b for a, b in measured)
    return {
        "supervised_s": round(ours, 3),
        "torchrun_s": round(plain, 3),
        "difference_s": round(difference, 3),
        "ratio": round(ours / plain, 3),
        "limit_s": LIMIT_S,
        "ok": difference <= LIMIT_S,
        "processes": processes,
        "rounds": [[round(a, 3), round(b, 3)] for a, b in measured],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=9, help="rounds")
    parser.add_argument("--processes", type=int, default=1, help="processes of each start")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, help="write the JSON object to a file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = rounds(Path(folder), repeat=given.repeat, processes=given.processes)
    found = report(measured, processes=given.processes)
    if given.out:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if given.json:
        print(json.dumps(found))
    else:
        print(f"supervised {found['supervised_s']} s, torchrun {found['torchrun_s']} s")
        print(f"difference {found['difference_s']} s of {LIMIT_S}, ratio {found['ratio']}")
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
