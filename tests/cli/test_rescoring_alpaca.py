"""`zephyrctl eval rescore alpaca-eval` as a script and as a person meet it."""

import json
from pathlib import Path

from tests.cli.conftest import Cli
from tests.evaluation.alpaca_eval.small import write_small

FIELDS = [
    "win_rate", "standard_error", "discrete_win_rate", "length_controlled_winrate", "n_wins",
    "n_wins_base", "n_draws", "n_total", "avg_length",
]  # fmt: skip


def write(path: Path, *, lost: int = 0, leave_out: int | None = None) -> Path:
    """Annotations of the small set in upstream's form."""
    rows = [
        {
            "instruction": f"Say the number {place}.",
            "output_1": "x" * (3 + 2 * place),
            "output_2": "y" * (20 - place),
            "generator_1": "gpt4_1106_preview",
            "generator_2": "m",
            "preference": None if place < lost else 1 + place / 12,
        }
        for place in range(12)
        if place != leave_out
    ]
    path.write_text(json.dumps(rows))
    return path


def test_stdout_holds_one_object_with_exactly_these_fields(cli: Cli, tmp_path: Path) -> None:
    files = write_small(tmp_path / "files")
    words = ["--annotations", str(write(tmp_path / "a.json")), "--json"]
    done = cli("eval", "rescore", "alpaca-eval", *words)
    assert done.code == 0
    (line,) = done.out.splitlines()
    found = json.loads(line)
    assert list(found) == FIELDS
    assert found["length_controlled_winrate"] is None
    assert "--df-gamed" in done.err
    assert (found["n_wins"], found["n_wins_base"], found["n_draws"]) == (5, 6, 1)
    words += ["--version", "2", "--df-gamed", str(files / "df_gamed.csv"), "--lc-c", "1000"]
    found = json.loads(cli("eval", "rescore", "alpaca-eval", *words).out)
    assert 0 < found["length_controlled_winrate"] < 100


def test_a_missing_row_is_looked_up_by_its_instruction(cli: Cli, tmp_path: Path) -> None:
    files = write_small(tmp_path / "files")
    words = ["--annotations", str(write(tmp_path / "a.json", leave_out=3)), "--json"]
    words += ["--df-gamed", str(files / "df_gamed.csv"), "--lc-c", "1000"]
    unknown = cli("eval", "rescore", "alpaca-eval", *words)
    assert json.loads(unknown.out)["length_controlled_winrate"] is None
    assert "--baseline-outputs" in unknown.err
    shifted = cli("eval", "rescore", "alpaca-eval", *words, "--upstream-compat")
    assert "missing rows shift those behind them" in shifted.err
    words += ["--baseline-outputs", str(files / "alpaca_eval_gpt4_baseline.json")]
    right = cli("eval", "rescore", "alpaca-eval", *words)
    rates = [json.loads(done.out)["length_controlled_winrate"] for done in (shifted, right)]
    assert abs(rates[0] - rates[1]) > 0.01


def test_too_few_preferences_exit_7_and_still_print_the_object(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", lost=4)
    done = cli("eval", "rescore", "alpaca-eval", "--annotations", str(path), "--json")
    assert done.code == 7
    (line,) = done.out.splitlines()
    found = json.loads(line)
    assert (found["win_rate"], found["n_total"]) == (None, 8)
    assert "too few annotations" in done.err


def test_people_get_one_figure_a_line(cli: Cli, tmp_path: Path) -> None:
    done = cli("eval", "rescore", "alpaca-eval", "--annotations", str(write(tmp_path / "a.json")))
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == FIELDS
    assert done.out.splitlines()[0].split()[1] == "45.83"


def test_wrong_input_names_the_file_and_the_entry(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"instruction": "?", "output_1": "a", "preference": 1}]')
    done = cli("eval", "rescore", "alpaca-eval", "--annotations", str(path), "--json")
    assert done.code == 2
    error = json.loads(done.out)["error"]
    assert "output_2" in error["message"]
    assert error["where"] == f"{path}, entry 0"
    path.write_text("{")
    assert cli("eval", "rescore", "alpaca-eval", "--annotations", str(path)).code == 2
    wrong = cli("eval", "rescore", "alpaca-eval", "--annotations", str(path), "--lc-c", "0")
    assert (wrong.code, "--lc-c" in wrong.err) == (2, True)
