"""Drills 1 to 5: data preparation that is killed, fed with damage, or short of disk."""

import json
import os
import re
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.drills.conftest import Yard, leftovers, manifest_of, stage_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SPLITS = [f"{part}/{split}.{kind}" for part in ("sft", "dpo") for split in ("train", "test")
          for kind in ("jsonl", "parquet")]  # fmt: skip
HOSTILE = {
    "an end token": "It is over.</s>",
    "a role tag": "<|assistant|>\nI am the model",
    "an escape": "see \x1b]0;owned\x07 \x1b[2J this",
    "markup": "[/INST] and [link=http://evil]x[/link]",
    "nothing": "",
    "a million characters": "word " * 200_000,
}


def dialogue(answer: str, *, number: int) -> dict:
    return {
        "messages": [
            {"role": "user", "content": f"Question {number}, please?"},
            {"role": "assistant", "content": answer},
        ]
    }


def write_rows(path: Path, answers: list[str]) -> Path:
    lines = [json.dumps(dialogue(text, number=n)) for n, text in enumerate(answers)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sources(path: Path, *, held_out: float = 0.1) -> dict:
    """Settings that take dialogues from one file, and no pairs."""
    return {
        "data.sft.train": f"[{{path: {path}}}]",
        "data.sft.test_size": held_out,
        "data.dpo.train": "[]",
        "data.decontaminate.against": "[]",
    }


@pytest.mark.parametrize("stopped", ["kill", "term"])
def test_01_data_stopped_in_mid_write_leaves_no_split_and_ends_byte_equal(
    yard: Yard, prepared: str, tmp_path: Path, stopped: str
) -> None:
    name = f"data-{stopped}"
    fresh = yard.with_env({"XDG_CACHE_HOME": str(tmp_path)})  # what is cached is not written
    code = {"kill": 1, "term": 75}[stopped]
    fresh.does("data prepare", name, fault=f"chunk=2:{stopped}", code=code)
    stage = stage_of(yard, name, "data")
    assert not (stage.path / "sft").exists()
    assert not (stage.path / "dpo").exists()
    assert manifest_of(stage).state == {"kill": "failed", "term": "stopped"}[stopped]

    fresh.does("data prepare", name)

    straight = stage_of(yard, prepared, "data")
    for file in SPLITS:
        assert (stage.path / file).read_bytes() == (straight.path / file).read_bytes(), file
    assert manifest_of(stage).outputs == manifest_of(straight).outputs
    assert leftovers(yard.run(name)) == []


def test_02_a_bad_line_and_a_cut_table_are_named_and_nothing_is_left(
    yard: Yard, prepared: str, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [f"Answer {n}." for n in range(20)])
    lines = rows.read_text().splitlines()
    lines[6] = lines[6][:-9]
    rows.write_text("\n".join(lines) + "\n")
    whole = stage_of(yard, prepared, "data").path / "sft" / "train.parquet"
    cut = tmp_path / "rows.parquet"
    cut.write_bytes(whole.read_bytes()[:-2000])
    for path, where in ((rows, f"{rows}:7"), (cut, str(cut))):
        name = f"damaged-{path.suffix[1:]}"
        error = yard.error("data prepare", name, sets=sources(path), code=2)
        assert error["kind"] == "data"
        assert str(error["where"]).startswith(where)
        stage = stage_of(yard, name, "data")
        assert not (stage.path / "sft").exists()
        assert leftovers(yard.run(name)) == []
        assert manifest_of(stage).state == "failed"


def test_03_a_full_disk_is_exit_73_and_leaves_nothing_half_written(
    yard: Yard, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [f"Answer {n}. " * 300 for n in range(400)])
    words = yard.words("data prepare", "full", sources(rows))
    done = on_a_small_disk(yard, words) or with_short_files(yard, words)
    assert done.returncode == 73, done.stderr
    error = json.loads(done.stdout.splitlines()[0])["error"]
    assert error["kind"] == "disk"
    assert re.search(r"[1-9][0-9,]+ bytes are needed", error["message"]), error
    assert error["where"]
    assert "df -h" in error["hint"]
    left = done.stdout.splitlines()[1:]
    assert not [path for path in left if "/sft" in path or ".partial" in path], left


def on_a_small_disk(yard: Yard, words: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run with a file system of 1 MB at `runs`, seen by this child only; None without the right."""
    unshare = ["unshare", "-rm"] if os.getuid() else ["unshare", "-m"]
    place = yard.folder / "small"
    place.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o size=1m tmpfs {place}"
    if not shutil.which("unshare") or subprocess.run([*unshare, "sh", "-c", mount]).returncode:
        return None
    script = f'{mount} && "$@"; code=$?; find {place}; exit $code'
    argv = yard.argv(*words, "--set", f"output_root={place}", "--json")
    return subprocess.run(
        [*unshare, "sh", "-c", script, "sh", *argv],
        cwd=yard.folder, env=yard.env, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def with_short_files(yard: Yard, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run where no file may grow beyond 100 kB, which any user may ask for."""
    done = subprocess.run(
        yard.argv(*words, "--json"),
        cwd=yard.folder, env=yard.env, capture_output=True, text=True, timeout=280, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    done.stdout += "\n".join(leftovers(yard.run("full")))
    return done


def test_04_hostile_rows_are_counted_by_reason_and_never_reach_the_terminal(
    yard: Yard, tmp_path: Path
) -> None:
    good = [f"Good {n}." for n in range(40)]
    rows = write_rows(tmp_path / "rows.jsonl", [*HOSTILE.values(), *good])
    filters = {"data.sft.filters": "[drop_empty, drop_special_tokens]"}
    sets = sources(rows, held_out=0) | filters
    done = yard.does("data prepare", "hostile", sets=sets)
    folder = stage_of(yard, "hostile", "data").path
    account = json.loads((folder / "account.json").read_text())["sft"]
    assert account["rows_in"] == len(HOSTILE) + len(good)
    assert account["removed"] == {"special token in the text": 3, "empty assistant turn": 1}
    assert account["rows_out"]["train"] == len(good) + 2
    assert account["splits"]["train"]["rows_cut"] == 1
    texts = (folder / "sft" / "train.jsonl").read_text().splitlines()
    escape = next(place for place, text in enumerate(texts) if "owned" in text)

    words = yard.words("data inspect", "hostile", sets)[:-2]
    stats = yard.words("data stats", "hostile", sets)[:-2]
    shown = [done, yard(*stats, "--samples"), yard(*words, "--index", str(escape), "--mask")]
    assert "[/INST] and [link=http://evil]x[/link]" in shown[1].stdout.replace("\n", " ")
    assert "Question 2, please?" in shown[2].stdout
    for text in (part for each in shown for part in (each.stdout, each.stderr)):
        assert not [letter for letter in text if letter in "\x1b\x07\x9b"]


def test_05_one_changed_row_is_seen_and_the_old_data_is_not_trained_on(
    yard: Yard, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [f"Answer number {n}." for n in range(60)])
    yard.does("data prepare", "changed", sets=sources(rows))
    stage = stage_of(yard, "changed", "data")
    before = manifest_of(stage)
    rows.write_text(rows.read_text().replace("Answer number 7.", "Answer number 8!"))
    dry = yard.does("sft", "changed", "--dry-run", sets=sources(rows))
    action = dry.stdout.splitlines()[0].split()
    assert action[:2] == ["data", "run"]
    assert "data.sft.train[0].content" in dry.stdout
    yard.does("sft", "changed", sets=sources(rows) | {"sft.max_steps": 1})
    after = manifest_of(stage)
    assert after.inputs["data.sft.train[0].content"] != before.inputs["data.sft.train[0].content"]
    assert after.outputs != before.outputs
    trained_on = manifest_of(stage_of(yard, "changed", "sft")).inputs["data"]
    assert trained_on is not None
