"""Wrong inputs in files, variables and on the command line: one message, the right code, no trace.

Every case runs in a folder of its own, and must leave it as it was.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DEEP = "a: " + "[" * 500


@dataclass(frozen=True)
class Case:
    """`args` in a folder with `files`; `says` must be part of the message."""

    name: str
    args: tuple[str, ...]
    says: str
    files: dict[str, str | bytes] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    code: int = 2
    where: str = ""


def in_file(name: str, text: str | bytes, says: str, where: str = "") -> Case:
    return Case(name, ("config", "check"), says, {"zephyr.yaml": text}, where=where)


def with_set(name: str, text: str, says: str) -> Case:
    return Case(name, ("config", "check", "--set", text), says)


CASES = [
    in_file("unknown key", "sft:\n  learning_rat: 1\n", "did you mean 'learning_rate'?", ":2:3"),
    in_file("unknown section", "stf: {}\n", "did you mean 'sft'?", ":1:1"),
    in_file("text for a number", "sft: {epochs: many}\n", "a number above 0, not 'many'", ":1:7"),
    in_file("quoted number", "sft: {epochs: '3'}\n", "write it without quotes"),
    in_file("number for text", "name: 2024\n", "put quotes around it"),
    in_file("yes for true", "model: {load_in_4bit: yes}\n", "write true"),
    in_file("out of range", "dpo: {label_smoothing: 0.7}\n", "at least 0 and below 0.5"),
    in_file("not finite", "sft: {learning_rate: .nan}\n", "a number above 0"),
    in_file("infinite", "sft: {learning_rate: 1e999}\n", "a number above 0"),
    in_file("wrong choice", "sft: {packing: bdf}\n", "did you mean 'bfd'?"),
    in_file("section is a value", "sft: 3\n", "a mapping of keys to values, not 3"),
    in_file("section is null", "sft: null\n", "a mapping of keys to values, not null"),
    in_file("list is a value", "eval: {models: sft}\n", "write [sft]"),
    in_file("missing path", "data: {sft: {train: [{split: x}]}}\n", "lacks 'path'"),
    in_file("unknown filter", "data: {sft: {filters: [dedupp]}}\n", "did you mean 'dedup'?"),
    in_file(
        "filter parameter",
        "data: {sft: {filters: [{name: length, min_token: 3}]}}\n",
        "did you mean 'min_tokens'?",
    ),
    in_file("duplicate key", "seed: 1\nseed: 2\n", "'seed' stands twice", ":2:1"),
    in_file("octal", "seed: 012\n", "has a leading zero", ":1:7"),
    in_file("anchor", "seed: &x 1\n", "anchors (&x) are not read", ":1:7"),
    in_file("tag", "seed: !!python/object:os.system x\n", "are not read", ":1:7"),
    in_file("merge key", "sft: {<<: {epochs: 1}}\n", "merge keys", ":1:7"),
    in_file("tab", "sft:\n\tepochs: 1\n", "a tab indents this line", ":2:1"),
    in_file("broken", "sft: [1\n", "not valid YAML"),
    in_file("two documents", "seed: 1\n---\nseed: 2\n", "a second document", ":2:1"),
    in_file("deep", DEEP, "nested deeper than 64 levels"),
    in_file("binary", b"\x00\x01\xff\xfe", "not UTF-8 text"),
    in_file("a list", "- a\n", "a configuration is a mapping"),
    in_file("handbook key", "num_train_epochs: 1\n", "here it is called sft.epochs", ":1:1"),
    in_file("secret in the file", "eval: {judge: {api_key: sk-secretsecret}}\n", "api_key_file"),
    in_file("owned trainer arg", "sft: {trainer_args: {seed: 1}}\n", "is decided by seed"),
    in_file("unknown trainer arg", "sft: {trainer_args: {adam_bet1: 1}}\n", "'adam_beta1'"),
    in_file("contradiction", "dpo: {max_prompt_length: 1024}\n", "no room for a completion"),
    in_file("run name with a path", "name: ../../etc\n", "letters, digits"),
    in_file("run name too long", f"name: {'x' * 65}\n", "at most 64"),
    in_file("extends unknown", "extends: zephyr-7c\n", "did you mean 'zephyr-7b'?", ":1:1"),
    in_file("extends absent", "extends: ./no.yaml\n", "there is no such file", ":1:1"),
    in_file("extends itself", "extends: ./zephyr.yaml\n", "runs in a circle", ":1:1"),
    in_file("negative seed", "seed: -1\n", "a whole number of at least 0"),
    in_file("fraction for a count", "sft: {max_steps: 1.5}\n", "a whole number"),
    in_file("control characters", 'name: "\\e[31mred"\n', "letters, digits"),
    Case(
        "circle of two",
        ("config", "check"),
        "runs in a circle: zephyr.yaml → b.yaml → zephyr.yaml",
        {"zephyr.yaml": "extends: b.yaml\n", "b.yaml": "extends: zephyr.yaml\n"},
    ),
    Case("broken toml", ("config", "check", "-c", "a.toml"), "not valid TOML", {"a.toml": "a ="}),
    Case("absent file", ("config", "check", "-c", "nope.yaml"), "no such file"),
    Case("a folder", ("config", "check", "-c", "."), "a folder, not a file"),
    Case(
        "file and recipe",
        ("config", "check", "-c", "a.yaml", "--recipe", "tiny"),
        "give one of them",
        {"a.yaml": "seed: 1\n"},
    ),
    Case("unknown recipe", ("config", "check", "--recipe", "tinny"), "did you mean 'tiny'?"),
    Case("recipe is a path", ("recipes", "show", "../../etc/passwd"), "unknown recipe"),
    Case("unknown variable", ("config", "check"), "unknown environment variable", env={
        "ZEPHYRCTL_SFT__LERNING_RATE": "1"}),
    Case("variable of another section", ("config", "check"), "unknown environment variable", env={
        "ZEPHYRCTL_LEARNING_RATE": "1"}),
    Case("wrong variable", ("config", "check"), "the value cannot be read", env={
        "ZEPHYRCTL_SFT__EPOCHS": "[1"}, where="ZEPHYRCTL_SFT__EPOCHS"),
    with_set("set without value", "sft.epochs", "--set takes KEY=VALUE"),
    with_set("set without key", "=3", "--set takes KEY=VALUE"),
    with_set("set with empty value", "sft.epochs=", "no value for sft.epochs"),
    with_set("set unknown", "sft.epoch=1", "did you mean 'epochs'?"),
    with_set("set list item", "data.sft.train.0.path=x", "give the whole list"),
    with_set("set below a value", "seed.x=1", "seed"),
    with_set("set extends", "extends=tiny", "read from a file only"),
    with_set("set broken yaml", "eval.models=[a", "cannot be read"),
    with_set("set unknown template", "model.chat_template=zephir", "did you mean 'zephyr'?"),
    Case("unknown command", ("trian",), "no such command 'trian'"),
    Case("unknown option", ("config", "show", "--orign"), "--orign"),
    Case("bad colour", ("--color", "sometimes", "config", "check"), "--color"),
    Case("explain unknown", ("config", "explain", "sft.lr"), "unknown key 'sft.lr'"),
    Case("convert absent", ("config", "convert", "x.yaml"), "no such file"),
    Case(
        "convert our own",
        ("config", "convert", "zephyr.yaml"),
        "a zephyrctl configuration already",
        {"zephyr.yaml": "sft: {}\n"},
    ),
    Case("init without recipe", ("init",), "--recipe"),
    Case("init unknown recipe", ("init", "--recipe", "zzz"), "unknown recipe 'zzz'"),
    Case("init bad name", ("init", "--recipe", "tiny", "--name", "a/b"), "letters, digits"),
    Case("run without config", ("run", "--dry-run"), "no configuration"),
    Case("run unknown stage", ("run", "--recipe", "tiny", "--until", "dpoo"), "--until"),
    Case("chat drawn oddly", ("chat", "--render", "html"), "'--render': 'html' is not one of"),
    Case("run negative rate", ("sft", "--recipe", "tiny", "--learning-rate", "-1"), "above 0"),
    Case("unknown help topic", ("help", "offlin"), "did you mean 'offline'?"),
]  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_input_ends_in_one_clear_message(cli, monkeypatch, case):
    for name, text in case.files.items():
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    before = contents(Path.cwd())

    outcome = cli(*case.args)

    assert outcome.code == case.code, outcome.err
    assert outcome.out == ""
    assert case.says in outcome.err
    assert case.where in outcome.err
    assert outcome.err.count("error[") == 1
    for never in ("Traceback", "pydantic", "Input should", "\x1b", "sk-secretsecret"):
        assert never not in outcome.err
    assert contents(Path.cwd()) == before


@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case.name)
def test_under_json_it_is_one_object_on_stdout(cli, case):
    for name, text in case.files.items():
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())

    outcome = cli(*case.args, "--json")

    error = json.loads(outcome.out)["error"]
    assert outcome.code == error["code"] == case.code
    assert outcome.out.count("\n") == 1
    assert case.says in f"{error['message']} {error['hint']}"
