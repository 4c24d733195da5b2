"""What did a training stage reach, and is it what was published?"""

from typing import Any

from zephyrctl.config.schema.training import Training
from zephyrctl.errors import ConfigError, Problem
from zephyrctl.registry import did_you_mean
from zephyrctl.training.callbacks import peak_memory
from zephyrctl.training.method import Method, Plan

RESCORED_ROWS = 64
RESCORED_TOKENS_ON_CPU = 4096


def metrics(method: Method, plan: Plan) -> dict[str, Any]:
    """The final metrics of the stage, for its manifest; what was published is compared and said."""
    progress, job, policy = plan.watch.progress, plan.job, plan.policy
    metrics: dict[str, Any] = {
        "train_loss": progress.mean_loss,
        **method.result(plan),
        "steps": job.steps,
        "epochs": plan.order.epochs(job.steps),
        "examples": plan.order.examples,
        "held_out": len(plan.splits.test),
        "tokens": progress.tokens,
        "tokens_per_second": progress.tokens / max(progress.seconds, 1e-9),
        "train_seconds": progress.seconds,
        "loss_spikes": progress.spikes,
        "peak_memory_bytes": max(progress.peak_memory_bytes, peak_memory(job.world)),
        "parameters": policy.total,
        "trained_parameters": policy.trained,
        "micro_batch_size": job.passes.largest,
        "micro_batch_tokens": job.passes.most_tokens,
        "accumulation_steps": job.passes.per_step,
    }
    compared = compare_with_expected(method.training, metrics)
    for name, entry in compared.items():
        word = "within" if entry["within"] else "OUTSIDE"
        plan.reporter.notice(
            f"{name} {entry['value']:.4f} is {word} {entry['expected']:g} ± {entry['tolerance']:g}"
            f"{f' ({source})' if (source := entry['source']) else ''}",
            level="info" if entry["within"] else "warning",
        )
    return metrics | ({"expected": compared} if compared else {})


def check_expected(method: Method) -> None:
    """ConfigError for an `expected` metric that this stage does not report."""
    known = (*method.metric_names, "steps", "tokens")
    problems = [
        Problem(
            f"the {method.stage} stage reports no metric '{name}'{did_you_mean(name, known)}",
            f"{method.stage}.expected.{name}",
            f"known: {', '.join(known)}",
        )
        for name in method.training.expected
        if name not in known
    ]
    if problems:
        raise ConfigError.of(problems)


def compare_with_expected(training: Training, metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each published value beside the one of this run; one that was not measured is left out."""
    return {
        name: {
            "value": metrics[name],
            "expected": published.value,
            "tolerance": published.tolerance,
            "within": abs(metrics[name] - published.value) <= published.tolerance,
            "source": published.source,
        }
        for name, published in training.expected.items()
        if name in metrics
    }


def rescored_rows(lengths: list[int], *, on_cpu: bool) -> list[int]:
    """Held-out rows to score again, evenly spread over the split; on a CPU within a few seconds."""
    count = min(RESCORED_ROWS, len(lengths))
    if on_cpu and lengths:
        mean = max(1, sum(lengths) // len(lengths))
        count = min(count, max(1, RESCORED_TOKENS_ON_CPU // mean))
    return [i * len(lengths) // count for i in range(count)] if count else []
