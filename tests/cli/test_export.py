"""`zephyrctl export merged` as a person and as a script meet it."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Cli


def test_a_model_is_exported_and_said_in_one_object(cli: Cli, tiny_base: Path) -> None:
    done = cli("export", "merged", str(tiny_base), "--out", "out", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["folder"] == "out"
    assert (record["dtype"], record["adapters"]) == ("float32", 0)
    assert record["difference"] <= record["tolerance"]
    assert Path("out/model.safetensors").is_file()
    assert "'zephyr' is used" in done.err

    again = cli("export", "merged", str(tiny_base), "--out", "out")
    assert again.code == 2
    assert "--force" in again.err
    forced = cli("export", "merged", "out", "--out", "half", "--dtype", "float16")
    assert (forced.code, forced.out) == (0, "half\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("@last",),
        ("./nowhere",),
        ("openai:gpt-4o",),
        ("tiny", "--dtype", "int3"),
        (),
    ],
    ids=" ".join,
)
def test_wrong_wishes_end_with_one_message_and_nothing_written(
    arguments: tuple[str, ...], cli: Cli
) -> None:
    done = cli("export", "merged", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("error[") == 1
    assert list(Path().iterdir()) == []
