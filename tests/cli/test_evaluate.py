"""`zephyrctl eval rules` and `eval show` as a person and as a script meet them."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeEndpoint

from zephyrctl.cli import app
from zephyrctl.errors import UsageError

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


def test_a_question_more_leaves_the_runs_configuration_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], questions: Path
) -> None:
    from zephyrctl.cli.scoring import kept_config
    from zephyrctl.config.layers import load
    from zephyrctl.runs.store import open_run, write_config

    loaded = load(flags={"output_root": str(tmp_path / "runs"), "name": "mine"}, env={})
    run = open_run(loaded.recipe)
    write_config(run, loaded)
    before = (run.root / "config.yaml").read_bytes(), run.config_path.read_bytes()
    other = load(
        flags={"output_root": str(tmp_path / "runs"), "name": "mine", "eval.models": ["dpo"]},
        env={},
    )
    with suppress(UsageError), kept_config(run, keep=True):
        write_config(run, other)
        assert run.recipe().eval.models == ["dpo"]
        raise UsageError("stopped half-way")
    assert before == ((run.root / "config.yaml").read_bytes(), run.config_path.read_bytes())


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
