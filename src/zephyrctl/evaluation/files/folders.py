"""In which folder are the files of a benchmark?

The folder in `eval.data_dir` where there is one, and it is taken as it is; else the cache, which
holds nothing but the pinned files and is filled from their official places.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from zephyrctl import environment, terminal
from zephyrctl.config.paths import expand_home
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, NetworkError
from zephyrctl.evaluation.files import fetch, pinned, votes
from zephyrctl.evaluation.files.pinned import BenchmarkName, PinnedFile
from zephyrctl.runs.atomic import clear_leftovers, write_bytes
from zephyrctl.runs.digests import digest_file

Say = Callable[[str], None]
Pauses = Sequence[float]


@functools.cache
def say_once(text: str) -> None:
    """Say something that a command would otherwise repeat whenever it looks for its files."""
    terminal.say(text)


_REFERENCES = {"original": "gpt-4.jsonl", "corrected": "gpt-4-0125-preview.jsonl"}


def mt_bench_folder(recipe: Recipe, *, say: Say = say_once) -> Path:
    """The folder with MT-Bench's `question.jsonl`, `judge_prompts.jsonl` and `reference_answer/`.

    Files that are nowhere yet are fetched; NetworkError (exit 5) with the commands to run elsewhere
    where that cannot be. Of a folder of one's own only the set of references in use is asked for.
    """
    found = _given("mt-bench", recipe, say=say)
    return found or _cached("mt-bench", _pinned("mt-bench", recipe), say)


def alpaca_eval_folder(recipe: Recipe, *, say: Say = say_once) -> Path:
    """The folder with AlpacaEval's instructions, baseline outputs and `prompts/`.

    Of version 2 `alpaca_eval_gpt4_baseline.json` and `df_gamed.csv`, of version 1
    `alpaca_eval.json`. As `mt_bench_folder` otherwise. Tells the licence the first time.
    """
    tell_licence(say=say)
    found = _given("alpaca-eval", recipe, say=say)
    return found or _cached("alpaca-eval", _pinned("alpaca-eval", recipe), say)


def to_fetch(benchmark: BenchmarkName, recipe: Recipe) -> list[PinnedFile]:
    """The files that would be fetched for a benchmark; none are.

    DataError where `eval.data_dir` is named and lacks some.
    """
    if _given(benchmark, recipe, say=lambda _: None) is not None:
        return []
    folder = environment.benchmark_cache(benchmark)
    return [file for file in _pinned(benchmark, recipe) if not is_here(file, folder)]


def human_votes_folder(recipe: Recipe, *, say: Say = say_once) -> Path:
    """The folder with people's votes on MT-Bench: `human.jsonl`, `gpt4_pair.jsonl`, and
    `model_answer_<model>.jsonl` with the answers they saw.

    A `human_judgments/` in `eval.data_dir` comes first; else as `mt_bench_folder`.
    """
    if recipe.eval.data_dir is not None:
        for folder in _candidates("mt-bench", recipe.eval.data_dir):
            if (folder / "human_judgments" / "human.jsonl").is_file():
                return folder / "human_judgments"
    folder = _cached("mt-bench", pinned.HUMAN_VOTES, say) / "human_judgments"
    votes.unpack(folder)
    return folder


def own_edits(folder: Path, benchmark: BenchmarkName) -> list[str]:
    """Which files in `folder` differ from the pinned ones, in words; what is absent does not."""
    title = pinned.TITLES[benchmark]
    return [
        f"{file.path} differs from {title}'s public file and is used as it is (sha256 {found[:12]})"
        for file in pinned.FILES[benchmark]
        if (folder / file.path).is_file()
        and (found := digest_file(folder / file.path)) != file.sha256
    ]


def is_here(file: PinnedFile, folder: Path) -> bool:
    """Whether the pinned file lies in `folder`, whole and unchanged."""
    path = folder / file.path
    return path.is_file() and digest_file(path) == file.sha256


def keep(file: PinnedFile, content: bytes, *, folder: Path) -> None:
    """Put a checked file into `folder`; it appears there whole or not at all."""
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path)
    write_bytes(path, content)


def fetch_into(
    folder: Path,
    files: Sequence[PinnedFile],
    *,
    benchmark: BenchmarkName,
    say: Say,
    pauses: Pauses = fetch.PAUSES_S,
) -> None:
    """Fetch those of `files` that `folder` lacks. What arrived before an error is kept.

    NetworkError carries the commands to run on a connected machine and here.
    """
    for file in files:
        if is_here(file, folder):
            continue
        say(f"fetching {file.path} from {file.place}, {file.licence}")
        try:
            content = fetch.fetch(file, pauses=pauses)
        except NetworkError as error:
            raise NetworkError(
                f"{pinned.TITLES[benchmark]}'s {file.path} is not on this machine and cannot be "
                f"fetched: {error.message}",
                where=error.where,
                hint=elsewhere(benchmark),
            ) from None
        keep(file, content, folder=folder)


def elsewhere(benchmark: BenchmarkName) -> str:
    """The commands that bring a benchmark's files to a machine without a network."""
    return (
        f"on a connected machine: zephyrctl eval fetch {benchmark} --to ./eval-files"
        f"   then copy that folder, and here: zephyrctl eval fetch {benchmark} --from ./eval-files"
    )


def tell_licence(*, say: Say) -> None:
    """Tell under which licence AlpacaEval's data are, once per machine."""
    mark = environment.benchmark_cache("alpaca-eval") / ".licence-told"
    if mark.exists():
        return
    say(
        f"AlpacaEval's data (github.com/tatsu-lab/alpaca_eval) are under {pinned.NON_COMMERCIAL}:"
        " not for commercial use. This is told once."
    )
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        return  # a cache that cannot be written: it is told again next time


def _pinned(benchmark: BenchmarkName, recipe: Recipe) -> Sequence[PinnedFile]:
    """What the cache holds for a benchmark, as the recipe asks for it."""
    if benchmark == "mt-bench":
        return pinned.MT_BENCH
    version = recipe.eval.alpaca_eval.version
    return pinned.ALPACA_EVAL_2 if version == 2 else pinned.ALPACA_EVAL_1


def _given(benchmark: BenchmarkName, recipe: Recipe, *, say: Say) -> Path | None:
    """The user's own folder, complete; None where no folder is named."""
    data_dir = recipe.eval.data_dir
    if data_dir is None:
        return None
    unused = {name for kind, name in _REFERENCES.items() if kind != recipe.eval.mt_bench.references}
    needed = [file for file in _pinned(benchmark, recipe) if Path(file.path).name not in unused]
    lacking: dict[Path, list[str]] = {}
    for folder in _candidates(benchmark, data_dir):
        absent = [file.path for file in needed if not (folder / file.path).is_file()]
        if not absent:
            for text in own_edits(folder, benchmark):
                say(f"! {text}")
            return folder
        lacking[folder] = absent
    folder = min(lacking, key=lambda place: len(lacking[place]))
    raise DataError(
        f"{pinned.TITLES[benchmark]}'s {_listed(lacking[folder])} not in the folder",
        where=f"eval.data_dir: {folder}",
        hint=f"zephyrctl eval fetch {benchmark} --to {data_dir}",
    )


def _candidates(benchmark: BenchmarkName, data_dir: str) -> tuple[Path, Path]:
    top = expand_home(data_dir)
    return top, top / benchmark.replace("-", "_")


def _cached(benchmark: BenchmarkName, needed: Sequence[PinnedFile], say: Say) -> Path:
    environment.made_in_cache("benchmarks")
    folder = environment.benchmark_cache(benchmark)
    fetch_into(folder, needed, benchmark=benchmark, say=say)
    return folder


def _listed(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names)} are"
