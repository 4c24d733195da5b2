"""Which answers does each model give, one model in memory at a time and every process its share?"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zephyrctl.evaluation.answers import LazyAnswerer, ask, gather
from zephyrctl.evaluation.benchmark import Answer, Benchmark
from zephyrctl.evaluation.scores import Places
from zephyrctl.evaluation.sharing import Share, take_own_gpu
from zephyrctl.generation.answerer import Subject
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run


@dataclass(frozen=True)
class _Work:
    run: Run
    share: Share
    reporter: Reporter

    def asked(self, benchmark: Benchmark, model: str) -> Callable[[int, int], None]:
        """Tells how many turns are answered."""
        task = f"{benchmark.name} answers of {model}"
        return lambda done, total: self.reporter.progress(
            task, done=done, total=total, unit="answers"
        )

    def say(self, model: str) -> Callable[[str], None]:
        """Tells what happens in this process, also where it is not the first."""
        folder = self.run.stage("eval").path
        loud = self.reporter if self.share.is_first else Reporter(folder, rank=0)
        where = model if self.share.is_first else f"{model}, process {self.share.rank}"
        return lambda text: loud.notice(f"{where}: {text}")


def share_of_process() -> Share:
    """This process's share of the work; it sees no other GPU than its own afterwards."""
    take_own_gpu(os.environ)
    return Share.of_process()


def answer_all(
    run: Run,
    benchmarks: Sequence[Benchmark],
    subjects: Mapping[str, Subject],
    *,
    share: Share,
    reporter: Reporter,
) -> dict[str, dict[str, list[Answer]]]:
    """Answers by benchmark and model; empty in every process but the first, whose work ends here.

    Each model is loaded at most once in a process, and freed before the next.
    """
    work = _Work(run, share, reporter)
    for model, subject in subjects.items():
        _ask(work, benchmarks, model, subject)
    found: dict[str, dict[str, list[Answer]]] = {benchmark.name: {} for benchmark in benchmarks}
    for benchmark in benchmarks if share.is_first else ():
        for model, subject in subjects.items():
            found[benchmark.name][model] = gather(
                benchmark,
                subject,
                path=Places.of(run, benchmark).answers(model),
                share=share,
                on_progress=work.asked(benchmark, model),
                say=lambda text: reporter.notice(text, level="warning"),
            )
    return found


def _ask(work: _Work, benchmarks: Sequence[Benchmark], model: str, subject: Subject) -> None:
    answerer = LazyAnswerer(
        subject,
        on_load=lambda: work.reporter.event("loading", model=model),
        say=work.say(model),
        show=work.share.is_first,
    )
    try:
        for benchmark in benchmarks:
            ask(
                benchmark,
                answerer,
                path=Places.of(work.run, benchmark).answers(model),
                share=work.share,
                on_progress=work.asked(benchmark, model),
            )
    finally:
        answerer.close()
