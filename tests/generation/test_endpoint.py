"""The endpoint client against a real local server that fails in every way it can."""

import asyncio
import itertools
import json
import random
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import FakeEndpoint

from zephyrctl.data.messages import Message
from zephyrctl.errors import CredentialsError, DataError, NetworkError, UsageError, ZephyrctlError
from zephyrctl.generation.endpoint import Asked, Endpoint, Patience, Reply
from zephyrctl.generation.endpoint.address import key_of_file
from zephyrctl.generation.endpoint.connection import proxy_for
from zephyrctl.generation.endpoint.failures import NotTaken, Refusal
from zephyrctl.generation.endpoint.wire import reply_of

HELLO = [Message("user", "hello there")]
QUICK = Patience(deadline_s=20, first_s=0.001, longest_s=0.1)


def client(server: FakeEndpoint, **changes: object) -> Endpoint:
    endpoint = Endpoint.parse(server.spec, env={})
    endpoint.patience = QUICK
    for name, value in changes.items():
        setattr(endpoint, name, value)
    return endpoint


def ask(endpoint: Endpoint, *, max_tokens: int = 64, **changes: Any) -> Reply:
    async def once() -> Reply:
        try:
            return await endpoint.chat(Asked(HELLO, max_tokens, seed=3, **changes))
        finally:
            await endpoint.aclose()

    return asyncio.run(once())


def test_an_answer_carries_text_usage_and_reason() -> None:
    with FakeEndpoint() as server:
        reply = ask(client(server))
        assert reply == Reply("you said: hello there", 7, 4, "stop")
        _, body = server.requests[0]
    assert body == {
        "model": "fake", "messages": [{"role": "user", "content": "hello there"}],
        "max_tokens": 64, "temperature": 0.0, "seed": 3,
    }  # fmt: skip


def test_a_cut_answer_says_so() -> None:
    with FakeEndpoint() as server:
        assert ask(client(server), max_tokens=2).finish_reason == "length"


@pytest.mark.parametrize(
    "fault", ["429", "500", "503", "529", "bad_json", "cut", "empty", "error", "drop"]
)
def test_what_may_pass_is_tried_again(fault: str) -> None:
    with FakeEndpoint(faults=[fault, fault]) as server:
        assert ask(client(server)).text == "you said: hello there"
        assert len(server.requests) == 3


def test_a_slow_answer_is_given_up_and_tried_again() -> None:
    quick = replace(QUICK, timeout_s=0.15)
    with FakeEndpoint(faults=["slow"]) as server:
        assert ask(client(server, patience=quick)).text == "you said: hello there"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", "status 500: The server had an error"),
        ("bad_json", "no chat completion"),
        ("drop", "disconnected"),
    ],
)  # fmt: skip
def test_after_the_deadline_the_error_names_the_reason(fault: str, reason: str) -> None:
    with (
        FakeEndpoint(always=fault) as server,
        pytest.raises(NetworkError, match=rf"within 1 s, in \d+ tries: .*{reason}"),
    ):
        ask(client(server, patience=replace(QUICK, deadline_s=1)))
    assert len(server.requests) > 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", CredentialsError), ("403", CredentialsError), ("quota", CredentialsError),
        ("402", CredentialsError), ("404", UsageError), ("400", DataError), ("long", DataError),
        ("307", NetworkError),
    ],
)  # fmt: skip
def test_what_cannot_pass_ends_at_once(fault: str, error: type[ZephyrctlError]) -> None:
    with FakeEndpoint(always=fault) as server, pytest.raises(error):
        ask(client(server))
    assert len(server.requests) == 1


def test_bytes_that_trickle_in_do_not_hold_up_a_request() -> None:
    quick = replace(QUICK, timeout_s=0.15)
    with FakeEndpoint(faults=["drip"]) as server:
        began = time.monotonic()
        assert ask(client(server, patience=quick)).text == "you said: hello there"
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("fault", "text", "reason"),
    [
        ("filtered", "", "content_filter"), ("blocked", "", "content_filter"),
        ("refusal", "I can't help with that.", "stop"), ("parts", "you said: hello there", "stop"),
    ],
)  # fmt: skip
def test_filters_and_refusals_are_replies(fault: str, text: str, reason: str) -> None:
    with FakeEndpoint(always=fault) as server:
        reply = ask(client(server))
    assert (reply.text, reply.finish_reason) == (text, reason)
    assert len(server.requests) == 1


def test_the_first_tokens_probabilities_come_with_the_reply() -> None:
    table = {"m": -0.1, "M": -2.5, " m": -4.0}
    with FakeEndpoint(logprobs=table) as server:
        reply = ask(client(server), top_logprobs=2)
        bare = ask(client(server))
    assert reply.logprobs == {"m": -0.1, "M": -2.5}
    assert bare.logprobs is None
    assert server.requests[0][1]["top_logprobs"] == 2
    assert "logprobs" not in server.requests[1][1]


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (None, None), ({}, None), ({"content": []}, None), ({"content": "m"}, None),
        ({"content": [{"token": "m", "logprob": -1}]}, {"m": -1.0}),
        ({"content": [{"token": "m", "logprob": -1, "top_logprobs": [
            {"token": "M", "logprob": -0.5}, {"token": "M", "logprob": -9}]}]},
         {"m": -1.0, "M": -0.5}),
        ({"tokens": ["m", "."], "token_logprobs": [-1, -2], "top_logprobs": None}, {"m": -1.0}),
        ({"tokens": ["m"], "token_logprobs": [-1], "top_logprobs": [{"M": -0.5}]},
         {"m": -1.0, "M": -0.5}),
        ({"tokens": ["m"], "token_logprobs": [None]}, None),
    ],
)  # fmt: skip
def test_probabilities_are_read_in_the_shapes_that_services_send(record: Any, found: Any) -> None:
    choice = {"message": {"content": "m"}, "logprobs": record}
    assert reply_of(json.dumps({"choices": [choice]}).encode()).logprobs == found


def test_a_model_without_probabilities_still_answers_and_it_is_said() -> None:
    with FakeEndpoint(refuses=["logprobs", "seed"]) as server:
        endpoint = client(server)
        assert ask(endpoint, top_logprobs=5).logprobs is None
    assert sorted(endpoint.notices) == ["fake gives no probabilities", "fake takes no seed"]


@pytest.mark.parametrize(
    "said",
    [
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2",
        "max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
        "'max_tokens' is too large: 4096. This model's maximum context length is 2048 tokens",
    ],
)
def test_a_wrong_value_is_not_taken_for_a_missing_parameter(said: str) -> None:
    content = json.dumps({"error": {"message": said}}).encode()
    refusal = Refusal.read(400, {}, content, hide=None)
    with pytest.raises(DataError):
        refusal.raise_as(where="there", sent={"temperature", "max_tokens"})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"error": {"message": "Unsupported parameter", "param": "seed"}}, "seed"),
        ({"error": "Logprobs is not enabled for models/m"}, "logprobs"),
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"]}]}, "seed"),
        ({"object": "error", "message": "top_p is not supported"}, "top_p"),
    ],
)
def test_services_name_a_parameter_they_do_not_take_in_many_shapes(content: Any, name: str) -> None:
    refusal = Refusal.read(422, {}, json.dumps(content).encode(), hide=None)
    with pytest.raises(NotTaken) as caught:
        refusal.raise_as(where="there", sent={"temperature", "seed", "top_p", "logprobs"})
    assert caught.value.name == name


def test_retry_after_is_waited_for() -> None:
    with FakeEndpoint(faults=["429"], retry_after="0.3") as server:
        began = time.monotonic()
        ask(client(server, patience=replace(QUICK, deadline_s=9)))
    assert time.monotonic() - began >= 0.3


def test_a_wait_longer_than_the_deadline_ends_at_once() -> None:
    with FakeEndpoint(faults=["429"], retry_after="86400") as server:
        began = time.monotonic()
        with pytest.raises(NetworkError, match="asks to wait 86400 s"):
            ask(client(server))
    assert time.monotonic() - began < QUICK.deadline_s


def test_waits_grow_and_differ() -> None:
    patience = Patience()
    rng = random.Random(1)
    means = [sum(patience.wait(n, rng) for _ in range(200)) / 200 for n in range(1, 5)]
    assert all(later > 1.7 * earlier for earlier, later in itertools.pairwise(means))
    assert patience.wait(30, rng) <= patience.longest_s
    assert patience.wait(2, rng) != patience.wait(2, rng)


def test_nobody_listening_is_a_network_error() -> None:
    with FakeEndpoint() as server:
        endpoint = client(server)
    with pytest.raises(NetworkError, match="no service answers"):
        ask(endpoint)


def test_a_model_without_max_tokens_and_temperature_is_learnt_from_its_errors() -> None:
    with FakeEndpoint(refuses=["max_tokens", "temperature"]) as server:
        endpoint = client(server)
        assert ask(endpoint).text == "you said: hello there"
        _, body = server.requests[-1]
    assert body["max_completion_tokens"] == 64
    assert not {"max_tokens", "temperature"} & set(body)
    assert endpoint.adjustments == ["max_tokens", "temperature"]


def test_the_key_is_sent_and_hidden_everywhere(tmp_path: Path) -> None:
    key = "sk-very-secret-1234567890"
    path = tmp_path / "key"
    path.write_text(key + "\n")
    with FakeEndpoint(key=key) as server:
        endpoint = Endpoint.parse(server.spec, api_key_file=str(path), env={})
        assert ask(endpoint).text == "you said: hello there"
        assert server.requests[0][0]["authorization"] == f"Bearer {key}"
    assert key not in repr(endpoint)


def test_a_key_repeated_by_the_server_is_masked() -> None:
    with FakeEndpoint(always="401") as server:
        endpoint = client(server, api_key="Incorrect")
        with pytest.raises(CredentialsError) as caught:
            ask(endpoint)
    assert "Incorrect" not in caught.value.message
    assert "***" in caught.value.message


@pytest.mark.parametrize("spec", ["openai:m", "openai+http://me:hush@localhost:1/v1:m"])
def test_a_password_in_the_address_is_refused_and_not_repeated(spec: str) -> None:
    env = {"OPENAI_BASE_URL": "http://me:hush@localhost:1/v1"}
    with pytest.raises(UsageError) as caught:
        Endpoint.parse(spec, env=env)
    assert "hush" not in f"{caught.value.message} {caught.value.where} {caught.value.hint}"
    assert Endpoint("http://me:hush@h/v1", "m").where == "http://***@h/v1 (m)"


def test_keys_come_from_file_environment_or_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("from-file")
    env = {"OPENAI_API_KEY": "from-env"}
    local = "openai+http://localhost:1/v1:m"
    assert Endpoint.parse(local, api_key_file="key", env=env).api_key == "from-file"
    assert Endpoint.parse(local, env=env).api_key == "from-env"
    (tmp_path / ".env").write_text("# keys\nexport OPENAI_API_KEY='from-dotenv'\n")
    assert Endpoint.parse(local, env={}).api_key == "from-dotenv"


def test_a_key_that_cannot_be_sent_is_refused_before_it_is(tmp_path: Path) -> None:
    local = "openai+http://localhost:1/v1:m"
    assert Endpoint.parse(local, env={"OPENAI_API_KEY": " sk-1\n"}).api_key == "sk-1"
    with pytest.raises(CredentialsError):
        Endpoint.parse(local, env={"OPENAI_API_KEY": "sk-1…"})
    (tmp_path / "key").write_text("sk-1…")
    with pytest.raises(CredentialsError):
        Endpoint.parse(local, api_key_file=str(tmp_path / "key"), env={})


def test_a_key_file_without_a_key_says_why_and_how_one_is_made(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "two").write_text("sk-1\nsk-2\n")
    said = {
        "absent": "there is no such key file", "empty": "the key file is empty",
        "bytes": "the key file is no text", "two": "the key file holds no key on one line",
    }  # fmt: skip
    for name, message in said.items():
        with pytest.raises(CredentialsError) as caught:
            key_of_file(tmp_path / name)
        assert caught.value.message == message
        command = (caught.value.hint or "").partition(": ")[2]
        subprocess.run(["bash", "-c", command], input=b"sk-new\n", check=True)
        assert key_of_file(tmp_path / name) == "sk-new"
    with pytest.raises(CredentialsError, match="cannot be read: is a directory") as caught:
        key_of_file(tmp_path)
    assert caught.value.hint == f"ls -ld {tmp_path}"


def test_the_environment_key_is_not_sent_in_the_clear_to_another_machine() -> None:
    env = {"OPENAI_API_KEY": "secret"}
    assert Endpoint.parse("openai+http://judge.example/v1:m", env=env).api_key is None
    assert Endpoint.parse("openai+https://judge.example/v1:m", env=env).api_key == "secret"


@pytest.mark.parametrize(
    ("spec", "url", "model"),
    [
        ("openai:gpt-4o", "https://api.openai.com/v1", "gpt-4o"),
        ("openai+http://localhost:80/v1:Qwen/Qwen3:7b", "http://localhost:80/v1", "Qwen/Qwen3:7b"),
        ("openai+http://[::1]:80/v1:m", "http://[::1]:80/v1", "m"),
        ("openai+https://h.example/v1/:m", "https://h.example/v1", "m"),
    ],
)  # fmt: skip
def test_specs_name_url_and_model(spec: str, url: str, model: str) -> None:
    endpoint = Endpoint.parse(spec, env={"OPENAI_API_KEY": "k"})
    assert (endpoint.base_url, endpoint.model) == (url, model)


def test_wrong_specs_and_missing_keys_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for spec in ("openai+localhost:m", "openai+http://localhost:99999/v1:m"):
        with pytest.raises(UsageError):
            Endpoint.parse(spec, env={})
    with pytest.raises(CredentialsError):
        Endpoint.parse("openai:gpt-4o", env={})
    with pytest.raises(CredentialsError):
        Endpoint.parse("openai:gpt-4o", api_key_file=str(tmp_path / "none"), env={})
    with pytest.raises(NetworkError, match="ZEPHYRCTL_OFFLINE"):
        Endpoint.parse("openai:m", env={"OPENAI_API_KEY": "k", "ZEPHYRCTL_OFFLINE": "1"})


def test_a_stream_joins_to_the_answer() -> None:
    with FakeEndpoint() as server:
        pieces = list(client(server).stream(Asked(HELLO, 64)))
    assert len(pieces) == 4
    assert "".join(pieces).strip() == "you said: hello there"


@pytest.mark.parametrize(("fault", "error"), [("401", CredentialsError), ("500", NetworkError)])
def test_a_refused_stream_is_an_error(fault: str, error: type[ZephyrctlError]) -> None:
    with FakeEndpoint(always=fault) as server, pytest.raises(error) as caught:
        list(client(server).stream(Asked(HELLO, 64)))
    assert "kept" not in (caught.value.hint or "")  # nothing was answered


def test_the_environments_proxy_is_used_for_other_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FakeEndpoint() as server:
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{server.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        endpoint = Endpoint.parse("openai+http://judge.example/v1:m", patience=QUICK, env={})
        assert ask(endpoint).text == "you said: hello there"
        headers, _ = server.requests[0]
        assert headers["host"] == "judge.example"
        assert headers["user-agent"].startswith("zephyrctl/")
        monkeypatch.setenv("NO_PROXY", "judge.example")
        assert proxy_for("http://judge.example/v1") is None
        assert proxy_for(server.url) is None
