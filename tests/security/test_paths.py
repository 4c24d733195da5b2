"""Names and links lead nowhere outside: to no other path, into no command and no deletion."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.runs.conftest import make_run

from zephyrctl.config.layers import load
from zephyrctl.data.sources import read
from zephyrctl.errors import ZephyrctlError
from zephyrctl.models import hub
from zephyrctl.runs import atomic
from zephyrctl.runs.store import RUN_NAME
from zephyrctl.stages.pipeline import start_afresh
from zephyrctl.training import checkpoints

NAMES = (
    "../x", "..", ".", "a/b", "/etc", "-rf", "--help", "a\nb", "a\n#SBATCH --uid=0", "a b", "$(id)",
    "`id`", "a;id", "a'b", 'a"b', "", "a\x00b", "ä", "~root", "x" * 65, "a\n",
)  # fmt: skip
WORDS = ("a\n#SBATCH -w x", "a b", "-w", "$(id)", "a;id", "../x", "a=b", "")


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_the_name_of_a_run_is_a_word(cli: Cli, name: str) -> None:
    assert RUN_NAME.fullmatch(name) is None
    Path("zephyr.yaml").write_text(f"name: {json.dumps(name)}\n")
    done = cli("run", "--until", "data", "--dry-run")
    assert done.code == 2, done.out
    assert not Path("runs").exists()


@pytest.mark.parametrize("word", WORDS, ids=repr)
@pytest.mark.parametrize(
    "key",
    [
        "slurm: {partition: %s}", "slurm: {account: %s}", "slurm: {qos: %s}",
        "slurm: {constraint: %s}", "slurm: {modules: [%s]}", "slurm: {options: [%s]}",
        "skypilot: {infra: %s}", "skypilot: {accelerators: %s}", "skypilot: {bucket: %s}",
        "rendezvous: %s", "interface: %s",
    ],
)  # fmt: skip
def test_no_word_for_another_program_holds_a_command(cli: Cli, key: str, word: str) -> None:
    Path("zephyr.yaml").write_text(f"launch: {{{key % json.dumps(word)}}}\n")
    done = cli("config", "check")
    assert done.code == 2, word
    assert "launch." in done.err


@pytest.mark.parametrize("name", ["../../x", "a/b/c", "a\nb/c", "-x/y", "a/../b", "/etc/passwd"])
def test_a_name_of_the_hub_is_no_path(cli: Cli, name: str) -> None:
    assert hub.HUB_ID.fullmatch(name) is None or ".." in name
    for words in (("chat", name, "-p", "Hi"), ("models", "fetch", "--", name)):
        done = cli(*words)
        assert done.code == 2, words
        assert done.err.count("error[") == 1


def linked(tmp_path: Path) -> tuple[Path, Path]:
    """A folder outside with a file that must stay."""
    outside = tmp_path / "outside"
    outside.mkdir()
    treasure = outside / "treasure"
    treasure.write_text("keep me")
    return outside, treasure


def test_removing_a_linked_run_removes_the_link(cli: Cli, tmp_path: Path) -> None:
    run = make_run(tmp_path / "elsewhere", "mine")
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(run.root)

    done = cli("runs", "rm", "mine", "--yes")

    assert done.code == 0, done.err
    assert not Path("runs/mine").exists()
    assert (run.root / "config.json").is_file()


def test_links_inside_a_run_are_not_followed_by_its_removal(cli: Cli, tmp_path: Path) -> None:
    outside, treasure = linked(tmp_path)
    run = make_run(Path("runs"), "mine")
    (run.root / "sft").mkdir()
    (run.root / "sft" / "checkpoints").symlink_to(outside)

    assert cli("runs", "rm", "mine", "--yes").code == 0
    assert not run.root.exists()
    assert treasure.is_file()


def test_rotation_and_a_fresh_start_do_not_follow_links(tmp_path: Path) -> None:
    outside, treasure = linked(tmp_path)
    run = make_run(tmp_path / "runs", "mine")
    stage = run.stage("sft")
    stage.checkpoints.mkdir(parents=True)
    (stage.checkpoints / "checkpoint-2").symlink_to(outside)
    (stage.checkpoints / "checkpoint-4").mkdir()

    checkpoints.rotate(stage.checkpoints, keep=1, newest=stage.checkpoints / "checkpoint-4")
    assert treasure.is_file()
    assert not (stage.checkpoints / "checkpoint-2").exists()

    (stage.checkpoints / "checkpoint-6").symlink_to(outside)
    start_afresh(stage, run.recipe(), force=True)
    assert treasure.is_file()
    assert not stage.checkpoints.exists()


def test_what_replaces_a_link_replaces_the_link(tmp_path: Path) -> None:
    outside, treasure = linked(tmp_path)
    final = tmp_path / "model"
    final.symlink_to(outside)

    with atomic.staged_directory(final) as folder:
        (folder / "new").write_text("x")

    assert (final / "new").is_file()
    assert not final.is_symlink()
    assert treasure.is_file()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data",
        "http://169.254.169.254/x.jsonl", "https://evil.example/data.jsonl", "s3://bucket/x.parquet",
        "hf://datasets/a/b", "//evil.example/x", "a/b/c", "../../etc",
    ],
)  # fmt: skip
def test_data_come_from_files_of_known_kinds_and_the_hub_alone(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def connect(*args: object) -> None:
        raise AssertionError(f"connected to {args}")

    monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
    monkeypatch.setattr("socket.socket.connect", connect)
    text = f"data: {{sft: {{train: [{{path: {json.dumps(path)}}}]}}}}\nmodel: {{base: tiny}}\n"
    Path("zephyr.yaml").write_text(text)
    recipe = load(env={}).recipe

    with pytest.raises(ZephyrctlError) as caught:
        list(read(recipe.data.sft.train[0]))
    assert caught.value.exit_code == 2
    assert "AssertionError" not in caught.value.message


def test_a_dry_run_shows_where_the_data_really_are(cli: Cli, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.jsonl"
    real.write_text("{}\n")
    Path("data.jsonl").symlink_to(real)
    Path("zephyr.yaml").write_text(
        "model: {base: tiny}\ndata: {sft: {train: [{path: ./data.jsonl}]}}\n"
    )
    done = cli("run", "--until", "data", "--dry-run")
    assert done.code == 0, done.err
    assert f"reads  {real}" in done.err
