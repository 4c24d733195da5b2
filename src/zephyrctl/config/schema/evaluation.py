"""Settings of evaluation: benchmarks, answers, judge."""

from typing import Literal

from pydantic import Field

from zephyrctl.config.schema.section import Section


class Judge(Section):
    """The model that judges answers."""

    spec: str | None = None
    """Judge: `openai:MODEL`, `openai+https://host/v1:MODEL` (any OpenAI-compatible service),
    `local:MODEL` (in process) or `replay:FILE`. Null: `run` leaves judged benchmarks out, and
    says so."""
    max_tokens: int = Field(default=2048, ge=1)
    """Longest judgment in tokens."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at once."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest wait for one judgment, in seconds."""
    api_key_file: str | None = None
    """File that holds the key; otherwise OPENAI_API_KEY from the environment or `.env`."""


class Rules(Section):
    """Verifiable instructions, checked by code."""

    questions: str | None = None
    """Question file (JSONL). Null: the benchmark is left out of `run`."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest answer in tokens."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only the first so many questions."""


class MtBench(Section):
    """MT-Bench: 80 two-turn questions graded from 1 to 10."""

    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest answer in tokens."""
    references: Literal["corrected", "original"] = "corrected"
    """Reference answers for math, reasoning and coding: the corrected set (gpt-4-0125-preview)
    or the original one (gpt-4), of which 13 in 30 are wrong."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only the first so many questions; the score is then marked incomplete."""


class Evaluation(Section):
    """What is measured, on which models, by which judge."""

    benchmarks: list[Literal["rules", "mt-bench"]] = ["rules"]
    """Benchmarks of `zephyrctl run`."""
    models: list[str] = ["base", "sft", "dpo"]
    """Models that are scored: `base`, `sft`, `dpo` of this run, another run's stage, a folder, a
    Hub id, or `openai+http://host/v1:MODEL`."""
    baseline: str | None = None
    """Model that the others are compared with; null compares each with the one before it and the
    last with the first."""
    data_dir: str | None = None
    """Folder with MT-Bench's files (`question.jsonl`, `judge_prompts.jsonl`,
    `reference_answer/`)."""
    judge: Judge = Judge()
    """The model that judges answers."""
    rules: Rules = Rules()
    """Verifiable instructions, checked by code."""
    mt_bench: MtBench = MtBench()
    """MT-Bench."""
    batch_size: int = Field(default=16, ge=1)
    """Answers generated at once."""
    bootstrap: int = Field(default=1000, ge=100)
    """Bootstrap replicates behind each interval."""
    fail_under: float | None = None
    """Exit 7 where the last model's score is under this value; null never does."""
