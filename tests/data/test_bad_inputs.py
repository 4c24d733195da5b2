"""What a user gets for bad input: one clear error and nothing half-written, or a counted drop.

Every case goes the way of `zephyrctl data prepare`: a YAML file is read and the data stage runs,
in this process, so that a table of this length stays quick; the last tests type the command.
"""

import gzip
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from zephyrctl import catalogue, terminal
from zephyrctl.config import layers
from zephyrctl.errors import DataError, ZephyrctlError
from zephyrctl.runs.digests import digest_tree
from zephyrctl.runs.store import open_run

Make = Callable[[Path], str]
"""Puts a bad source into a folder and returns the value of `path` that names it."""


# -------------------------------------------------------------------------------- the projects


@dataclass(frozen=True)
class Project:
    """A folder with a recipe whose data were prepared once, from sound rows."""

    folder: Path

    def prepare(self, sources: list[dict[str, Any]], *, stage: str = "sft") -> dict[str, Any]:
        """Run the data stage over the sources; the account of the stage."""
        recipe = self.folder / "zephyr.yaml"
        base = str(self.folder.parent / "tiny")
        data = {"train": sources, "test_size": 0}
        recipe.write_text(yaml.safe_dump({"name": "bad", "model": {"base": base},
                                          "data": {stage: data}}))  # fmt: skip
        loaded = layers.load(config=recipe, env={}, cwd=self.folder,
                             flags={"output_root": str(self.folder / "runs")})  # fmt: skip
        run = open_run(loaded.recipe)
        catalogue.STAGES.load("data")(loaded.recipe, run)
        return json.loads((run.stage("data").path / "account.json").read_bytes())[stage]

    def written(self) -> dict[str, str]:
        """What stands in the run's data folder: names and digests, running notes left out."""
        data = self.folder / "runs" / "bad" / "data"
        notes = ("metrics.jsonl", "events.jsonl", "cache", "chunks-kept")
        return {
            path.name: digest_tree(path) if path.is_dir() else path.read_text()
            for path in sorted(data.iterdir())
            if path.name not in notes
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Project:
    root = tmp_path_factory.mktemp("bad")
    (root / "tiny").symlink_to(tiny_base)
    found = Project(root / "project")
    found.folder.mkdir()
    (found.folder / "good.jsonl").write_bytes(GOOD)
    found.prepare([{"path": "./good.jsonl"}])
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def line(*turns: Any, **extra: Any) -> bytes:
    """A row in the `messages` format: user and assistant in turn, or (role, content)."""
    roles = ("user", "assistant") * len(turns)
    pairs = [turn if isinstance(turn, tuple) else (roles[i], turn) for i, turn in enumerate(turns)]
    messages = [{"role": role, "content": content} for role, content in pairs]
    return json.dumps({"messages": messages, **extra}).encode() + b"\n"


GOOD_ROWS = 20
GOOD = b"".join(
    line(f"Which sea has number {i}?", f"The sea number {i}.") for i in range(GOOD_ROWS)
)


# ------------------------------------------------------------------------------- lines that are bad


def nested(depth: int) -> bytes:
    return b'{"messages": ' + b"[" * depth + b"]" * depth + b"}\n"


UTF16 = '{"messages": []}\n'.encode("utf-16-le")
TWICE = b'{"messages": [], "messages": []}\n'
HALF = b'{"messages": [{"role": "user", "content": "\\ud83d"}]}\n'

LINES: list[tuple[str, bytes, str, str]] = [
    # the case, the 21st line of a file, its place, the words
    ("truncated JSON", b'{"messages": [{"role": "us', ":21:24", "not JSON: Unterminated string"),
    ("nothing but a brace", b"{\n", ":21:2", "not JSON"),
    ("two objects on a line", b"{} {}\n", ":21:4", "not JSON: Extra data"),
    ("Latin-1", '{"messages": "é"}\n'.encode("latin-1"), ":21", "not UTF-8: byte 15"),
    ("UTF-16 in the middle", UTF16[:-2] + b"\n", ":21:2", "not JSON"),
    ("NUL bytes", b"\0\0\0\0\n", ":21:1", "not JSON"),
    ("NUL inside a text", b'{"messages": "a\0b"}\n', ":21:16", "control character"),
    ("a number", b"17\n", ":21", "not a JSON object"),
    ("a list", b"[1, 2]\n", ":21", "not a JSON object"),
    ("null", b"null\n", ":21", "not a JSON object"),
    ("duplicate keys", TWICE, ":21", "the key 'messages' stands twice"),
    ("half a surrogate pair", HALF, ":21", "half of a surrogate pair"),
    ("deep nesting", nested(200), ":21", "nested too deeply"),
    ("very deep nesting", nested(1_000_000), ":21", "nested too deeply"),
    ("a number of 5,000 digits", b'{"n": ' + b"9" * 5000 + b"}\n", ":21", "more digits than"),
    ("a line of 50 MB", line("Why?", "x" * 50_000_000), ":21", "longer than 16 MiB"),
    ("CRLF and a bad line", b'{"a"\r\n', ":21:5", "not JSON"),
]


@pytest.mark.parametrize(("content", "place", "words"), [case[1:] for case in LINES],
                         ids=[case[0] for case in LINES])  # fmt: skip
def test_bad_line_is_one_error_or_one_counted_drop(
    project: Project, tmp_path: Path, content: bytes, place: str, words: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + content)
    error = refused(project, str(path))
    assert error.exit_code == 2
    assert words in error.message
    assert error.where == f"{path}{place}"
    account = Project(own(project, tmp_path)).prepare([{"path": str(path), "on_bad_line": "drop"}])
    assert account["rows_in"] == GOOD_ROWS + 1
    assert account["rows_out"]["train"] == GOOD_ROWS
    assert sum(account["removed"].values()) == 1
    assert words in next(iter(account["removed"]))


def own(project: Project, tmp_path: Path) -> Path:
    """A folder of its own beside the base model, for a case that writes."""
    folder = tmp_path / "beside" / "project"
    folder.mkdir(parents=True)
    (folder.parent / "tiny").symlink_to(project.folder.parent / "tiny")
    return folder


def refused(project: Project, path: str, *, stage: str = "sft", **extra: Any) -> ZephyrctlError:
    """The error for a source, once it is shown well and has left what was written as it was."""
    before = project.written()
    with pytest.raises(ZephyrctlError) as caught:
        project.prepare([{"path": path, **extra}], stage=stage)
    error = caught.value
    assert project.written() == before
    shown = terminal.render_error(error)
    assert "Traceback" not in shown
    assert "\x1b" not in shown
    assert "\0" not in shown
    assert error.hint
    assert error.where
    assert error.exit_code != 1, shown
    return error


# ---------------------------------------------------------------------------- rows that are dropped


def pair(chosen: Any, rejected: Any, **extra: Any) -> bytes:
    return json.dumps({"prompt": "Why?", "chosen": chosen, "rejected": rejected, **extra}).encode()


def rated(*scores: Any) -> bytes:
    completions = [{"response": f"Answer {i}.", "overall_score": s} for i, s in enumerate(scores)]
    return json.dumps({"instruction": "Why is it so?", "completions": completions}).encode()


LONE = b'{"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": "Yes."}]}'

ROWS: list[tuple[str, str, bytes]] = [
    # the case, the stage, the row
    ("null content", "sft", line("Why?", None)),
    ("a number as content", "sft", LONE),
    ("a list as content", "sft", line("Why?", [["x"]])),
    ("an object as content", "sft", line({"a": 1}, "Yes.")),
    ("null messages", "sft", b'{"messages": null}'),
    ("a text as messages", "sft", b'{"messages": "hello"}'),
    ("numbers as messages", "sft", b'{"messages": [1, 2]}'),
    ("an empty list", "sft", line()),
    ("an empty object", "sft", b"{}"),
    ("no such column", "sft", b'{"something": "else"}'),
    ("an unknown role", "sft", line(("wizard", "Why?"), ("assistant", "Yes."))),
    ("a number as role", "sft", line((7, "Why?"), ("assistant", "Yes."))),
    ("no role", "sft", b'{"messages": [{"content": "Why?"}]}'),
    ("assistant first", "sft", line(("assistant", "Yes."), ("user", "Why?"), ("assistant", "No."))),
    ("two users in a row", "sft", line(("user", "a"), ("user", "b"), ("assistant", "c"))),
    ("two assistants in a row", "sft", line("a", ("assistant", "b"), ("assistant", "c"))),
    ("system in the middle", "sft", line("a", ("system", "b"), ("assistant", "c"))),
    ("no answer", "sft", line("Why?")),
    ("chosen == rejected", "dpo", pair("Yes.", "Yes.")),
    ("rejected is null", "dpo", pair("Yes.", None)),
    ("no rejected", "dpo", b'{"prompt": "Why?", "chosen": "Yes."}'),
    ("a number as chosen", "dpo", pair(1, 2)),
    ("an object as chosen", "dpo", pair({"content": "Yes."}, "No.")),
    ("NaN score", "dpo ratings", rated(float("nan"), 3)),
    ("infinite score", "dpo ratings", rated(float("inf"), 3)),
    ("a text as score", "dpo ratings", rated("much", 3)),
    ("a huge integer as score", "dpo ratings", rated(10**400, 3)),
    ("no completions", "dpo ratings", rated()),
    ("one completion", "dpo ratings", rated(5)),
]


@pytest.mark.parametrize(("kind", "row"), [case[1:] for case in ROWS], ids=[c[0] for c in ROWS])
def test_bad_row_is_one_counted_drop(
    project: Project, tmp_path: Path, kind: str, row: bytes
) -> None:
    stage, _, form = kind.partition(" ")
    if stage == "sft":
        good = [GOOD.rstrip()]
    elif form:
        good = [rated(9, 2 + i / 100).replace(b"so?", b"so, number %d?" % i) for i in range(20)]
    else:
        good = [pair(f"Yes, {i}.", f"No, {i}.") for i in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join([*good, row.rstrip(), b""]))
    account = Project(own(project, tmp_path)).prepare([{"path": str(path)}], stage=stage)
    assert account["rows_in"] == GOOD_ROWS + 1
    assert account["rows_out"]["train"] == GOOD_ROWS, account["removed"]
    assert list(account["removed"].values()) == [1]
    (samples,) = account["samples"].values()
    assert samples[0]["where"].startswith(f"{path}:21")


SOUND: list[tuple[str, str, bytes]] = [
    ("BOM", "rows.jsonl", b"\xef\xbb\xbf" + GOOD),
    ("CRLF", "rows.jsonl", GOOD.replace(b"\n", b"\r\n")),
    ("blank lines", "rows.jsonl", GOOD.replace(b"\n", b"\n\n  \n")),
    ("no newline at the end", "rows.jsonl", GOOD.rstrip()),
    ("BOM before a list", "rows.json", b"\xef\xbb\xbf[" + GOOD.strip().replace(b"\n", b",") + b"]"),
    (
        "two gzip files in one",
        "rows.jsonl.gz",
        gzip.compress(GOOD[:999], mtime=0) + gzip.compress(GOOD[999:], mtime=0),
    ),
]


@pytest.mark.parametrize(("name", "content"), [c[1:] for c in SOUND], ids=[c[0] for c in SOUND])
def test_what_is_only_unusual_is_read_whole(
    project: Project, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    account = Project(own(project, tmp_path)).prepare([{"path": str(path)}])
    assert (account["rows_in"], account["rows_out"]["train"]) == (GOOD_ROWS, GOOD_ROWS)


# ------------------------------------------------------------------------------- files that are bad


def file(name: str, content: bytes) -> Make:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return str(folder / name)

    return make


def link(target: str) -> Make:
    def make(folder: Path) -> str:
        (folder / "rows.jsonl").symlink_to(target)
        return str(folder / "rows.jsonl")

    return make


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "rows.jsonl")
    return str(folder / "rows.jsonl")


def pipe_in_a_folder(folder: Path) -> str:
    (folder / "parts").mkdir()
    (folder / "parts" / "a.jsonl").write_bytes(GOOD)
    pipe(folder / "parts")
    return str(folder / "parts")


def empty_folder(folder: Path) -> str:
    (folder / "rows.jsonl").mkdir()
    return str(folder / "rows.jsonl")


def parquet(*, damage: bool) -> bytes:
    buffer = io.BytesIO()
    rows = [json.loads(text) for text in GOOD.splitlines()] * 200
    pq.write_table(pa.Table.from_pylist(rows), buffer, compression="zstd")
    content = buffer.getvalue()
    middle = len(content) // 4
    return content[:middle] + b"\0" * 64 + content[middle + 64 :] if damage else content


def named(name: str) -> Make:
    return lambda folder: name


def bomb(folder: Path) -> str:
    """A gzip file of 10 MB that unpacks to one line of 10 GB."""
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(b"0" * 100_000_000, mtime=0) * 100)
    return str(folder / "rows.jsonl.gz")


CUT = gzip.compress(GOOD * 400, mtime=0)
CUT = CUT[: len(CUT) // 2]
SPOILT = bytearray(gzip.compress(GOOD * 400, mtime=0))
SPOILT[len(SPOILT) // 2] ^= 0xFF
LATIN = "messages\nBrontë\n".encode("latin-1")
STRAY = b'prompt,completion\nWhy?,Yes.\nWho?,"Me." said he\n'
OPEN = b'prompt,completion\nWhy?,Yes.\n"Who?,Me.\nWhat?,That.\n'
FIELDS = b"prompt,completion\nWhy?,Yes.\nWho?,Me.,You.\n"

FILES: list[tuple[str, Make, int, str, str]] = [
    # the case, what makes it, the exit code, the end of its place, the words
    ("empty file", file("rows.jsonl", b""), 2, "rows.jsonl", "holds no rows"),
    ("only blank lines", file("rows.jsonl", b"\n \r\n\t\n"), 2, "rows.jsonl", "holds no rows"),
    ("an empty list", file("rows.json", b"[]"), 2, "rows.json", "holds no rows"),
    ("an empty table", file("rows.csv", b"prompt,completion\n"), 2, "rows.csv", "holds no rows"),
    ("UTF-16", file("rows.jsonl", b"\xff\xfe" + UTF16), 2, "rows.jsonl:1", "in UTF-16"),
    ("a list cut off", file("rows.json", b'[{"a": 1},\n{"b'), 2, "rows.json:2:2", "not JSON"),
    ("a missing column", file("rows.jsonl", b'{"a": 1}\n'), 2, "rows.jsonl", "fits the columns"),
    ("a stray quote", file("rows.csv", STRAY), 2, "rows.csv:3", "not CSV"),
    ("a quote left open", file("rows.csv", OPEN), 2, "rows.csv:3", "not CSV"),
    ("other field count", file("rows.csv", FIELDS), 2, "rows.csv:3", "3 fields where"),
    ("a column twice", file("rows.csv", b"a,a\n1,2\n"), 2, "rows.csv:1", "stands twice"),
    ("Latin-1 in a table", file("rows.csv", LATIN), 2, "rows.csv:2", "not UTF-8"),
    ("gzip cut off", file("rows.jsonl.gz", CUT), 2, "rows.jsonl.gz", "damaged"),
    ("gzip spoilt", file("rows.jsonl.gz", bytes(SPOILT)), 2, "rows.jsonl.gz", "damaged"),
    ("gzip bomb", bomb, 2, "rows.jsonl.gz:1", "longer than 16 MiB"),
    ("no gzip", file("rows.jsonl.gz", GOOD), 2, "rows.jsonl.gz", "damaged"),
    ("no Parquet", file("rows.parquet", GOOD), 2, "rows.parquet", "not a sound Parquet"),
    ("Parquet cut off", file("rows.parquet", parquet(damage=False)[:-9]), 2, ".parquet", "sound"),
    ("Parquet spoilt", file("rows.parquet", parquet(damage=True)), 2, ".parquet", "not a sound"),
    ("no such file", named("./gone.jsonl"), 2, "gone.jsonl", "no such file"),
    ("a folder without data", empty_folder, 2, "rows.jsonl", "holds no data file"),
    ("a link to itself", link("rows.jsonl"), 2, "rows.jsonl", "the link leads nowhere"),
    ("a link to nothing", link("gone.jsonl"), 2, "rows.jsonl", "the link leads nowhere"),
    ("a pipe", pipe, 2, "rows.jsonl", "not a regular file"),
    ("a pipe in a folder", pipe_in_a_folder, 2, "parts/rows.jsonl", "not a regular file"),
    ("a device", link("/dev/zero"), 2, "rows.jsonl", "not a regular file"),
    ("a read error", link("/proc/self/mem"), 2, "rows.jsonl", "cannot be read: Input/output"),
    ("a name too long", named("./" + "x" * 300 + ".jsonl"), 2, ".jsonl", "File name too long"),
    ("a NUL in the name", named("./a\0b.jsonl"), 2, ".jsonl", "no such file"),
    ("a file of another kind", named("../../../etc/passwd"), 2, "etc/passwd", ""),
    ("a path for a Hub id", named("owner/../../etc"), 2, "owner/../../etc", "nor the id of a Hub"),
    ("a URL for a Hub id", named("https://example.invalid/x"), 2, "/x", "nor the id of a Hub"),
    (
        "a Hub out of reach",
        named("someone/some-chats"),
        5,
        "someone/some-chats",
        "not in its cache",
    ),
]


@pytest.mark.parametrize(("make", "code", "place", "words"), [case[1:] for case in FILES],
                         ids=[case[0] for case in FILES])  # fmt: skip
def test_bad_file_is_one_error(
    project: Project, tmp_path: Path, make: Make, code: int, place: str, words: str
) -> None:
    error = refused(project, make(tmp_path))
    assert error.exit_code == code
    assert words in error.message
    assert error.where is not None
    assert error.where.endswith(place)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_permission_is_one_error(project: Project, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "rows.jsonl").write_bytes(GOOD)
    locked = folder / "rows.jsonl" if what == "file" else folder
    locked.chmod(0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read everything")
    try:
        error = refused(project, str(folder / "rows.jsonl"))
    finally:
        locked.chmod(0o700)
    assert isinstance(error, DataError)
    assert "Permission denied" in error.message


def test_gzip_bomb_is_refused_in_little_memory_and_time(project: Project, tmp_path: Path) -> None:
    path = bomb(tmp_path)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    refused(project, path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 200_000
    assert time.process_time() - began < 5


def test_source_that_fails_late_leaves_nothing_of_the_sound_one(
    project: Project, tmp_path: Path
) -> None:
    folder = own(project, tmp_path)
    (tmp_path / "a.jsonl").write_bytes(GOOD * 50)
    (tmp_path / "b.jsonl").write_bytes(GOOD * 50 + b"{")
    with pytest.raises(DataError, match="not JSON"):
        Project(folder).prepare([{"path": str(tmp_path / name)} for name in ("a.jsonl", "b.jsonl")])
    assert Project(folder).written() == {}


# ----------------------------------------------------------------------------- the command as typed


def typed(folder: Path, *, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    command = [*before, sys.executable, "-m", "zephyrctl", "data", "prepare"]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def recipe(folder: Path, tiny_base: Path, name: str) -> None:
    (folder / "zephyr.yaml").write_text(
        f"name: bad\nmodel: {{base: {tiny_base}}}\n"
        f"data: {{sft: {{train: [{{path: ./{name}}}], test_size: 0}}}}\n"
    )


def test_command_shows_file_line_and_hint_and_ends_with_the_code(
    tmp_path: Path, tiny_base: Path
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(GOOD + b'{"messages": [')
    recipe(tmp_path, tiny_base, "rows.jsonl")
    done = typed(tmp_path)
    assert done.returncode == 2
    assert f"--> {tmp_path}/rows.jsonl:21:15" in done.stderr
    assert "error[data]: not JSON" in done.stderr
    assert "hint: repair the line" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "bad" / "data" / "sft").exists()


def test_full_disk_is_exit_73_and_leaves_no_split(tmp_path: Path, tiny_base: Path) -> None:
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if not shutil.which("unshare") or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs a user namespace in which a small file system can be mounted")
    (tmp_path / "rows.jsonl").write_bytes(
        b"".join(line(f"Question {i}?", f"The sea {i}. " * 400) for i in range(300))
    )
    recipe(tmp_path, tiny_base, "rows.jsonl")
    (tmp_path / "runs").mkdir()
    runs = tmp_path / "runs"
    script = (
        f'mount -t tmpfs -o size=1m tmpfs {runs} && "$@"; code=$?; ls {runs}/bad/data; exit $code'
    )
    done = typed(tmp_path, before=("unshare", "-rm", "sh", "-c", script, "sh"))
    assert done.returncode == 73, done.stderr
    assert "error[disk]: no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "sft" not in done.stdout.split()
