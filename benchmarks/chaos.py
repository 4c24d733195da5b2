"""Does a run that is killed again and again end like one that nothing disturbed?

    python benchmarks/chaos.py [--kills 50] [--seed 0] [--jobs 2] [--json]

A whole run of the toy recipe (data, sft, dpo, eval, report; checkpoints saved and rotated) is
killed with SIGKILL, the command and every process it started, and the same command is given again
until it ends; a later attempt may be killed too. Then metrics, curves, weights, samples, scores
and prepared data are compared with those of a straight run. Half of the kills come at a random
moment of a random stage; half are aimed at what must happen whole or not at all: chunks,
checkpoints before, while and after they are written and renamed, older ones being deleted, models
and answers. The plan follows from the seed; where in a stage a moment falls also from the clock.

Exit 1 where a round ends unequal, leaves something half-written, or leaves a process behind.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from zephyrctl.runs import heartbeat
from zephyrctl.runs.atomic import read_jsonl
from zephyrctl.runs.digests import digest_bytes, digest_file
from zephyrctl.runs.metrics import read_stream
from zephyrctl.runs.store import STAGES, Run

SETTINGS = {
    "sft.max_steps": 9,
    "sft.save_every": 3,
    "sft.keep_checkpoints": 1,
    "sft.log_every": 1,
    "sft.sample_prompts": 2,
    # Noise, so that the state of the random numbers decides the weights.
    "sft.neftune_alpha": 5,
    "dpo.max_steps": 6,
    "dpo.save_every": 2,
    "dpo.keep_checkpoints": 1,
    "dpo.log_every": 1,
    "dpo.sample_prompts": 2,
    "eval.rules.limit": 24,
    "eval.batch_size": 8,
    "eval.bootstrap": 200,
}
PLACES = (
    "chunk=1", "chunk=4", "step=1", "step=5", "saving=3", "save=3", "saving=6", "save=6", "save=9",
    "publish=0", "finish=0", "saving=2", "save=2", "saving=4", "save=4", "answer=5", "answer=17",
)  # fmt: skip
"""Where the run holds still to be killed (`runs.faults`); 2 and 4 are steps that only DPO saves."""
PATHS = (
    "data/sft", "data/dpo", "data/account.json", "sft/checkpoints/checkpoint-3",
    "sft/checkpoints/checkpoint-6", "sft/checkpoints/checkpoint-9", "sft/model",
    "dpo/checkpoints/checkpoint-4", "dpo/checkpoints/checkpoint-6", "dpo/.model.partial*",
    "dpo/model", "eval/rules/base/answers.jsonl", "eval/rules/dpo/answers.jsonl", "report.html",
)  # fmt: skip
"""What appears by being renamed; the kill comes so soon after it that older ones still go."""
AFTER_S = 0.02
"""Most seconds between a path's appearing and the kill."""
SHARES = {"moment": 0.5, "place": 0.25, "path": 0.25}
MARK = "CHAOS_RUN"
TIMINGS = ("second", "memory", "rss", "time", "predict")
LIMIT_S = 420.0
"""An attempt that takes longer is a failure."""
MOST_ATTEMPTS = 8


@dataclass(frozen=True)
class Aim:
    """When an attempt is to be killed: at a moment of a stage, a place, or a path's appearing."""

    kind: str
    at: str
    """The stage (or `start`), the place, or the pattern of the path."""
    after_s: float = 0.0

    def __str__(self) -> str:
        more = f" + {self.after_s:.2f} s" if self.after_s else ""
        return f"{self.kind} {self.at}{more}"


@dataclass
class Kill:
    """Where a kill hit."""

    round: int
    attempt: int
    aim: str
    stage: str
    step: int
    phase: str
    equal: bool = False


@dataclass
class Round:
    """One run from its first start to its end."""

    number: int
    kills: list[Kill] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    orphans: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Ground:
    """Where everything happens, and what a straight run came to."""

    folder: Path
    windows: Mapping[str, float]
    """Seconds of each stage, from its beginning to that of the next."""
    expected: Mapping[str, Any]


def chaos(*, kills: int, seed: int, jobs: int, folder: Path) -> list[Round]:
    """Rounds until `kills` kills have struck; each is told on stderr as it ends."""
    ground = straight(folder)
    rounds: list[Round] = []
    told = threading.Lock()

    def one(number: int, most: int) -> Round:
        found = play(ground, number, plan(seed, number, ground.windows)[:most])
        with told:
            tell(found)
        return found

    with ThreadPoolExecutor(jobs) as pool:
        try:
            while (left := kills - sum(len(done.kills) for done in rounds)) > 0:
                # A run may end before the kill meant for it: then more rounds are played.
                sizes = shares(seed, len(rounds), left, ground.windows)
                numbers = range(len(rounds), len(rounds) + len(sizes))
                rounds += pool.map(one, numbers, sizes)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for pid in marked(str(folder)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise
    return rounds


def plan(seed: int, number: int, windows: Mapping[str, float]) -> list[Aim]:
    """What round `number` is to suffer, attempt after attempt."""
    rng = random.Random(f"{seed}/{number}")
    return [_aim(rng, windows) for _ in range(rng.choice((1, 1, 1, 2, 2, 3)))]


def shares(seed: int, first: int, kills: int, windows: Mapping[str, float]) -> list[int]:
    """How many kills the following rounds take until there are `kills`."""
    sizes: list[int] = []
    while kills > 0:
        sizes.append(min(kills, len(plan(seed, first + len(sizes), windows))))
        kills -= sizes[-1]
    return sizes


def _aim(rng: random.Random, windows: Mapping[str, float]) -> Aim:
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    if kind == "moment":
        stage = rng.choice(list(windows))
        return Aim(kind, stage, rng.uniform(0.0, windows[stage]))
    if kind == "place":
        return Aim(kind, rng.choice(PLACES))
    return Aim(kind, rng.choice(PATHS), rng.uniform(0.0, AFTER_S))


def straight(folder: Path) -> Ground:
    """Run once without a kill, and learn how long its stages take."""
    run, began = Run(folder / "runs" / "straight"), time.time()
    child = start(folder, "straight", fault=None)
    if child.wait(timeout=LIMIT_S):
        raise SystemExit(f"the straight run failed: {folder / 'straight.log'}")
    begins = [began, *(_begin(run, stage) for stage in STAGES), time.time()]
    names = ("start", *STAGES)
    windows = {name: begins[i + 1] - begins[i] for i, name in enumerate(names)}
    shutil.copytree(_cache(folder, "straight") / "models", folder / "models")
    return Ground(folder, windows, outcome(run))


def play(ground: Ground, number: int, aims: Sequence[Aim]) -> Round:
    """One round: kill as planned, give the same command again until it ends, compare."""
    began, found = time.monotonic(), Round(number)
    name = f"round-{number}"
    run = Run(ground.folder / "runs" / name)
    shutil.copytree(ground.folder / "models", _cache(ground.folder, name) / "models")
    waiting = list(aims)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        aim = waiting.pop(0) if waiting else None
        fault = f"{aim.at}:hang" if aim is not None and aim.kind == "place" else None
        child = start(ground.folder, name, fault=fault)
        struck = aim is not None and wait_for(aim, child, run, name=name)
        if struck:
            found.orphans += kill_tree(child, mark=str(run.root))
            found.kills.append(_where(run, number, attempt, str(aim)))
            continue
        try:
            code = child.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            kill_tree(child, mark=str(run.root))
            found.unequal.append(f"attempt {attempt} did not end")
            break
        if code:
            found.unequal.append(f"attempt {attempt} ended with {code}")
        break
    found.orphans += len(marked(str(run.root)))
    if not found.unequal:
        found.unequal = differences(ground.expected, outcome(run))
    for kill in found.kills:
        kill.equal = not found.unequal and not found.orphans
    if not found.unequal:
        shutil.rmtree(run.root)
    shutil.rmtree(ground.folder / f"{name}.cache")
    found.seconds = time.monotonic() - began
    return found


def start(folder: Path, name: str, *, fault: str | None) -> subprocess.Popen[bytes]:
    """The command, with a home and a cache of its own; its output goes to `NAME.log`."""
    words = ["run", "--recipe", "tiny", "--progress", "none", "--set", f"name={name}"]
    words += [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    env = {key: value for key, value in os.environ.items() if not key.startswith("ZEPHYRCTL_")}
    env |= {
        MARK: str(folder / "runs" / name),
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(_cache(folder, name).parent),
        "HF_HUB_OFFLINE": "1",
        "ZEPHYRCTL_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    if fault is not None:
        (folder / f"{name}.met").unlink(missing_ok=True)
        env |= {"ZEPHYRCTL_FAULT": fault, "ZEPHYRCTL_FAULT_ONCE": str(folder / f"{name}.met")}
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "zephyrctl", *words],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def wait_for(aim: Aim, child: subprocess.Popen[bytes], run: Run, *, name: str) -> bool:
    """Wait for the moment of the kill; False where the command ended before it."""
    started, deadline = time.time(), time.monotonic() + LIMIT_S
    met = run.root.parent.parent / f"{name}.met"
    there = list(run.root.glob(aim.at)) if aim.kind == "path" else []
    while child.poll() is None and time.monotonic() < deadline:
        if aim.kind == "place" and met.exists():
            return True
        if aim.kind == "path" and [path for path in run.root.glob(aim.at) if path not in there]:
            time.sleep(aim.after_s)
            return child.poll() is None
        if aim.kind == "moment":
            begun = started if aim.at == "start" else _begin(run, aim.at)
            if begun >= started or _is_over(run, aim.at):
                time.sleep(aim.after_s)
                return child.poll() is None
        time.sleep(0.001 if aim.kind == "path" else 0.02)
    return False


def kill_tree(child: subprocess.Popen[bytes], *, mark: str) -> int:
    """SIGKILL to the command and all its processes at once; how many had to be killed again."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(child.pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 10.0
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = marked(mark)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def marked(mark: str) -> list[int]:
    """Living processes of a run, or of every run under a folder, by the mark in their
    environment."""
    found: list[int] = []
    sign = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            values = (folder / "environ").read_bytes().split(b"\0")
            if any(value == sign or value.startswith(sign + b"/") for value in values):
                found.append(int(folder.name))
    return found


def outcome(run: Run) -> dict[str, Any]:
    """What must not depend on how often a run was killed, by name."""
    found: dict[str, Any] = {"left half-written": sorted(_half_written(run.root))}
    for name in STAGES:
        stage = run.stage(name)
        manifest = stage.read_manifest()
        if manifest is None:
            return {"stages": f"{name} has no manifest"}
        found[f"{name} state"] = manifest.state
        found[f"{name} metrics"] = {
            key: value
            for key, value in manifest.metrics.items()
            if not any(word in key for word in TIMINGS)
        }
    found["data digests"] = (run.stage("data").read_manifest() or manifest).outputs
    for name in ("sft", "dpo"):
        stage = run.stage(name)
        found[f"{name} weights"] = digest_file(stage.model / "model.safetensors")
        found[f"{name} samples"] = digest_bytes(stage.samples_path.read_bytes())
        found[f"{name} curve"] = [
            [record["split"], record["step"], record["values"].get("loss")]
            for record in read_jsonl(stage.metrics_path)
            if record["kind"] == "metrics"
        ]
    for path in sorted(run.stage("eval").path.rglob("scores.json")):
        shown = path.relative_to(run.root).as_posix()
        found[shown] = json.loads(path.read_text())["scores"]
    for path in sorted(run.stage("eval").path.rglob("answers.jsonl")):
        rows = sorted(
            [str(row["question_id"]), row["turn"], row["answer"]] for row in read_jsonl(path)
        )
        found[path.relative_to(run.root).as_posix()] = rows
    found["report"] = (run.root / "report.html").is_file()
    return found


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Names of what is not equal."""
    names = dict.fromkeys([*expected, *found])
    return [name for name in names if expected.get(name) != found.get(name)]


def _half_written(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        if ".partial" in path.name or ".old-" in path.name or path.name.endswith(".tmp"):
            yield path.relative_to(root).as_posix()


def _where(run: Run, number: int, attempt: int, aim: str) -> Kill:
    """Which stage was at work, at which step, and doing what."""
    begun = [stage for stage in STAGES if _begin(run, stage)]
    stage = max(begun, key=lambda name: _begin(run, name)) if begun else "start"
    if not begun:
        return Kill(number, attempt, aim, stage, 0, "start")
    records, _ = read_stream(run.stage(stage).metrics_path)
    step = max((r["step"] for r in records if r["kind"] == "metrics"), default=0)
    beats = heartbeat.read(run.stage(stage).path)
    phase = "over" if _is_over(run, stage) else beats[0].doing if beats else "start"
    return Kill(number, attempt, aim, stage, step, phase)


def _begin(run: Run, stage: str) -> float:
    """When the last attempt at a stage began; 0 where there was none."""
    manifest = _manifest(run, stage)
    began = manifest.get("attempt_started")
    return datetime.fromisoformat(began).timestamp() if began else 0.0


def _is_over(run: Run, stage: str) -> bool:
    return _manifest(run, stage).get("state") == "finished"


def _manifest(run: Run, stage: str) -> dict[str, Any]:
    try:
        return json.loads((run.root / stage / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}


def _cache(folder: Path, name: str) -> Path:
    return folder / f"{name}.cache" / "zephyrctl"


def tell(found: Round) -> None:
    """One line a kill, and what a round came to."""
    for kill in found.kills:
        print(
            f"round {kill.round:>2} attempt {kill.attempt}  {kill.stage:<5} step {kill.step:<2} "
            f"{kill.phase:<18.18}  aimed at {kill.aim}",
            file=sys.stderr,
        )
    verdict = "equal" if not found.unequal else f"UNEQUAL: {', '.join(found.unequal)}"
    orphans = f", {found.orphans} ORPHANS" if found.orphans else ""
    print(f"round {found.number:>2} {verdict}{orphans}  {found.seconds:.0f} s", file=sys.stderr)


def main() -> int:
    """Play, print, and say whether every round ended equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", type=Path, help="an empty folder; unequal runs stay in it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = (options.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        rounds = chaos(kills=options.kills, seed=options.seed, jobs=options.jobs, folder=folder)
    moments = [kill for found in rounds for kill in found.kills]
    equal = sum(kill.equal for kill in moments)
    is_well = all(not found.unequal and not found.orphans for found in rounds)
    if options.json:
        shown = [asdict(kill) for kill in moments]
        print(json.dumps({"kills": len(moments), "equal": equal, "moments": shown}))
    else:
        print(f"{equal}/{len(moments)} kills in {len(rounds)} rounds ended like a straight run")
    return 0 if is_well else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
