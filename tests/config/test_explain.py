"""What the configuration says of itself can be read back, and covers every field."""

import json

import pytest

from zephyrctl.config.explain import explain, schema, to_yaml
from zephyrctl.config.fields import all_fields, settings
from zephyrctl.config.layers import load
from zephyrctl.config.recipes import packaged
from zephyrctl.errors import UsageError


@pytest.mark.parametrize("name", [item.name for item in packaged()])
@pytest.mark.parametrize("changed_only", [False, True])
def test_the_printed_recipe_is_read_back_as_the_same(tmp_path, name, changed_only):
    loaded = load(recipe=name, env={}, cwd=tmp_path, sets=["chat.system='# yes: \"no\"'"])
    path = tmp_path / "shown.yaml"
    path.write_text(to_yaml(loaded, changed_only=changed_only))

    assert load(config=path, env={}, cwd=tmp_path).recipe == loaded.recipe


def test_origins_stand_as_comments(tmp_path):
    text = to_yaml(load(env={}, cwd=tmp_path, sets=["sft.learning_rate=1e-5"]))

    line = next(line for line in text.splitlines() if "# ← --set" in line)
    assert line.split("#")[0].strip() == "learning_rate: 1.0e-05"
    assert "# ← default" in text


def test_only_changes_are_shown_on_request(tmp_path):
    loaded = load(env={}, cwd=tmp_path, sets=["sft.learning_rate=1e-5"])

    text = to_yaml(loaded, origins=False, changed_only=True)

    assert text == "sft:\n  learning_rate: 1.0e-05\n"


@pytest.mark.parametrize("field", all_fields().values(), ids=all_fields())
def test_every_field_is_described(field):
    assert field.description.strip().endswith((".", "."))
    assert field.accepts
    assert field.path in explain(field.path)


def test_a_setting_is_explained_with_what_it_accepts_and_how_it_is_set():
    text = explain("dpo.beta")

    assert "a number above 0" in text
    assert "0.01" in text
    assert "--set dpo.beta=…" in text
    assert "ZEPHYRCTL_DPO__BETA=…" in text


def test_filters_are_explained_with_their_parameters():
    text = explain("data.sft.filters")

    assert "drop_refusals: drop answers that refuse" in text
    assert "min_tokens" in text


def test_the_pass_through_lists_only_what_can_be_passed():
    text = explain("sft.trainer_args")

    assert "adam_beta1" in text
    assert "output_dir" not in text
    assert "packing" not in text


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("dpo.betta", "did you mean 'dpo.beta'?"),
        ("beta", "did you mean 'dpo.beta'?"),
        ("learning_rate", "sft.learning_rate, dpo.learning_rate"),
        ("dpo.beta.x", "unknown key 'dpo.beta.x'"),
    ],
)
def test_an_unknown_key_names_near_ones(key, words):
    with pytest.raises(UsageError) as caught:
        explain(key)

    assert words in caught.value.message


def test_the_schema_is_json_that_forbids_unknown_keys_and_lists_filters():
    text = json.dumps(schema())

    assert schema()["additionalProperties"] is False
    assert "drop_refusals" in text
    assert "Strength of the pull towards the reference model." in text


def test_every_setting_has_an_origin(tmp_path):
    assert set(settings()) <= set(load(env={}, cwd=tmp_path).origins)
