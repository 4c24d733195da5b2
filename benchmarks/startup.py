"""How much CPU time does a command take before it does anything?

    python benchmarks/startup.py [--repeat 7]

Prints the median CPU seconds (user + system) of the child process beside the limit. The limits
are those the project promises; exit 1 where one is missed.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

LIMITS = {
    ("--version",): 0.15,
    ("--help",): 0.3,
    ("run", "--help"): 0.3,
    ("config", "check", "--help"): 0.3,
    ("eval", "rules", "--help"): 0.3,
    ("runs", "list"): 0.6,
    ("recipes", "list"): 0.6,
    ("config", "check", "--recipe", "zephyr-7b-qlora"): 0.6,
    ("config", "show", "--recipe", "zephyr-7b-qlora"): 0.6,
}


def cpu_seconds(args: tuple[str, ...], folder: str) -> float:
    """CPU seconds of one `zephyrctl ARGS` in an empty folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "zephyrctl", *args],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        env=os.environ,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7, help="runs of each command")
    repeat = parser.parse_args().repeat
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for args, limit in LIMITS.items():
            cpu_seconds(args, folder)  # byte code is compiled once
            seconds = statistics.median(cpu_seconds(args, folder) for _ in range(repeat))
            missed += seconds > limit
            mark = "over" if seconds > limit else "ok"
            print(f"{seconds:6.3f} s  of {limit:.2f}  {mark:<4}  zephyrctl {' '.join(args)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
