"""How good is each model on each benchmark, and which differences are real?

First the answers of one model after the other (each loaded at most once, and freed before the
next), then the judgments, then scores and comparisons. Answers and judgments that already stand
are used again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zephyrctl.catalogue import BENCHMARKS
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import GateMissed, UsageError, quoted
from zephyrctl.evaluation.benchmark import (
    Answer,
    Benchmark,
    Judgment,
    LeftOut,
    Match,
    Scores,
)
from zephyrctl.evaluation.comparison import by_repeat, compare
from zephyrctl.evaluation.conduct import with_conduct
from zephyrctl.evaluation.doubts import judge_doubts
from zephyrctl.evaluation.judge_card import find_card
from zephyrctl.evaluation.judging import keep_only
from zephyrctl.evaluation.scores import Places, asked_as, standing, write_by_question, write_scores
from zephyrctl.evaluation.sharing import Share
from zephyrctl.evaluation.spending import metered
from zephyrctl.generation.answerer import Subject, subject_of
from zephyrctl.runs import heartbeat, signals
from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.digests import digest_json
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.references import resolve_model
from zephyrctl.runs.signals import raise_if_stopping
from zephyrctl.runs.store import Run
from zephyrctl.stages.answering import answer_all, share_of_process


@dataclass(frozen=True)
class _Job:
    """What all steps need."""

    recipe: Recipe
    run: Run
    reporter: Reporter
    share: Share

    def places(self, benchmark: Benchmark) -> Places:
        return Places.of(self.run, benchmark)


def run(recipe: Recipe, run: Run) -> Result:
    """Score `eval.models` on `eval.benchmarks`; GateMissed after everything is written where a
    score is under `eval.fail_under` or too few verdicts stand."""
    job = _Job(recipe, run, run.stage("eval").reporter(), share_of_process())
    with metered(recipe) as meter:
        try:
            result = _run(job)
        except BaseException:
            if meter.line is not None:
                job.reporter.notice(meter.line)
            raise
    return replace(result, metrics=result.metrics | meter.to_json())


def _run(job: _Job) -> Result:
    recipe, run = job.recipe, job.run
    subjects = _subjects(job)
    benchmarks = _benchmarks(job)
    answers = answer_all(run, benchmarks, subjects, share=job.share, reporter=job.reporter)
    if not job.share.is_first:  # the first process judges what all have answered
        return Result({}, [])
    metrics: dict[str, Any] = {}
    outputs: list[Path] = []
    gates: list[str] = []
    for benchmark in benchmarks:
        scores = _score(job, benchmark, subjects, answers[benchmark.name])
        with signals.at_once(), heartbeat.resting("comparing"):
            outputs += _write_comparisons(job, benchmark, scores)
        outputs += [job.places(benchmark).scores(match) for match in scores]
        for match, found in scores.items():
            for score in found.scores[:1]:
                metrics[f"{benchmark.name}.{match.model}.{score.metric}"] = score.value
        gates += _missed(benchmark, scores, recipe.eval.fail_under)
    if gates:
        raise GateMissed(
            "; ".join(gates),
            where=str(run.stage("eval").path),
            hint=f"zephyrctl eval show {quoted(run.root)}",
        )
    return Result(metrics, outputs)


def _subjects(job: _Job) -> dict[str, Subject]:
    """The models to be scored by their names, in the order of the recipe."""
    root = Path(job.recipe.output_root).expanduser()
    found: dict[str, Subject] = {}
    for name in job.recipe.eval.models:
        ref = resolve_model(name, output_root=root, run=job.run, recipe=job.recipe)
        if ref.name in found:
            raise UsageError(f"two models have the name '{ref.name}'", where=f"eval.models: {name}")
        subject = subject_of(
            ref,
            model=job.recipe.model,
            at_once=job.recipe.eval.batch_size,
            engine=job.recipe.eval.engine,
        )
        for text in subject.notices:
            job.reporter.notice(f"{subject.name}: {text}")
        found[ref.name] = subject
    if not found:
        raise UsageError("no model to score", where="eval.models", hint="zephyrctl eval rules @dpo")
    return found


def _benchmarks(job: _Job) -> list[Benchmark]:
    found: list[Benchmark] = []
    for name in job.recipe.eval.benchmarks:
        made = BENCHMARKS.load(name)(job.recipe)
        if isinstance(made, LeftOut):
            job.reporter.notice(f"{name} is left out: {made.reason}")
        else:
            found.append(made)
    return found


def _score(
    job: _Job,
    benchmark: Benchmark,
    subjects: Mapping[str, Subject],
    answers: Mapping[str, list[Answer]],
) -> dict[Match, Scores]:
    """Judge the answers and write what each match came to."""
    places = job.places(benchmark)
    found: dict[Match, Scores] = {}
    try:
        for match in benchmark.matches(list(subjects), baseline=_baseline(job)):
            raise_if_stopping()
            judgments = benchmark.judge(
                answers,
                match,
                path=places.judgments(match),
                on_done=_teller(job, f"{benchmark.name} judgments of {match.label}", "judgments"),
            )
            keep_only(places.judgments(match), judgments)
            scores = _with_doubts(job, benchmark, judgments, match)
            told = {model for other in found for model in (other.model, other.opponent)}
            for model in (match.model, match.opponent):
                if model is not None and model not in told:
                    scores = with_conduct(
                        scores,
                        answers[model],
                        benchmark=benchmark,
                        match=Match(model),
                        replicates=job.recipe.eval.bootstrap,
                        seed=job.recipe.seed,
                    )
            found[match] = scores
            about = _about(job, benchmark, match, subject=subjects[match.model], answers=answers)
            write_scores(places.scores(match), scores, about=about)
            write_by_question(places.by_question(match), scores, questions=benchmark.questions)
            for text in scores.notices:
                job.reporter.notice(text, level="warning")
        _say_of_judge(job, benchmark)
    finally:
        benchmark.close()
    return found


def _with_doubts(
    job: _Job, benchmark: Benchmark, judgments: Sequence[Judgment], match: Match
) -> Scores:
    """The scores of a match, with what is known and to be doubted of the judge."""
    scores = benchmark.aggregate(judgments, match)
    judge, settings = benchmark.judged_by, job.recipe.eval.judge
    card = None if judge is None else find_card(judge, settings)
    return replace(
        scores,
        by_repeat=by_repeat(benchmark, judgments, match),
        details=scores.details if card is None else {**scores.details, "judge_card": card},
        notices=(*scores.notices, *judge_doubts(benchmark.judge_name, job.recipe)),
    )


def _say_of_judge(job: _Job, benchmark: Benchmark) -> None:
    """What the judge does not take or give, as found while judging."""
    for text in () if benchmark.judged_by is None else benchmark.judged_by.notices:
        job.reporter.notice(f"judge {benchmark.judge_name}: {text}", level="warning")


def _about(
    job: _Job,
    benchmark: Benchmark,
    match: Match,
    *,
    subject: Subject,
    answers: Mapping[str, list[Answer]],
) -> dict[str, Any]:
    """What the scores of a match belong to."""
    return {
        "model": subject.target,
        "model_digest": subject.digest,
        "weights": _weights(job, match.model),
        "asked_as": asked_as(benchmark),
        "template_sha256": subject.template_sha256,
        "benchmark_digest": benchmark.digest,
        "opponent": match.opponent,
        "answers": {
            model: _digest_of(given)
            for model, given in answers.items()
            if model in (match.model, match.opponent)
        },
    }


def _weights(job: _Job, model: str) -> str | None:
    """Digest of the run's own model as it is now; None for a model from elsewhere."""
    if model not in ("sft", "dpo"):
        return None
    manifest = job.run.stage(model).read_manifest()
    return manifest.outputs.get("model") if manifest else None


def _digest_of(answers: Sequence[Answer]) -> str:
    rows = sorted([str(a.question_id), a.turn, a.sample, a.text] for a in answers)
    return digest_json(rows)


def _baseline(job: _Job) -> str | None:
    """The name of the model that the others are compared with."""
    baseline = job.recipe.eval.baseline
    if baseline is None:
        return None
    root = Path(job.recipe.output_root).expanduser()
    return resolve_model(baseline, output_root=root, run=job.run, recipe=job.recipe).name


def _write_comparisons(
    job: _Job, benchmark: Benchmark, scores: Mapping[Match, Scores]
) -> list[Path]:
    """Compare the scored models with each other, and with those scored earlier on the same
    questions."""
    places = job.places(benchmark)
    alone = {match.model: found for match, found in scores.items() if match.opponent is None}
    found = compare(
        benchmark,
        standing(places, benchmark, fresh=alone, weights_of=lambda name: _weights(job, name)),
        baseline=_baseline(job),
        replicates=job.recipe.eval.bootstrap,
        seed=job.recipe.seed,
    )
    write_json(places.comparisons, {"comparisons": [item.to_json() for item in found]})
    return [places.comparisons]


def _missed(
    benchmark: Benchmark, scores: Mapping[Match, Scores], fail_under: float | None
) -> list[str]:
    """What keeps the stage from passing: no score at all, or the last model's under the gate.

    The gate is for models alone; where every match has an opponent, for the last match.
    """
    found = [
        f"{benchmark.name}: too few verdicts on {match.label} to print a score"
        for match, got in scores.items()
        if got.gate is None
    ]
    alone = [match for match in scores if match.opponent is None]
    for last in (alone or list(scores))[-1:]:
        gate = scores[last].gate
        if fail_under is not None and gate is not None and gate < fail_under:
            found.append(f"{benchmark.name}: {last.label} has {gate:.4g}, under {fail_under:g}")
    return found


def _teller(job: _Job, task: str, unit: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        job.reporter.progress(task, done=done, total=total, unit=unit)

    return tell
