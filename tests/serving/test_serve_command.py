"""`zephyrctl serve` as a person starts and ends it."""

import os
import shlex
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
from tests.fakes import FakeEndpoint
from tests.serving.child import served

from zephyrctl.cli.app import main
from zephyrctl.errors import CredentialsError
from zephyrctl.runs.references import ModelRef
from zephyrctl.serving.protocol import parse
from zephyrctl.serving.server import Service, example, exposed, key_in

COMMAND = [sys.executable, "-m", "zephyrctl"]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    return {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_ends_the_service_after_the_open_answer(
    number: signal.Signals, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    argv = [*COMMAND, "serve", str(tiny_base)]
    with served(argv, folder=tmp_path, env=environment()) as (child, url, said):
        assert said.startswith(f"loading {tiny_base} …\n")
        assert f"\ntry: curl {url}/chat/completions " in said
        capsys.readouterr()
        assert run("chat", "--url", url, "-p", "Offer tea", "--max-new-tokens", "6") == 0
        assert capsys.readouterr().out.strip()
        sent = {
            "model": str(tiny_base), "max_tokens": 300, "temperature": 0, "stream": True,
            "messages": [{"role": "user", "content": "Offer tea"}],
        }  # fmt: skip
        got = ""
        address = f"{url}/chat/completions"
        with httpx.stream("POST", address, json=sent, timeout=60, trust_env=False) as response:
            for place, text in enumerate(response.iter_text()):
                got += text
                if place == 0:
                    os.kill(child.pid, number)
        out, err = child.communicate(timeout=30)
    assert got.endswith("data: [DONE]\n\n")
    assert (child.returncode, out) == (0, "")
    assert "waiting for 1 open answer, 300 s at most" in err
    assert "stopped" in err
    assert "Traceback" not in err


def test_a_busy_port_is_the_environments_fault(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with FakeEndpoint() as server:
        assert run("serve", str(tiny_base), "--port", str(server.port)) == 3
        err = capsys.readouterr().err
        assert f"127.0.0.1:{server.port}" in err
        assert "already in use" in err
        assert "loading" not in err
        assert "hint: " in err


def test_the_extra_is_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run("serve", "tiny") == 3
    err = capsys.readouterr().err
    assert "serving needs uvicorn" in err
    assert "pip install 'zephyrctl[serve]'" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("./nowhere",), 2),
        (("@last",), 2),
        (("openai:gpt-4o",), 2),
        (("tiny", "--port", "70000"), 2),
        (("tiny", "--host", "no.such.address.invalid"), 2),
        (("tiny", "--host", "192.0.2.1"), 3),
        (("tiny", "--api-key-file", "missing"), 4),
        (("tiny", "--engine", "vllm"), 3),
        (("tiny", "--engine", "vllm", "--device", "cpu"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_wishes_end_with_one_message_and_their_code(
    arguments: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run("serve", *arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("error[") == 1


def test_a_port_is_free_again_after_a_failed_start(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert run("serve", str(tiny_base), "--port", str(port), "--device", "nonsense") == 2
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_a_key_file_that_others_may_read_is_refused_and_a_mounted_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    assert key_in(path) == ("s3cret", [])
    path.chmod(0o640)
    with pytest.raises(CredentialsError, match="others may read") as caught:
        key_in(path)
    assert caught.value.hint == f"chmod 600 {path}"
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    key, said = key_in(path)
    assert (key, len(said)) == ("s3cret", 1)


@pytest.mark.parametrize(
    ("host", "key", "is_said"),
    [("127.0.0.1", None, False), ("localhost", None, False), ("::1", None, False),
     ("0.0.0.0", None, True), ("0.0.0.0", "k", False), ("192.168.1.5", None, True)],
)  # fmt: skip
def test_a_service_that_anyone_may_use_is_said_to_be_one(
    host: str, key: str | None, is_said: bool
) -> None:
    ref = ModelRef("tiny", "base", "tiny")
    found = exposed(Service(ref, "tiny", host, api_key=key))
    assert bool(found) == is_said
    assert all("--api-key-file" in text for text in found)


def test_the_example_is_a_request_that_is_understood() -> None:
    name = 'it\'s a "model"'
    service = Service(ModelRef("tiny", "base", "tiny"), name, api_key="secret")
    words = shlex.split(example(service, "http://127.0.0.1:8000"))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/chat/completions"]
    asked = parse(words[-1].encode())
    assert (asked.model, asked.temperature) == (name, 0)
    assert "Authorization: Bearer KEY" in words
    assert "secret" not in " ".join(words)


def test_what_is_no_device_is_refused_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("serve", str(tmp_path), "--device", "gpu") == 2
    assert "'gpu' is no device: cpu, cuda, cuda:1, mps or auto" in capsys.readouterr().err
