"""`zephyrctl eval rules` and `eval show` as a person and as a script meet them."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli
from tests.fakes import FakeEndpoint

from zephyrctl.cli import app
from zephyrctl.config.layers import load
from zephyrctl.runs import manifest
from zephyrctl.runs.store import Run, open_run, write_config

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = [
        {"question_id": number, "turns": [f"Say {number}."],
         "checks": [{"name": "number", "value": 3}]}
        for number in range(6)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def zephyrctl(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        app.main(arguments)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def trained_run(folder: Path, model: Path) -> Run:
    """A run whose SFT model is `model`."""
    loaded = load(flags={"output_root": str(folder / "runs"), "name": "mine"}, env={}, cwd=folder)
    run = open_run(loaded.recipe)
    write_config(run, loaded)
    manifest.begin(run.stage("sft"), inputs={}, seed=1, world_size=1)
    shutil.copytree(model, run.stage("sft").model)
    manifest.finish(run.stage("sft"), manifest.Result({}, []))
    return run


def test_no_model_and_no_run_is_a_usage_error_with_a_way_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = zephyrctl(capsys, "eval", "rules")
    assert (code, out) == (2, "")
    assert "no model and no run" in err
    assert "--recipe" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["@dpo", "--questions", "questions.jsonl"], "no run with a finished dpo"),
        (["dpo", "--recipe", "tiny"], "dpo model of run 'tiny' is not there"),
        (["./nowhere", "--questions", "questions.jsonl"], "no model './nowhere'"),
        (["base", "--recipe", "tiny", "--questions", "none.jsonl"], "cannot be read"),
        (["openai+http://127.0.0.1:9/v1:m"], "eval.rules.questions is not set"),
        (["base", "--recipe", "tiny", "--limit", "0"], "limit"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_written(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    questions: Path,
    tmp_path: Path,
) -> None:
    code, out, err = zephyrctl(capsys, "eval", "rules", *arguments)
    assert code == 2
    assert message in err
    assert (out, list(tmp_path.iterdir())) == ("", [questions])


def test_an_endpoint_is_scored_alone_shown_and_gated(
    capsys: pytest.CaptureFixture[str], questions: Path
) -> None:
    with FakeEndpoint(model="echo") as server:
        arguments = ["eval", "rules", server.spec, "--questions", questions.name]
        code, out, err = zephyrctl(capsys, *arguments, "--json", "--progress", "none")
        assert code == 0, err
        record: dict[str, Any] = json.loads(out)
        (rate,) = [s for s in record["scores"] if s["metric"] == "pass_rate"]
        assert (rate["model"], rate["n"]) == ("echo", 6)
        assert rate["value"] == pytest.approx(1 / 6)
        code, _, err = zephyrctl(capsys, *arguments, "--fail-under", "0.5", "--progress", "none")
        assert code == 7
        assert "echo has 0.1667, under 0.5" in err
        assert len(server.requests) == 6
    code, out, _ = zephyrctl(capsys, "eval", "show", "@last", "-n", "2")
    assert code == 0
    assert out.count("· failed") == 2
    assert "you said: Say 0." in out
    code, out, _ = zephyrctl(capsys, "eval", "show", "@last", "--best", "-n", "1", "--json")
    assert json.loads(out)["rows"][0]["question_id"] == 3


def test_a_baseline_is_scored_too_and_compared_with(
    capsys: pytest.CaptureFixture[str], questions: Path
) -> None:
    with (
        FakeEndpoint(model="echo") as echo,
        FakeEndpoint(model="three", answer=lambda messages: "3") as three,
    ):
        code, out, err = zephyrctl(
            capsys, "eval", "rules", three.spec, "--baseline", echo.spec, "--questions",
            questions.name, "--json", "--progress", "none",
        )  # fmt: skip
    assert code == 0, err
    (comparison,) = json.loads(out)["comparisons"]
    assert (comparison["a"], comparison["b"]) == ("echo", "three")
    assert comparison["difference"] == pytest.approx(5 / 6)


def test_a_question_more_killed_leaves_the_runs_configuration_as_it_was(
    tmp_path: Path, tiny_base: Path, questions: Path
) -> None:
    run = trained_run(tmp_path, tiny_base)
    before = (run.root / "config.yaml").read_bytes(), run.config_path.read_bytes()
    asked, go_on = threading.Event(), threading.Event()

    def answer(messages: Any) -> str:
        asked.set()
        go_on.wait(30)
        return "3"

    with FakeEndpoint(model="slow", answer=answer) as server:
        models = [server.spec, str(run.root / "sft")]
        command = [sys.executable, "-m", "zephyrctl", "eval", "rules", *models,
                   "--questions", questions.name, "--limit", "2"]  # fmt: skip
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        assert asked.wait(60)
        process.kill()
        process.wait()
        assert before == ((run.root / "config.yaml").read_bytes(), run.config_path.read_bytes())
        # The question itself stands beside its answers.
        assert run.recipe(run.stage("eval").config_path).eval.models == [server.spec, "sft"]
        go_on.set()


def test_show_names_what_there_is(capsys: pytest.CaptureFixture[str], questions: Path) -> None:
    code, _, err = zephyrctl(capsys, "eval", "show", "@last")
    assert code == 2
    with FakeEndpoint(model="echo") as server:
        zephyrctl(capsys, "eval", "rules", server.spec, "--questions", questions.name)
    code, _, err = zephyrctl(capsys, "eval", "show", "@last", "--model", "ehco")
    assert code == 2
    assert "did you mean 'echo'" in err
    code, _, err = zephyrctl(capsys, "eval", "show", "@last", "--benchmark", "ruels")
    assert code == 2
    assert "did you mean 'rules'" in err


def test_the_commands_stand_in_the_order_they_are_met(cli: Cli):
    listed = cli("eval", "--help").out.partition("Commands:")[2]
    names = [line.split()[0] for line in listed.splitlines() if line[2:3].isalpha()]
    assert names == [
        "rules", "mt-bench", "alpaca-eval", "compare", "show", "judge-test", "agreement",
        "rescore", "fetch", "import", "export",
    ]  # fmt: skip
