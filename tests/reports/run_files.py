"""Run folders with every file the reports read, written by the writers of the run itself."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.runs.atomic import append_jsonl, write_json, write_text
from zephyrctl.runs.manifest import Manifest
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run, StageName

HOSTILE = (
    '</script><script>alert(1)</script> <img src="http://evil.example/x.png"> \x1b]52;c;AA\x07'
)
START = 1_795_000_000.0
HARDWARE = {"cpu": "Test CPU", "cpu_cores": 2, "memory_bytes": 8 * 2**30, "gpus": []}


class Clock:
    """A clock that the test moves."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make_run(root: Path, **settings: Any) -> Run:
    """An empty run with its configuration."""
    recipe = Recipe.model_validate({"name": root.name, **settings})
    root.mkdir(parents=True)
    write_json(root / "config.json", recipe.model_dump(mode="json"))
    write_text(root / "config.yaml", f"# recipe tiny\nname: {root.name}  # {HOSTILE}\n")
    write_json(
        root / "manifest.json",
        {
            "run": root.name, "created": "2026-11-22T10:00:00.000+00:00", "updated": "",
            "source": "zephyr.yaml ← recipe tiny", "config_digest": "c0ffee" * 10,
        },
    )  # fmt: skip
    return Run(root)


def finish_stage(run: Run, stage: StageName, **changes: Any) -> None:
    """Write the manifest of a finished stage."""
    manifest = Manifest(
        stage=stage, state="finished", started="2026-11-22T10:00:00.000+00:00",
        attempt_started="2026-11-22T10:00:00.000+00:00", seconds=61.5, inputs={}, digest="0" * 64,
        seed=7, world_size=1, hardware=HARDWARE, versions={"torch": "2.13.0", "trl": "1.16.0"},
        code={"zephyrctl": "0.1.0", "source": "ab" * 32, "commit": None},
    ).model_copy(update=changes)  # fmt: skip
    write_json(run.stage(stage).manifest_path, manifest.model_dump(mode="json"))


def training_values(stage: str, share: float, noise: random.Random) -> dict[str, float]:
    """Plausible metrics at a share of the steps."""
    loss = 0.9 + 1.4 * math.exp(-4 * share) + noise.gauss(0, 0.03)
    values = {"loss": loss, "learning_rate": 5e-7 * (1 - share) + 1e-9, "grad_norm": 1.3}
    if stage == "sft":
        return values | {"mean_token_accuracy": 0.4 + 0.3 * share, "tokens_per_second": 200.0}
    return values | {
        "loss": math.log(2) - 0.2 * share, "rewards/accuracies": 0.5 + 0.3 * share,
        "rewards/margins": 0.7 * share, "logps/chosen": -262.1 - 20 * share,
        "logps/rejected": -270.0 - 40 * share,
    }  # fmt: skip


def write_training(
    run: Run,
    stage: StageName,
    *,
    steps: int = 60,
    until: int | None = None,
    clock: Clock | None = None,
    after_record: Callable[[], None] = lambda: None,
) -> None:
    """A training stage's stream: one second a step, evaluation every 20 steps of 5 seconds."""
    clock = clock or Clock()
    reporter = Reporter(run.stage(stage).path, rank=0, clock=clock)
    noise = random.Random(0)
    reporter.event("started", attempt=1)
    for step in range((steps if until is None else until) + 1):
        values = training_values(stage, step / steps, noise)
        if step > 0:
            clock.now += 1.0
            reporter.metrics(step=step, total=steps, values=values)
            after_record()
        if step % 20 == 0:
            clock.now += 5.0
            reporter.metrics(step=step, total=steps, values=values, split="eval")
            after_record()
    for step, text in ((0, "As an AI language model, I"), (steps, "Paris.")):
        append_jsonl(
            run.stage(stage).samples_path,
            {"step": step, "prompt": "What is the capital of France?", "completion": text,
             "stopped": step > 0, "tokens": 7},
        )  # fmt: skip


ACCOUNT = {
    "format": 1,
    "tokenizer": "x",
    "template_sha256": "00",
    "decontamination": [
        {"name": "rules", "status": "checked", "prompts": 200, "digest": "ab"},
        {"name": "mt-bench", "status": "NOT CHECKED", "prompts": 0,
         "reason": "eval.data_dir is not set"},
    ],
    "notices": [],
    "sft": {
        "sources": [{"path": "/home/someone/d.jsonl", "split": "train", "format": "messages",
                     "digest": "ab", "rows": 512, "repeated": 0}],
        "rows_in": 512, "rows_out": {"train": 420, "test": 28},
        "removed": {"refusal": 40, "duplicate": 24},
        "repaired": {"case restored": 12}, "flagged": {},
        "splits": {"train": {"rows": 420, "tokens": 33600, "quantiles": {"p50": 80},
                             "longest": 96, "rows_cut": 7, "prompts_cut": 0}},
        "length_bias": None, "estimated_steps": 60,
        "samples": {"refusal": [{"where": "d.jsonl:3", "text": HOSTILE}]}, "matches": [],
    },
    "dpo": {
        "sources": [], "rows_in": 300, "rows_out": {"train": 280, "test": 20}, "removed": {},
        "repaired": {}, "flagged": {}, "splits": {},
        "length_bias": {"pairs": 280, "mean_difference": 12.5, "chosen_longer": 0.61},
        "estimated_steps": 60, "samples": {}, "matches": [],
    },
}  # fmt: skip


def write_evaluation(run: Run) -> None:
    """Answers, judgments, scores and comparisons of three models on ten questions."""
    for place, model in enumerate(("base", "sft", "dpo")):
        folder = run.root / "eval" / "rules" / model
        for at in range(10):
            passed = at < 3 + 3 * place
            append_jsonl(
                folder / "answers.jsonl",
                {"question_id": f"q{at}", "turn": 1, "answer": f"{model} says {at} {HOSTILE}",
                 "tokens": 4, "stopped": True},
            )  # fmt: skip
            append_jsonl(
                folder / "code" / "judgments.jsonl",
                {
                    "question_id": f"q{at}", "turn": 1, "passed": passed, "category": "capitals",
                    "checks": [{"name": "short", "found": None if passed else "9 words"}],
                    "prompt": f"Question {at}? {HOSTILE}",
                },
            )  # fmt: skip
        rate = 0.3 + 0.3 * place
        entries = [
            {"benchmark": "rules", "model": model, "judge": None, "metric": metric, "value": value,
             "low": max(0.0, value - 0.07), "high": min(1.0, value + 0.07), "n": 10}
            for metric, value in (("pass_rate", rate), ("refusal_rate", 0.2 - 0.1 * place),
                                  ("hedging_rate", 0.0))
        ]  # fmt: skip
        write_json(
            folder / "code" / "scores.json",
            {"scores": entries, "categories": {"capitals": {"pass_rate": rate, "n": 10}}},
        )
    write_json(
        run.root / "eval" / "rules" / "comparisons.json",
        {"comparisons": [
            {"benchmark": "rules", "a": "base", "b": "sft", "metric": "pass_rate", "judge": None,
             "difference": 0.3, "low": -0.01, "high": 0.4},
            {"benchmark": "rules", "a": "base", "b": "dpo", "metric": "pass_rate", "judge": None,
             "difference": 0.6, "low": 0.45, "high": 0.72},
        ]},
    )  # fmt: skip


def make_full_run(tmp_path: Path) -> Run:
    """A run with all four stages finished."""
    run = make_run(tmp_path / "runs" / "demo", sft={"eval_every": 20})
    write_json(run.root / "data" / "account.json", ACCOUNT)
    finish_stage(run, "data", notices=[f"NOT CHECKED {HOSTILE}"])
    for stage in ("sft", "dpo"):
        write_training(run, stage)
        finish_stage(run, stage)
    write_evaluation(run)
    finish_stage(run, "eval")
    return run
