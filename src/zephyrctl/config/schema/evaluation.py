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
    scoring: Literal["text", "probabilities"] = "text"
    """How a verdict is read: from the judgment's text, as upstream, or from the probability the
    judge gives to each possible verdict in one step."""
    fence: bool = False
    """Enclose answers in delimiters that nobody can guess, so that an answer cannot speak to the
    judge. The prompt is then no longer upstream's; an own benchmark always does it."""
    concurrency: int = Field(default=32, ge=1, le=1024)
    """Most requests under way at once; fewer where the service's rate limits ask for it."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Longest wait for one try, in seconds."""
    deadline_s: float = Field(default=900.0, gt=0)
    """Longest wait for one judgment with all its tries, in seconds."""
    api_key_file: str | None = None
    """File that holds the key; otherwise OPENAI_API_KEY from the environment or `.env`."""
    prompt_price: float | None = Field(default=None, ge=0)
    """Price of a million prompt tokens in USD; null takes it from the packaged, dated table."""
    completion_price: float | None = Field(default=None, ge=0)
    """Price of a million completion tokens in USD; null takes it from the packaged table."""


class Rules(Section):
    """Verifiable instructions, checked by code."""

    questions: str | None = None
    """Question file (JSONL). Null: the benchmark is left out of `run`."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest answer in tokens."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only the first so many questions."""


class MtBench(Section):
    """MT-Bench: 80 two-turn questions rated from 1 to 10."""

    mode: Literal["single", "pair", "both"] = "single"
    """Rate each answer from 1 to 10, compare the answers of two models in both orders, or do
    both."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest answer in tokens."""
    references: Literal["corrected", "original"] = "corrected"
    """Reference answers for math, reasoning and coding: the corrected set (gpt-4-0125-preview)
    or the original one (gpt-4), of which 13 in 30 are wrong."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only the first so many questions; the score is then marked incomplete."""


class AlpacaEval(Section):
    """AlpacaEval: 805 instructions, compared with a baseline's outputs."""

    version: Literal[2, 1] = 2
    """2: the judge's probabilities against gpt4_1106_preview, with a length-controlled win rate;
    1: its ranking against text_davinci_003."""
    max_new_tokens: int = Field(default=2048, ge=1)
    """Longest answer in tokens."""
    temperature: float = Field(default=0.7, ge=0)
    """Sampling temperature of the answers; upstream's entry of Zephyr has 0.7."""
    swap: bool | None = None
    """Judge both orders and take the mean. Null does so against a model of one's own and by a
    local judge; upstream shows each pair in one order, drawn by the instruction."""
    lc_c: float | None = Field(default=None, gt=0)
    """Inverse strength of the length-controlled fit's penalty; null chooses it by
    cross-validation."""
    upstream_compat: bool = False
    """Repeat upstream's row lookup, which shifts the difficulties of instructions after a missing
    answer."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only the first so many instructions; the score is then marked incomplete."""


class Own(Section):
    """A benchmark of one's own: questions in MT-Bench's format, rated from 1 to 10."""

    questions: str | None = None
    """Question file (JSONL): `question_id`, `turns` (one or more), optional `category` and
    `reference` (one text a turn)."""
    rubric: str | None = None
    """Judge prompt, a Jinja file that asks for a rating as `[[n]]`; null takes the packaged one.
    It has `question`, `turn`, `turns`, `answer`, `answers`, `reference`, `references`, `category`
    and `conversation`."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """Longest answer in tokens."""
    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature of the answers; null goes by category, as MT-Bench."""
    limit: int | None = Field(default=None, ge=1)
    """Ask only the first so many questions; the score is then marked incomplete."""


class Evaluation(Section):
    """What is measured, on which models, by which judge."""

    benchmarks: list[Literal["rules", "mt-bench", "alpaca-eval", "own"]] = ["rules"]
    """Benchmarks of `zephyrctl run`."""
    models: list[str] = ["base", "sft", "dpo"]
    """Models that are scored: `base`, `sft`, `dpo` of this run, another run's stage, a folder, a
    Hub id, or `openai+http://host/v1:MODEL`."""
    baseline: str | None = None
    """Model that the others are compared with; null compares each with the one before it and the
    last with the first."""
    data_dir: str | None = None
    """Folder with the files of MT-Bench and AlpacaEval; null fetches them once and keeps them in
    the cache."""
    judge: Judge = Judge()
    """The model that judges answers."""
    repeats: int = Field(default=1, ge=1, le=100)
    """How often each question is answered and judged."""
    max_cost: float | None = Field(default=None, gt=0)
    """Most that one command may spend on a judge, in USD; it stops before it would spend more."""
    rules: Rules = Rules()
    """Verifiable instructions, checked by code."""
    mt_bench: MtBench = MtBench()
    """MT-Bench."""
    alpaca_eval: AlpacaEval = AlpacaEval()
    """AlpacaEval."""
    own: Own = Own()
    """A benchmark of one's own."""
    engine: Literal["auto", "transformers", "vllm"] = "auto"
    """What generates answers: vLLM where it is installed and the model is on a GPU, else
    transformers."""
    batch_size: int = Field(default=16, ge=1)
    """Answers generated at once."""
    bootstrap: int = Field(default=1000, ge=100)
    """Bootstrap replicates behind each interval."""
    fail_under: float | None = None
    """Exit 7 where the last model's score is under this value; null never does."""
