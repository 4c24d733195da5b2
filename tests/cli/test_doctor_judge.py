"""What `doctor` says of judges, their price, and the files of judged benchmarks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zephyrctl.cli.doctor_judge import check
from zephyrctl.config.schema import Recipe
from zephyrctl.models import hub

LOCAL = "openai+http://localhost:8000/v1:m"
PAID = "openai:gpt-4o"
ELSEWHERE = "openai+https://judges.example/v1:m"


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with a key, an empty cache and no Hub, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    for name in ("ZEPHYRCTL_OFFLINE", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.answers.cache_clear()
    yield tmp_path
    hub.answers.cache_clear()


def findings(spec: str | None, *benchmarks: str, **settings: Any) -> list[tuple[str, str, str]]:
    """Name, state, and text with remedy of each finding."""
    judge = {"spec": spec, **settings.pop("judge", {})}
    recipe = Recipe.model_validate(
        {"eval": {"benchmarks": list(benchmarks), "judge": judge, **settings}}
    )
    return [(each.name, each.state, f"{each.text} → {each.remedy}") for each in check(recipe)]


def test_without_judged_benchmarks_there_is_nothing_to_say() -> None:
    assert findings(None, "rules") == []


@pytest.mark.parametrize(
    ("benchmarks", "words"),
    [
        (["mt-bench"], "run leaves mt-bench out"),
        (["rules", "alpaca-eval", "mt-bench"], "run leaves mt-bench and alpaca-eval out"),
        (["own"], "run leaves own out"),
    ],
)
def test_without_a_judge_it_names_what_is_left_out(benchmarks: list[str], words: str) -> None:
    [(name, state, text)] = findings(None, *benchmarks)
    assert (name, state) == ("judge", "warning")
    assert words in text
    assert "rules" not in text


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gpt-4o", "does not say of which kind"),
        ("openai+http://localhost:8000/v1", "not an address and a model"),
        ("replay:gone.jsonl", "there is no file gone.jsonl"),
    ],
)
def test_a_judge_that_cannot_be_is_a_problem(spec: str, words: str, box: Path) -> None:
    (box / "q.jsonl").write_text('{"question_id": 1, "turns": ["Why?"]}\n', encoding="utf-8")
    found = findings(spec, "own", own={"questions": "q.jsonl"})
    assert found[0][:2] == ("judge", "problem")
    assert words in found[0][2]
    assert found[1][:2] == ("own", "ok")


def test_a_missing_key_and_a_forbidden_network_are_problems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "export OPENAI_API_KEY" in findings(PAID, "mt-bench")[0][2]
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    assert "forbids the network" in findings(PAID, "mt-bench")[0][2]
    assert findings(LOCAL, "mt-bench")[0][:2] == ("judge", "ok")


@pytest.mark.parametrize(
    ("spec", "settings", "expected"),
    [
        (PAID, {}, ("warning", "costs money: run shows the bill and asks")),
        (PAID, {"max_cost": 3}, ("ok", "at most 3 USD")),
        (ELSEWHERE, {}, ("warning", "has no known price")),
        (ELSEWHERE, {"max_cost": 3}, ("problem", "cannot be kept")),
        (
            ELSEWHERE,
            {"max_cost": 3, "judge": {"prompt_price": 1, "completion_price": 2}},
            ("ok", "at most 3 USD"),
        ),
    ],
)
def test_a_judge_that_costs_money_is_agreed_to_or_asked_about(
    spec: str, settings: dict[str, object], expected: tuple[str, str]
) -> None:
    _, price, _ = findings(spec, "mt-bench", **settings)
    assert price[:2] == ("judge", expected[0])
    assert expected[1] in price[2]


def test_a_judge_of_this_machine_needs_no_agreement() -> None:
    found = findings(LOCAL, "mt-bench")
    assert [name for name, *_ in found] == ["judge", "mt-bench"]


def test_files_are_in_the_folder_or_the_finding_says_which_are_not(box: Path) -> None:
    for name in ("question.jsonl", "judge_prompts.jsonl"):
        (box / "mt_bench" / name).parent.mkdir(exist_ok=True)
        (box / "mt_bench" / name).write_text("{}\n", encoding="utf-8")
    found = findings(LOCAL, "mt-bench", "alpaca-eval", data_dir=str(box))
    assert [(name, state) for name, state, _ in found[1:]] == [
        ("mt-bench", "problem"), ("alpaca-eval", "problem"),
    ]  # fmt: skip
    assert "reference_answer/gpt-4-0125-preview.jsonl is not in the folder" in found[1][2]
    assert "zephyrctl eval fetch mt-bench --to" in found[1][2]
    assert "df_gamed.csv" in found[2][2]
    (box / "mt_bench" / "reference_answer").mkdir()
    (box / "mt_bench/reference_answer/gpt-4-0125-preview.jsonl").write_text("{}\n")
    assert findings(LOCAL, "mt-bench", data_dir=str(box))[1][1] == "ok"


def test_nothing_is_fetched_and_no_licence_told(
    box: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = findings(LOCAL, "mt-bench", "alpaca-eval")
    assert [state for _, state, _ in found] == ["ok", "problem", "problem"]
    assert "zephyrctl eval fetch alpaca-eval --from" in found[2][2]
    assert not (box / "cache").exists()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("questions", "rubric", "state", "words"),
    [
        (None, None, "warning", "run leaves own out"),
        ("gone.jsonl", None, "problem", "cannot be read"),
        ("good.jsonl", None, "ok", "1 question in good.jsonl"),
        ("broken.jsonl", None, "problem", "broken.jsonl:1"),
        ("good.jsonl", "deaf.jinja", "problem", "leaves the answer out"),
    ],
)
def test_own_questions_and_rubric_are_read(
    box: Path, questions: str | None, rubric: str | None, state: str, words: str
) -> None:
    (box / "good.jsonl").write_text('{"question_id": 1, "turns": ["Why?"]}\n', encoding="utf-8")
    (box / "broken.jsonl").write_text('{"question_id": 1}\n', encoding="utf-8")
    (box / "deaf.jinja").write_text("Rate {{ question }}: [[6]]", encoding="utf-8")
    _, own = findings(LOCAL, "own", own={"questions": questions, "rubric": rubric})
    assert own[:2] == ("own", state)
    assert words in own[2]


def test_doctor_shows_them(cli, box: Path) -> None:
    done = cli("doctor", "--recipe", "tiny", "--set", "eval.benchmarks=[rules,mt-bench]", "--json")
    assert done.code == 0
    rows = [row for row in json.loads(done.out)["findings"] if row["name"] == "judge"]
    assert [row["state"] for row in rows] == ["warning"]
