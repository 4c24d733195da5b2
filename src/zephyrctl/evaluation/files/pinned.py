"""Which public files does a benchmark need, and what exactly are they?

Each is named by its official place, a revision there, and the SHA-256 of its content. Their
licences differ: AlpacaEval's data may not be used commercially, so none of it is in this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zephyrctl.errors import UsageError
from zephyrctl.registry import did_you_mean

BenchmarkName = Literal["mt-bench", "alpaca-eval"]


@dataclass(frozen=True)
class PinnedFile:
    """One public file at one revision. `size` is in bytes, None where only the digest is known."""

    path: str
    """Where it lies below the benchmark's folder."""
    service: Literal["github", "hub"]
    """A GitHub repository, or a data set of the Hugging Face Hub."""
    repository: str
    revision: str
    remote: str
    """Path in the repository."""
    sha256: str
    size: int | None
    licence: str

    @property
    def place(self) -> str:
        """Where it comes from, for people: `lm-sys/FastChat at 0e6d3e4`."""
        service = "GitHub" if self.service == "github" else "Hub"
        return f"{self.repository} at {self.revision[:7]} ({service})"


_FASTCHAT = "0e6d3e4beaab66f4d3f93db72541a4abab8af28d"
_LLM_JUDGE = "fastchat/llm_judge/data"

MT_BENCH = (
    PinnedFile(
        path="question.jsonl",
        service="github",
        repository="lm-sys/FastChat",
        revision=_FASTCHAT,
        remote=f"{_LLM_JUDGE}/mt_bench/question.jsonl",
        sha256="119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
        size=48_929,
        licence="Apache-2.0",
    ),
    PinnedFile(
        path="judge_prompts.jsonl",
        service="github",
        repository="lm-sys/FastChat",
        revision=_FASTCHAT,
        remote=f"{_LLM_JUDGE}/judge_prompts.jsonl",
        sha256="fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
        size=10_449,
        licence="Apache-2.0",
    ),
    PinnedFile(
        path="reference_answer/gpt-4.jsonl",
        service="github",
        repository="lm-sys/FastChat",
        revision=_FASTCHAT,
        remote=f"{_LLM_JUDGE}/mt_bench/reference_answer/gpt-4.jsonl",
        sha256="f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
        size=51_109,
        licence="Apache-2.0",
    ),
    # The corrected references of pull request 3158, which was never merged.
    PinnedFile(
        path="reference_answer/gpt-4-0125-preview.jsonl",
        service="github",
        repository="lm-sys/FastChat",
        revision="71aa329da2b17f387929ae6f5b3a453804e885cd",
        remote=f"{_LLM_JUDGE}/mt_bench/reference_answer/gpt-4-0125-preview.jsonl",
        sha256="e484037da5cc14007dde1d821ef76046fccbd0b2f095237fad9ead2c4fc66800",
        size=95_230,
        licence="Apache-2.0",
    ),
)

# 3,355 votes of people and 2,400 verdicts of GPT-4 on answers of six models, with the answers.
_VOTES = "f7d2896d2cc5d80f8b55c2bbc722613555233c25"

HUMAN_VOTES = (
    PinnedFile(
        path="human_judgments/human.parquet",
        service="hub",
        repository="lmsys/mt_bench_human_judgments",
        revision=_VOTES,
        remote="data/human-00000-of-00001-25f4910818759289.parquet",
        sha256="4877bc46a40929f4082c3c79593700fb897b1d6c7f4c473032694a01322f5769",
        size=None,
        licence="CC-BY-4.0",
    ),
    PinnedFile(
        path="human_judgments/gpt4_pair.parquet",
        service="hub",
        repository="lmsys/mt_bench_human_judgments",
        revision=_VOTES,
        remote="data/gpt4_pair-00000-of-00001-c0b431264a82ddc0.parquet",
        sha256="57068327ffb5f8fddb15fedbbfe40b26fe862da2326331e5cf64a42320a00e71",
        size=None,
        licence="CC-BY-4.0",
    ),
)

_ALPACA_CODE = "cd543a149df89434d8a54582c0151c0b945c3d20"
_ALPACA_DATA = "2edc6fad8be6b14ea7230aabfd08188da6b8b814"
_ANNOTATORS = "src/alpaca_eval/evaluators_configs"
NON_COMMERCIAL = "CC-BY-NC-4.0"


def _annotator(name: str, file: str, *, sha256: str, size: int) -> PinnedFile:
    """A prompt or the settings of one of AlpacaEval's annotators."""
    return PinnedFile(
        path=f"prompts/{name}__{file}",
        service="github",
        repository="tatsu-lab/alpaca_eval",
        revision=_ALPACA_CODE,
        remote=f"{_ANNOTATORS}/{name}/{file}",
        sha256=sha256,
        size=size,
        licence="Apache-2.0",
    )


def _alpaca_data(name: str, *, sha256: str, size: int) -> PinnedFile:
    """A file of AlpacaEval's data set."""
    return PinnedFile(
        path=name,
        service="hub",
        repository="tatsu-lab/alpaca_eval",
        revision=_ALPACA_DATA,
        remote=name,
        sha256=sha256,
        size=size,
        licence=NON_COMMERCIAL,
    )


ALPACA_EVAL_2 = (
    _alpaca_data(
        "alpaca_eval_gpt4_baseline.json",
        sha256="83db546b872ddebee8965fd05fa48461ee3c32bc695c62fb57f2d214ff741ec4",
        size=1_899_765,
    ),
    _alpaca_data(
        "df_gamed.csv",
        sha256="97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
        size=148_956,
    ),
    _annotator(
        "alpaca_eval_clf_gpt4_turbo",
        "alpaca_eval_clf.txt",
        sha256="784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62",
        size=1_398,
    ),
    _annotator(
        "weighted_alpaca_eval_gpt4_turbo",
        "configs.yaml",
        sha256="fd5c656d9959ffd63b986c8216a81e83e001d17ced5a08defc1c857ce9dd033e",
        size=556,
    ),
)

# The instructions with text_davinci_003's outputs.
ALPACA_EVAL_1 = (
    _alpaca_data(
        "alpaca_eval.json",
        sha256="d92b92c51e8f1962a21193abe74e6f727c2bc8286035f4041505ff38a7c3ae51",
        size=620_778,
    ),
    _annotator(
        "alpaca_eval_gpt4",
        "alpaca_eval.txt",
        sha256="cf4bace43fa6ac71944b9ca2506587ad7c509478a219e98a3950abf9d5b42a98",
        size=1_204,
    ),
    _annotator(
        "alpaca_eval_gpt4",
        "configs.yaml",
        sha256="676717d3992d559307d63661ef1271132dfd613100f747f6ce8d58a7077c623d",
        size=270,
    ),
)

FILES: dict[BenchmarkName, tuple[PinnedFile, ...]] = {
    "mt-bench": (*MT_BENCH, *HUMAN_VOTES),
    "alpaca-eval": (*ALPACA_EVAL_2, *ALPACA_EVAL_1),
}
"""Everything that `zephyrctl eval fetch` brings."""

TITLES: dict[BenchmarkName, str] = {"mt-bench": "MT-Bench", "alpaca-eval": "AlpacaEval"}


def benchmarks_of(word: str) -> tuple[BenchmarkName, ...]:
    """The benchmarks that `mt-bench`, `alpaca-eval` or `all` means."""
    found: tuple[BenchmarkName, ...] = tuple(name for name in FILES if word in (name, "all"))
    if not found:
        known = (*FILES, "all")
        raise UsageError(
            f"no public files are known for '{word}'{did_you_mean(word, known)}",
            hint=f"zephyrctl eval fetch [{'|'.join(known)}]",
        )
    return found
