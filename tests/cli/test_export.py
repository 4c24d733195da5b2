"""`zephyrctl export merged` as a person and as a script meet it."""

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

from zephyrctl import environment


def test_a_model_is_exported_and_said_in_one_object(cli: Cli, tiny_base: Path) -> None:
    done = cli("export", "merged", str(tiny_base), "--out", "out", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["folder"] == "out"
    assert (record["dtype"], record["adapters"]) == ("float32", 0)
    assert record["difference"] <= record["tolerance"]
    assert Path("out/model.safetensors").is_file()
    assert "'zephyr' is used" in done.err
    assert "adapters" not in done.err
    assert record["next"][0] == "zephyrctl chat out"

    again = cli("export", "merged", str(tiny_base), "--out", "out")
    assert (again.code, again.out) == (0, "out\n")
    assert "stands already and is unchanged" in again.err
    other = cli("export", "merged", str(tiny_base), "--out", "out", "--dtype", "float16")
    assert other.code == 2
    assert "--force" in other.err
    forced = cli("export", "merged", "out", "--out", "half", "--dtype", "float16")
    assert (forced.code, forced.out) == (0, "half\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("@last",),
        ("./nowhere",),
        ("openai:gpt-4o",),
        ("tiny", "--dtype", "int3"),
        ("tiny", "--max-shard-size", "5XB"),
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


def test_help_lists_whole_summaries_in_the_order_of_use(cli: Cli) -> None:
    lines = cli("export", "--help").out.splitlines()
    commands = [line.split() for line in lines[lines.index("Commands:") + 1 :] if line.strip()]
    assert [words[0] for words in commands] == ["merged", "gguf", "hub"]
    assert all(words[-1].endswith(".") and "..." not in words[-1] for words in commands)


@pytest.mark.parametrize("form", ["merged", "gguf"])
def test_what_cannot_be_written_is_refused_before_anything_is_loaded(
    form: str, cli: Cli, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    Path("file").write_text("mine")
    model = Path(shutil.copytree(tiny_base, "model"))
    with (model / "model.safetensors").open("r+b") as weights:
        weights.truncate(100_000)  # its header stands: whoever loads the model says so
    for out, words in (("full", "not empty"), ("file", "a file of this name"),
                       ("file/below", "this is a file")):  # fmt: skip
        done = cli("export", form, str(model), "--out", out)
        assert (done.code, done.out) == (2, "")
        assert words in done.err
    disk = shutil._ntuple_diskusage(10**9, 10**9, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    done = cli("export", form, str(model), "--out", "out")
    assert done.code == 73
    assert "nothing was begun" in done.err
    assert sorted(path.name for path in Path().iterdir()) == ["file", "full", "model"]


def test_memory_that_no_part_of_the_machine_has_is_refused_and_what_is_tight_is_said(
    cli: Cli, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "memory", lambda: environment.Memory(2**28, 2**28))
    done = cli("export", "merged", str(tiny_base), "--out", "out")
    assert done.code == 3
    assert "this machine has 256 MiB" in done.err
    assert not Path("out").exists()
    monkeypatch.setattr(environment, "memory", lambda: environment.Memory(2**34, 2**20))
    done = cli("export", "merged", str(tiny_base), "--out", "out")
    assert done.code == 0
    assert "1 MiB are free" in done.err
