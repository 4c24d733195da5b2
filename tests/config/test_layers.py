"""How layers merge, where each value is said to come from, and how problems read."""

from pathlib import Path

import pytest

from zephyrctl.config.layers import Origin, config_hash, load
from zephyrctl.errors import ConfigError, Problem


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(**given) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(**{"env": {}, **given})
    return list(caught.value.problems)


def test_without_any_layer_the_defaults_hold(tmp_path):
    loaded = load(env={}, cwd=tmp_path)

    assert loaded.source == "defaults"
    assert loaded.recipe.sft.learning_rate == 2e-5
    assert loaded.origins["sft.learning_rate"] == Origin("default", "default")


def test_each_layer_wins_over_the_weaker_ones_and_is_named_as_origin(tmp_path):
    write(tmp_path, "base.yaml", "seed: 1\nname: base\nsft: {epochs: 9, log_every: 9}\n")
    text = "extends: ./base.yaml\nseed: 2\nsft:\n  learning_rate: 1e-3\n"
    write(tmp_path, "zephyr.yaml", text)

    loaded = load(
        cwd=tmp_path,
        env={"ZEPHYRCTL_SFT__LEARNING_RATE": "2e-3", "ZEPHYRCTL_SFT__EPOCHS": "2"},
        sets=["sft.epochs=3", "sft.max_length=64"],
        flags={"sft.max_length": 32, "sft.max_steps": None},
    )

    found = {key: (value.kind, value.label) for key, value in loaded.origins.items()}
    assert loaded.recipe.name == "base"
    assert found["name"] == ("file", "base.yaml:2:1")
    assert loaded.recipe.seed == 2
    assert found["seed"] == ("file", "zephyr.yaml:2:1")
    assert loaded.recipe.sft.learning_rate == 2e-3
    assert found["sft.learning_rate"] == ("env", "ZEPHYRCTL_SFT__LEARNING_RATE")
    assert loaded.recipe.sft.epochs == 3
    assert found["sft.epochs"] == ("set", "--set")
    assert loaded.recipe.sft.max_length == 32
    assert found["sft.max_length"] == ("flag", "--max-length")
    assert found["sft.log_every"] == ("file", "base.yaml:3:18")
    assert found["sft.max_steps"] == ("default", "default")
    assert loaded.source == "zephyr.yaml ← base.yaml"
    assert loaded.recipe.extends is None


def test_a_packaged_recipe_is_named_as_the_origin():
    loaded = load(recipe="zephyr-7b-qlora", env={})

    assert loaded.source == "recipe zephyr-7b-qlora ← recipe zephyr-7b"
    assert loaded.origins["model.load_in_4bit"].kind == "recipe"
    assert loaded.origins["model.load_in_4bit"].label.startswith("recipe zephyr-7b-qlora:")


def test_mappings_merge_lists_replace_and_null_is_a_value(tmp_path):
    write(
        tmp_path,
        "a.yaml",
        "sft: {eval_every: 5, expected: {x: {value: 1, tolerance: 1}}}\neval: {models: [a, b]}\n",
    )
    path = write(
        tmp_path,
        "b.yaml",
        "extends: a.yaml\nsft: {eval_every: null, expected: {y: {value: 2, tolerance: 1}}}\n"
        "eval: {models: [c]}\n",
    )

    recipe = load(config=path, env={}, cwd=tmp_path).recipe

    assert recipe.sft.eval_every is None
    assert list(recipe.sft.expected) == ["x", "y"]
    assert recipe.eval.models == ["c"]


def test_an_empty_mapping_takes_away_what_weaker_layers_put_there(tmp_path):
    write(tmp_path, "a.yaml", "sft: {epochs: 5, trainer_args: {adam_beta1: 0.8}}\n")
    path = write(tmp_path, "b.yaml", "extends: a.yaml\nsft: {trainer_args: {}}\n")

    recipe = load(config=path, env={}, cwd=tmp_path).recipe

    assert recipe.sft.trainer_args == {}
    assert recipe.sft.epochs == 5


def test_of_several_extends_the_later_wins(tmp_path):
    write(tmp_path, "a.yaml", "seed: 1\nname: a\n")
    write(tmp_path, "b.yaml", "seed: 2\n")
    path = write(tmp_path, "c.yaml", "extends: [a.yaml, b.yaml]\n")

    recipe = load(config=path, env={}, cwd=tmp_path).recipe

    assert (recipe.seed, recipe.name) == (2, "a")


def test_extends_in_a_circle_is_refused_with_the_circle(tmp_path):
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    write(tmp_path, "b.yaml", "seed: 1\nextends: ./a.yaml\n")

    (problem,) = problems(config=Path("a.yaml"), cwd=tmp_path)

    assert problem.message == "'extends' runs in a circle: a.yaml → b.yaml → a.yaml"
    assert problem.where == "b.yaml:2:1"


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("zephyr-7", "unknown recipe 'zephyr-7'; did you mean 'zephyr-7b'?"),
        ("./gone.yaml", "'extends' names ./gone.yaml, and there is no such file"),
        ("3", "extends must be the name of a packaged recipe, a file, or a list of these"),
        (
            "[zephyr-7b, 1]",
            "extends must be the name of a packaged recipe, a file, or a list of these",
        ),
    ],
)
def test_bad_extends_is_located(tmp_path, extends, message):
    write(tmp_path, "zephyr.yaml", f"seed: 1\nextends: {extends}\n")

    (problem,) = problems(cwd=tmp_path)

    assert problem.message == message
    assert problem.where == "zephyr.yaml:2:1"


def test_all_problems_of_all_layers_are_reported_at_once(tmp_path):
    text = "sft:\n  learning_rat: 1\n  epochs: many\nmodel: {dtype: bf16}\n"
    write(tmp_path, "zephyr.yaml", text)

    found = problems(
        cwd=tmp_path,
        env={"ZEPHYRCTL_SEEED": "1"},
        sets=["dpo.beta=-1", "nonsense"],
        flags={"chat.top_p": 3.0},
    )

    assert sorted(problem.where or "" for problem in found) == [
        "--set dpo.beta",
        "--set nonsense",
        "--top-p",
        "ZEPHYRCTL_SEEED",
        "zephyr.yaml:2:3",
        "zephyr.yaml:3:3",
        "zephyr.yaml:4:9",
    ]
    text = "\n".join(problem.message for problem in found)
    assert "unknown key 'learning_rat' in section 'sft'; did you mean 'learning_rate'?" in text
    assert "sft.epochs must be a number above 0, not 'many'" in text
    assert "dpo.beta must be a number above 0, not -1" in text
    assert "chat.top_p must be a number above 0 and at most 1, not 3.0" in text
    assert "Input should" not in text
    assert "pydantic" not in text


def test_contradictions_are_found_beside_wrong_values(tmp_path):
    write(
        tmp_path,
        "zephyr.yaml",
        "seed: x\ndpo: {max_length: 100, max_prompt_length: 100}\n"
        "sft: {max_length: no, trainable_layers: 2, adapter: {type: lora}}\n",
    )

    found = [problem.message for problem in problems(cwd=tmp_path)]

    assert len(found) == 4
    assert any("leaves no room for a completion" in message for message in found)
    assert any("sft.trainable_layers chooses among the weights" in message for message in found)


def test_a_contradiction_that_rests_on_a_wrong_value_is_not_invented(tmp_path):
    write(tmp_path, "zephyr.yaml", "dpo: {max_length: x, max_prompt_length: 1500}\n")

    (problem,) = problems(cwd=tmp_path)

    assert problem.message.startswith("dpo.max_length must be a whole number")


def test_text_fields_keep_the_text_that_looks_like_a_number(tmp_path):
    recipe = load(
        cwd=tmp_path,
        env={"ZEPHYRCTL_NAME": "007", "ZEPHYRCTL_MODEL__REVISION": "1e10"},
        sets=["track.project=2024"],
    ).recipe

    assert (recipe.name, recipe.model.revision, recipe.track.project) == ("007", "1e10", "2024")


def test_a_number_in_a_text_field_of_a_file_is_refused_rather_than_rewritten(tmp_path):
    write(tmp_path, "zephyr.yaml", "model: {revision: 1e10}\n")

    (problem,) = problems(cwd=tmp_path)

    assert problem.message == "model.revision must be text or null, not 10000000000.0"
    assert problem.hint == "put quotes around it"


def test_an_empty_environment_variable_counts_as_unset(tmp_path):
    assert load(cwd=tmp_path, env={"ZEPHYRCTL_SEED": ""}).recipe.seed == 42


@pytest.mark.parametrize(
    "name", ["ZEPHYRCTL_CACHE", "ZEPHYRCTL_OFFLINE", "ZEPHYRCTL_DEBUG", "ZEPHYRCTL_TEST_DATA"]
)
def test_our_other_variables_are_no_settings(tmp_path, name):
    assert load(cwd=tmp_path, env={name: "1", "HOME": "/x"}).source == "defaults"


def test_variables_reach_into_mappings(tmp_path):
    loaded = load(cwd=tmp_path, env={"ZEPHYRCTL_SFT__TRAINER_ARGS__ADAM_BETA1": "0.8"})

    assert loaded.recipe.sft.trainer_args == {"adam_beta1": 0.8}
    assert loaded.origins["sft.trainer_args.adam_beta1"].kind == "env"


def test_local_paths_are_relative_to_the_file_that_names_them(tmp_path):
    folder = tmp_path / "conf"
    folder.mkdir()
    path = write(
        folder,
        "a.yaml",
        "model: {base: ./m, chat_template: t.jinja}\n"
        "data: {sft: {train: [{path: d.jsonl}, {path: org/set}, {path: ../up.parquet}]},\n"
        "       decontaminate: {against: [rules, q.jsonl]}}\n"
        "eval: {rules: {questions: q.jsonl}, data_dir: bench, judge: {spec: 'replay:./v.jsonl'}}\n",
    )

    recipe = load(config=path, env={}, cwd=tmp_path, sets=["data.dpo.train=[{path: ./p}]"]).recipe

    assert recipe.model.base == str(folder / "m")
    assert recipe.model.chat_template == str(folder / "t.jinja")
    sources = [source.path for source in recipe.data.sft.train]
    assert sources == [str(folder / "d.jsonl"), "org/set", str(tmp_path / "up.parquet")]
    assert recipe.data.decontaminate.against == ["rules", str(folder / "q.jsonl")]
    assert recipe.eval.rules.questions == str(folder / "q.jsonl")
    assert recipe.eval.data_dir == str(folder / "bench")
    assert recipe.eval.judge.spec == f"replay:{folder}/v.jsonl"
    assert recipe.data.dpo.train[0].path == str(tmp_path / "p")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    recipe = load(cwd=tmp_path, env={}, sets=["model.base=~/models/m"]).recipe

    assert recipe.model.base == str(tmp_path / "home" / "models" / "m")


def test_a_tilde_without_such_a_user_is_an_ordinary_name(tmp_path):
    recipe = load(cwd=tmp_path, env={}, sets=["model.base=~nobody-of-that-name"]).recipe

    assert recipe.model.base == str(tmp_path / "~nobody-of-that-name")


def test_old_names_are_an_error_that_names_ours(tmp_path):
    write(tmp_path, "zephyr.yaml", "torch_dtype: bfloat16\nsft: {num_train_epochs: 1}\nbeta: 1\n")

    found = problems(cwd=tmp_path)

    assert [problem.message for problem in found] == [
        "unknown key 'sft.num_train_epochs'; here it is called sft.epochs",
        "unknown key 'torch_dtype'; here it is called model.dtype",
        "unknown key 'beta'; here it is called dpo.beta",
    ]
    assert {problem.hint for problem in found} == {"zephyrctl config convert zephyr.yaml"}


@pytest.mark.parametrize(
    ("old", "ours"),
    [
        ("max_seq_length", "sft.max_length or dpo.max_length"),
        ("per_device_train_batch_size", "sft.micro_batch_size or dpo.micro_batch_size"),
        ("gradient_accumulation_steps", "sft.global_batch_size or dpo.global_batch_size"),
        ("lr_scheduler_type", "sft.lr_scheduler or dpo.lr_scheduler"),
        ("warmup_steps", "sft.warmup_ratio or dpo.warmup_ratio"),
        ("loss_type", "dpo.loss"),
        ("output_dir", "output_root"),
        ("model_name_or_path", "model.base"),
        ("dataset_mixer", "data.sft.train or data.dpo.train"),
        ("learning_rate", "sft.learning_rate or dpo.learning_rate"),
    ],
)
def test_keys_of_other_tools_are_known(tmp_path, old, ours):
    (problem,) = problems(cwd=tmp_path, sets=[f"{old}=1"])

    assert problem.message == f"unknown key '{old}'; here it is called {ours}"


def test_a_section_that_checks_itself_is_placed_too(tmp_path):
    (problem,) = problems(cwd=tmp_path, sets=["data.dpo.binarize={preset: h4-2024, margin: 1.0}"])

    assert problem.message == ("data.dpo.binarize: the preset 'h4-2024' fixes margin; remove it")
    assert problem.where == "--set data.dpo.binarize"


def test_a_dpo_key_below_sft_is_sent_to_dpo(tmp_path):
    (problem,) = problems(cwd=tmp_path, sets=["sft.max_prompt_length=4"])

    assert "dpo.max_prompt_length" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "eval.judge.api_key=sk-verysecretvalue",
        "eval.judge.spec=openai+https://me:hunter22@host/v1:m",
        "launch.gpus=sk-verysecretvalue",
        "sft.trainer_args={hub_token: hf_verysecretvalue}",
    ],
)
def test_secrets_are_never_echoed(tmp_path, text):
    found = problems(cwd=tmp_path, sets=[text])

    shown = "\n".join(f"{item.message} {item.where} {item.hint}" for item in found)
    assert "verysecret" not in shown
    assert "hunter22" not in shown


def test_an_item_of_a_list_cannot_be_set_alone(tmp_path):
    (problem,) = problems(cwd=tmp_path, sets=["data.sft.train.0.limit=5"])

    assert problem.hint == "--set 'data.sft.train=[…]'"


def test_config_and_recipe_together_are_refused(tmp_path):
    path = write(tmp_path, "a.yaml", "seed: 1\n")

    (problem,) = problems(config=path, recipe="zephyr-7b", cwd=tmp_path)

    assert "give one of them" in problem.message


def test_the_hash_ignores_where_a_run_is_kept_and_sees_what_it_does(tmp_path):
    def digest(*sets: str) -> str:
        return config_hash(load(env={}, cwd=tmp_path, sets=sets).recipe)

    assert digest() == digest("name=other", "output_root=x", "track.to=[wandb]", "chat.top_k=1")
    assert digest() != digest("sft.learning_rate=1e-5")
    assert digest() != digest("seed=1")


# --------------------------------------------------------------- a revision belongs to its base


def test_a_recipes_revision_goes_with_its_base_model(tmp_path):
    pinned = load(recipe="zephyr-7b", env={}).recipe.model
    other = load(recipe="zephyr-7b", sets=["model.base=tiny"], env={}).recipe.model
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: zephyr-7b\nmodel: {base: owner/name}\n", encoding="utf-8")

    assert pinned.revision is not None
    assert other.revision is None
    assert load(config=mine, env={}).recipe.model.revision is None


def test_a_revision_that_the_user_gives_stays_in_any_order():
    sets = ["model.revision=abc", "model.base=owner/name"]

    assert load(recipe="zephyr-7b", sets=sets, env={}).recipe.model.revision == "abc"
    assert load(recipe="zephyr-7b", sets=sets[::-1], env={}).recipe.model.revision == "abc"


def test_a_base_that_is_named_again_keeps_its_revision():
    same = ["model.base=mistralai/Mistral-7B-v0.1"]

    again = load(recipe="zephyr-7b", sets=same, env={}).recipe.model
    assert again.revision == load(recipe="zephyr-7b", env={}).recipe.model.revision


@pytest.mark.parametrize(
    ("setting", "accepted"),
    [
        ("launch.rendezvous=host-0", "an address such as host-0:29400 or null"),
        ("launch.rendezvous=host-0:99999", "an address such as host-0:29400 or null"),
        ("launch.rendezvous=host-0:0", "an address such as host-0:29400 or null"),
        ("launch.slurm.constraint=-w x", "features joined by & and |, such as h100&nvlink"),
        ('launch.slurm.options=["-J x"]', "a long option such as --mail-type=END"),
        ("launch.skypilot.accelerators=H100", "a kind and number such as H100:8"),
        ("launch.skypilot.bucket=mine", "a bucket such as s3://my-runs"),
    ],
)
def test_a_name_of_the_launch_that_is_malformed_is_answered_with_an_example(setting, accepted):
    (problem,) = problems(sets=[setting])

    assert f"must be {accepted}" in problem.message
