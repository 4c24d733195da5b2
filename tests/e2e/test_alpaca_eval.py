"""AlpacaEval on a finished run, judged by a server that speaks the real protocol."""

import json
import math
import shutil
from pathlib import Path

import pytest
from tests.e2e.conftest import Shell
from tests.evaluation.alpaca_eval.small import write_small
from tests.fakes import FakeEndpoint

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

COUNT = 6
LOGPROBS = {"m": math.log(0.6), "M": math.log(0.3), "The": math.log(0.1)}


def test_two_models_are_scored_and_compared_by_a_judges_probabilities(
    shell: Shell, straight: Path, tmp_path: Path
):
    run = shutil.copytree(straight, tmp_path / "runs" / "judged")
    files = write_small(tmp_path / "alpaca_eval", count=COUNT)
    with FakeEndpoint(answer=lambda messages: "m", logprobs=LOGPROBS, faults=["429"]) as server:
        words = ["eval", "alpaca-eval", str(run / "dpo"), "--baseline", "sft", "--yes"]
        words += ["--judge", f"openai+{server.url}:judge-1", "--data-dir", str(files)]
        words += ["--set", "eval.alpaca_eval.max_new_tokens=8", "--progress", "none"]
        shell(*words)
        asked = [body for _, body in server.requests]
    assert {body["top_logprobs"] for body in asked} == {5}
    assert {body["max_tokens"] for body in asked} == {1}
    scores = {
        (score["model"], score["metric"]): score["value"]
        for score in shell.json("runs", "show", str(run))["scores"]
        if score["benchmark"] == "alpaca-eval"
    }
    # This judge likes what is shown first, 2 to 1, whatever it is: both orders leave nothing of it.
    assert scores["dpo", "win_rate_vs_sft"] == pytest.approx(50)
    assert 100 / 3 - 1e-6 <= scores["sft", "win_rate"] <= 200 / 3 + 1e-6
    assert ("dpo", "length_controlled_winrate") in scores
    folder = run / "eval" / "alpaca-eval" / "dpo" / "judge-1"
    stored = folder / "judgments.jsonl"
    words = ["--annotations", str(stored), "--df-gamed", str(files / "df_gamed.csv")]
    again = shell.json("eval", "rescore", "alpaca-eval", *words)
    record = json.loads((folder / "scores.json").read_text())
    assert again == pytest.approx(record["alpaca_eval"])
    against = json.loads((folder / "vs-sft" / "scores.json").read_text())
    assert against["about"]["opponent"] == "sft"
    assert against["order_effect"]["both"] + against["verdicts_from"].get("identical", 0) == COUNT
