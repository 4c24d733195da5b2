"""Do the options of `eval mt-bench` ask for MT-Bench's questions or for one's own?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zephyrctl.errors import UsageError


@dataclass(frozen=True)
class Asked:
    """What `eval mt-bench` was told about questions and rating; None where it was not."""

    questions: Path | None
    rubric: Path | None
    mode: str | None
    references: str | None
    limit: int | None

    @property
    def benchmark(self) -> str:
        """Its word in `eval.benchmarks`."""
        return "mt-bench" if self.questions is None and self.rubric is None else "own"

    def flags(self) -> dict[str, object]:
        """The settings that these options are."""
        if self.benchmark == "mt-bench":
            return {
                "eval.mt_bench.mode": self.mode,
                "eval.mt_bench.references": self.references,
                "eval.mt_bench.limit": self.limit,
            }
        for option, value in (("--mode", self.mode), ("--references", self.references)):
            if value is not None:
                raise UsageError(
                    f"{option} belongs to MT-Bench's own questions, and --questions names others",
                    hint="one's own are rated from 1 to 10, with the references in their file",
                )
        return {
            "eval.own.questions": str(self.questions) if self.questions else None,
            "eval.own.rubric": str(self.rubric) if self.rubric else None,
            "eval.own.limit": self.limit,
        }
