"""`config`, `recipes` and `init` as a user meets them."""

import json
from pathlib import Path

import pytest
import yaml
from tests.config import handbook

from zephyrctl.config.recipes import packaged
from zephyrctl.config.schema import Recipe


def test_check_says_what_was_read(cli):
    Path("zephyr.yaml").write_text("extends: zephyr-7b\nname: mine\n")

    outcome = cli("config", "check", "--set", "seed=3")

    assert outcome.code == 0
    assert outcome.out == "ok: run 'mine' from zephyr.yaml ← recipe zephyr-7b\n"
    assert outcome.err.startswith("config zephyr.yaml ← recipe zephyr-7b, hash ")
    assert outcome.err.endswith(", 1 override\n")


def test_check_under_json_is_one_object(cli):
    outcome = cli("config", "check", "--recipe", "zephyr-7b", "--json")

    found = json.loads(outcome.out)
    assert found["ok"] is True
    assert found["source"] == "recipe zephyr-7b"
    assert len(found["hash"]) == 64


def test_all_problems_are_shown_at_once_and_nothing_on_stdout(cli):
    Path("zephyr.yaml").write_text("sft:\n  learning_rat: 1\n  epochs: x\n")

    outcome = cli("config", "check", "--set", "dpo.beta=0")

    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("error[config]") == 3
    assert "  --> zephyr.yaml:2:3\n" in outcome.err
    assert "  --> --set dpo.beta\n" in outcome.err
    assert outcome.err.endswith("3 problems\n")


def test_show_prints_yaml_on_stdout_and_origins_on_request(cli):
    plain = cli("config", "show", "--recipe", "zephyr-7b").out
    origins = cli("config", "show", "--recipe", "zephyr-7b", "--origin").out

    assert Recipe.model_validate(yaml.safe_load(plain)).name == "zephyr-7b"
    assert "#" not in plain
    assert "# ← recipe zephyr-7b:" in origins
    assert "# ← default" in origins


def test_show_under_json_has_values_and_origins(cli):
    found = json.loads(cli("config", "show", "--recipe", "tiny", "--set", "seed=1", "--json").out)

    assert found["config"]["seed"] == 1
    assert found["origins"]["seed"] == "--set"


def test_explain_answers_and_refuses(cli):
    assert "Strength of the pull" in cli("config", "explain", "dpo.beta").out
    assert "learning_rate" in cli("config", "explain", "sft").out
    assert "trainer" not in cli("config", "explain").out
    assert cli("config", "explain", "dpo.betta").code == 2


def test_schema_is_written_to_a_file(cli):
    printed = cli("config", "schema").out
    outcome = cli("config", "schema", "--out", "s.json")

    assert outcome.code == 0
    assert Path("s.json").read_text() == printed
    assert json.loads(printed)["title"] == "zephyrctl configuration"


def test_convert_prints_yaml_on_stdout_and_notes_on_stderr(cli):
    Path("sft.yaml").write_text(handbook.SFT_2024)
    Path("dpo.yaml").write_text(handbook.DPO_2024)

    outcome = cli("config", "convert", "sft.yaml", "dpo.yaml", "--gpus", "8")

    assert outcome.code == 0
    assert yaml.safe_load(outcome.out)["sft"]["global_batch_size"] == 128
    assert "no counterpart: push_to_hub" in outcome.err


def test_convert_writes_a_file_that_check_takes_and_never_overwrites_it(cli):
    Path("sft.yaml").write_text(handbook.SFT_2025)

    first = cli("config", "convert", "sft.yaml", "--out", "ours.yaml")
    check = cli("config", "check", "-c", "ours.yaml")
    before = Path("ours.yaml").read_text()
    second = cli("config", "convert", "sft.yaml", "--out", "ours.yaml")

    assert (first.code, check.code, second.code) == (0, 0, 2)
    assert Path("ours.yaml").read_text() == before
    assert cli("config", "convert", "sft.yaml", "--out", "ours.yaml", "--force").code == 0


@pytest.mark.parametrize("name", [item.name for item in packaged()])
def test_init_writes_a_file_that_is_valid(cli, name):
    outcome = cli("init", "--recipe", name)

    assert outcome.code == 0
    text = Path("zephyr.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=./zephyr.schema.json\n")
    assert f"extends: {name}\n" in text
    assert json.loads(Path("zephyr.schema.json").read_text())["properties"]["sft"]
    assert cli("config", "check").code == 0


def test_init_refuses_to_overwrite(cli):
    Path("zephyr.yaml").write_text("seed: 1\n")

    outcome = cli("init", "--recipe", "tiny")

    assert outcome.code == 2
    assert "zephyr.yaml exists already" in outcome.err
    assert "--force" in outcome.err
    assert Path("zephyr.yaml").read_text() == "seed: 1\n"
    assert not Path("zephyr.schema.json").exists()
    assert cli("init", "--recipe", "tiny", "--force").code == 0


def test_init_names_the_run(cli):
    cli("init", "--recipe", "tiny", "--name", "007")

    assert "run '007'" in cli("config", "check").out


def test_recipes_are_listed_and_shown(cli):
    listed = cli("recipes", "list").out
    shown = cli("recipes", "show", "zephyr-7b").out

    assert [line.split()[0] for line in listed.splitlines()] == [item.name for item in packaged()]
    assert "name: zephyr-7b\n" in shown
    assert json.loads(cli("recipes", "list", "--json").out)["recipes"][0]["summary"]
