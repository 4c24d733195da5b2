"""Configuration files by which YAML readers have been brought down or misled, through the CLI."""

import time
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

MOST_S = 5.0


def levels(count: int) -> str:
    """Aliases of aliases, which expand to 9^count words."""
    named = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, count)]
    return "\n".join(["l0: &l0 [lol]", *named]) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("code", "seed: !!python/object/apply:os.system ['touch CODE-RAN']\n", "are not read"),
        ("bomb", levels(30), "are not read; write the value out"),
        ("flow", "a: " + "[" * 100_000, "nested deeper than 64 levels"),
        ("block", "".join(f"{' ' * n}a:\n" for n in range(1200)), "nested deeper than 64 levels"),
        ("twice", "sft: {learning_rate: 1.0e-5, learning_rate: 1.0e-4}\n", "stands twice"),
        ("large", "# " + "x" * 1_000_001, "at most 1,000,000"),
        ("octal", "seed: 012\n", "has a leading zero"),
        ("sexagesimal", "sft: {learning_rate: 12:30}\n", "a number above 0, not '12:30'"),
        ("no", "model: {load_in_4bit: no}\n", "write false"),
        ("nan", "dpo: {beta: .nan}\n", "dpo.beta"),
        ("inf", "dpo: {beta: .inf}\n", "dpo.beta"),
        ("overflow", "sft: {learning_rate: 1e999}\n", "a number above 0"),
        ("digits", f"seed: {'9' * 5000}\n", "a number of 5000 digits"),
    ],
    ids=lambda value: value if len(value) < 12 else "",
)
def test_a_hostile_file_is_one_error_and_soon(cli: Cli, name: str, text: str, said: str) -> None:
    del name
    Path("zephyr.yaml").write_text(text)
    began = time.monotonic()

    done = cli("config", "check")

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert time.monotonic() - began < MOST_S
    assert not Path("CODE-RAN").exists()


def test_the_rate_of_zephyrs_dpo_is_a_number(cli: Cli) -> None:
    Path("zephyr.yaml").write_text("dpo: {learning_rate: 5e-7}\nname: 'no'\n")
    shown = cli("config", "show", "--json")
    assert shown.code == 0
    assert '"learning_rate": 5e-07' in shown.out
    assert '"name": "no"' in shown.out


@pytest.mark.parametrize(
    "text", ["seed=[" + "[" * 100_000, "seed=&a [*a, *a]", "seed=!!python/x 1"]
)
def test_values_on_the_command_line_are_read_as_strictly(cli: Cli, text: str) -> None:
    done = cli("config", "check", "--set", text)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("error[") == 1


def test_a_refused_value_is_not_repeated_where_it_may_be_a_secret(cli: Cli) -> None:
    secret = "sk-canary-0123456789abcdef"
    Path("zephyr.yaml").write_text(f"eval: {{judge: {{api_key: {secret}}}}}\n")
    assert secret not in cli("config", "check").err
    done = cli("config", "check", "--set", f"eval.judge.api_key={secret}")
    assert done.code == 2
    assert secret not in done.err
