"""Published leaderboard rows of AlpacaEval, recomputed from stored annotations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zephyrctl.evaluation.alpaca_eval.formats import read_baseline
from zephyrctl.evaluation.alpaca_eval.protocol import (
    is_switched,
    preference,
    shown_by_logprobs,
)
from zephyrctl.evaluation.alpaca_eval.records import stored_logprobs
from zephyrctl.evaluation.alpaca_eval.rescore import Inputs, rescore

COUNTS = ("n_wins", "n_wins_base", "n_draws", "n_total", "avg_length")
SHIFTED = ("text_davinci_001", "gpt35_turbo_instruct")  # rows are missing: upstream's bug shows

V2 = [
    "FuseChat-Llama-3.2-1B-Instruct",
    "NullModel",
    "OpenHermes-2.5-Mistral-7B",
    "alpaca-7b",
    "claude-2",
    "gemma-7b-it",
    "gpt-3.5-turbo-1106",
    "gpt35_turbo_instruct",
    "gpt4_gamed",
    "text_davinci_001",
    "vicuna-7b-v1.5",
    "zephyr-7b-sft-full",
]
V1 = ["claude", "vicuna-13b", "zephyr-7b-beta"]


def _expected(folder: Path, version: int) -> dict[str, dict]:
    content = json.loads((folder / f"expected_v{version}.json").read_text())
    return {entry["model"]: entry for entry in content["models"]}


def _rescored(folder: Path, entry: dict, *, version: int = 2, **settings):
    file = entry.get("file", f"{entry['model']}.jsonl")
    found = rescore(
        Inputs(
            annotations=folder / f"annotations_v{version}" / file,
            version=version,
            df_gamed=folder / "df_gamed.csv",
            **settings,
        )
    )
    assert found.stands
    return found.figures


def test_every_published_case_is_tested(alpaca_eval_dir):
    assert sorted(_expected(alpaca_eval_dir, 2)) == V2
    assert sorted(_expected(alpaca_eval_dir, 1)) == V1


@pytest.mark.parametrize("model", V2)
def test_version_2_gives_the_published_row(alpaca_eval_dir, model):
    entry = _expected(alpaca_eval_dir, 2)[model]
    published = entry["published"]
    found = _rescored(alpaca_eval_dir, entry, upstream_compat=model in SHIFTED)
    assert found["win_rate"] == pytest.approx(published["win_rate"], abs=1e-9)
    assert found["standard_error"] == pytest.approx(published["standard_error"], abs=1e-9)
    assert found["discrete_win_rate"] == pytest.approx(published["discrete_win_rate"], abs=1e-12)
    assert [found[name] for name in COUNTS] == [published[name] for name in COUNTS]
    controlled = published["length_controlled_winrate"]
    assert found["length_controlled_winrate"] == pytest.approx(controlled, abs=0.16)


@pytest.mark.parametrize("model", V2)
def test_with_upstreams_c_length_control_is_within_liblinears_tolerance(alpaca_eval_dir, model):
    entry = _expected(alpaca_eval_dir, 2)[model]
    found = _rescored(
        alpaca_eval_dir,
        entry,
        c=entry["published_lc_reproduced_with_C"],
        upstream_compat=model in SHIFTED,
    )
    controlled = entry["published"]["length_controlled_winrate"]
    assert found["length_controlled_winrate"] == pytest.approx(controlled, abs=0.02)


@pytest.mark.parametrize("model", ["alpaca-7b", "gpt4_gamed"])
def test_every_c_of_the_grid_agrees_with_liblinear(alpaca_eval_dir, model):
    entry = _expected(alpaca_eval_dir, 2)[model]
    for c, value in entry["lc_by_C_liblinear"].items():
        found = _rescored(alpaca_eval_dir, entry, c=float(c))
        assert found["length_controlled_winrate"] == pytest.approx(value, abs=0.02), c


@pytest.mark.parametrize("model", SHIFTED)
def test_missing_answers_are_looked_up_by_instruction(alpaca_eval_dir, model):
    entry = _expected(alpaca_eval_dir, 2)[model]
    for c, value in entry["lc_with_difficulty_matched_by_instruction"].items():
        found = _rescored(alpaca_eval_dir, entry, c=float(c))
        assert found["length_controlled_winrate"] == pytest.approx(value, abs=0.02), c


@pytest.mark.parametrize("model", V1)
def test_version_1_gives_the_published_row(alpaca_eval_dir, model):
    entry = _expected(alpaca_eval_dir, 1)[model]
    published = entry["published"]
    found = _rescored(alpaca_eval_dir, entry, version=1)
    for name in ("win_rate", "standard_error", "discrete_win_rate"):
        assert found[name] == pytest.approx(published[name], abs=1e-6)
    assert [found[name] for name in COUNTS] == [published[name] for name in COUNTS]


def test_preferences_follow_from_the_stored_log_probabilities(alpaca_eval_dir):
    instructions, _ = read_baseline(alpaca_eval_dir / "alpaca_eval_gpt4_baseline.json")
    checked = 0
    for path in sorted((alpaca_eval_dir / "annotations_v2").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            logprobs = stored_logprobs(row)
            if logprobs is None:
                continue
            switched = is_switched(instructions[row["eval_index"]].turns[0])
            assert switched == row["order_swapped"]
            found = preference(shown_by_logprobs(logprobs), order=2 if switched else 1)
            assert found == pytest.approx(row["preference"], abs=1e-9)
            checked += 1
    assert checked == 8828


def test_upstreams_own_format_reads_like_the_reduced_one(alpaca_eval_dir, tmp_path):
    samples = alpaca_eval_dir / "format_samples" / "annotations_v2_first20.json"
    instructions, _ = read_baseline(alpaca_eval_dir / "alpaca_eval_gpt4_baseline.json")
    for row in json.loads(samples.read_text()):
        logprobs = stored_logprobs(row)
        assert logprobs is not None
        order = 2 if is_switched(row["instruction"]) else 1
        found = preference(shown_by_logprobs(logprobs), order=order)
        assert found == pytest.approx(row["preference"], abs=1e-9)
    reduced = alpaca_eval_dir / "annotations_v2" / "vicuna-7b-v1.5.jsonl"
    gamed = alpaca_eval_dir / "df_gamed.csv"
    first = tmp_path / "first20.jsonl"
    first.write_text("".join(reduced.read_text().splitlines(keepends=True)[:20]))
    whole = rescore(
        Inputs(samples, 2, gamed, alpaca_eval_dir / "alpaca_eval_gpt4_baseline.json", c=1.0)
    )
    short = rescore(Inputs(first, 2, gamed, c=1.0))
    assert whole.figures == short.figures
    assert whole.figures["length_controlled_winrate"] is not None
    assert len(instructions) == 805
    assert any("20 of 805" in text for text in whole.notices)


SCRIPT = """
import sys
from pathlib import Path
from zephyrctl.evaluation.alpaca_eval.rescore import Inputs, rescore
folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    path = folder / "annotations_v2" / f"{name}.jsonl"
    found = rescore(Inputs(path, 2, folder / "df_gamed.csv")).figures
    print(repr(found["length_controlled_winrate"]))
"""


def test_length_control_does_not_depend_on_the_processor(alpaca_eval_dir):
    names = ["alpaca-7b", "gpt4_gamed", "NullModel", "gemma-7b-it"]
    command = [sys.executable, "-c", SCRIPT, str(alpaca_eval_dir), *names]
    capped = {"NPY_DISABLE_CPU_FEATURES": " ".join(_dispatched()), "OPENBLAS_CORETYPE": "Prescott"}
    found = []
    for more in ({}, capped):
        output = subprocess.run(
            command, env={**os.environ, **more}, capture_output=True, text=True, check=True
        )
        found.append([float(line) for line in output.stdout.split()])
    assert len(found[0]) == len(names)
    assert found[1] == pytest.approx(found[0], abs=1e-9)


def _dispatched() -> list[str]:
    """What numpy uses of this processor beyond what it was built for."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
