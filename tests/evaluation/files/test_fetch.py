"""One public file, from GitHub and from the Hub, with everything that can go wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.evaluation.files.official import address, made, serve

from zephyrctl.errors import DataError, NetworkError
from zephyrctl.evaluation.files import fetch

CONTENT = b'{"question_id": 1, "turns": ["One?"]}\n' * 20
FILE = made("question.jsonl", CONTENT)
NO_PAUSE = (0.0, 0.0)


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE", raising=False)


@pytest.mark.parametrize(
    "faults",
    [[], ["500"], ["503", "429"], ["truncated"], ["wrong", "truncated"]],
    ids=["sound", "500", "503 and 429", "truncated", "wrong, then truncated"],
)
def test_passing_faults_are_outlasted(faults: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({address(FILE): CONTENT}, {address(FILE): [*faults]}) as (url, requests):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        assert fetch.fetch(FILE, pauses=NO_PAUSE) == CONTENT
    assert requests == [address(FILE)] * (len(faults) + 1)


def test_wrong_bytes_are_refused_with_both_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    other = b"another question"
    with serve({address(FILE): other}) as (url, requests):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", f"{url}/")
        with pytest.raises(DataError) as caught:
            fetch.fetch(FILE, pauses=NO_PAUSE)
    assert FILE.sha256 in caught.value.message
    assert made("x", other).sha256 in caught.value.message
    assert len(requests) == 3


@pytest.mark.parametrize(("fault", "tries"), [("404", 1), ("403", 1), ("500", 3)])
def test_what_does_not_pass_is_a_network_error(
    fault: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve({address(FILE): CONTENT}, {address(FILE): [fault] * 3}) as (url, requests):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        with pytest.raises(NetworkError, match=f"HTTP {fault}"):
            fetch.fetch(FILE, pauses=NO_PAUSE)
    assert len(requests) == tries


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_mirrors_password_is_not_told(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({address(FILE): CONTENT}, {address(FILE): ["404"]}) as (url, _):
        mirror = url.replace("http://", f"{scheme}://me:hush@")
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", mirror)
        with pytest.raises(NetworkError) as caught:
            fetch.fetch(FILE, pauses=NO_PAUSE)
    assert "hush" not in f"{caught.value.message} {caught.value.where}"
    assert "127.0.0.1" in (caught.value.where or "")


@pytest.mark.parametrize("url", ["ftp://example.org", "http://[", "http://127.0.0.1:9"])
def test_an_address_that_is_none_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
    with pytest.raises(NetworkError):
        fetch.fetch(FILE, pauses=())


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve({address(FILE): CONTENT}) as (url, requests):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
        with pytest.raises(NetworkError, match="ZEPHYRCTL_OFFLINE=1"):
            fetch.fetch(FILE, pauses=NO_PAUSE)
        with pytest.raises(NetworkError, match="ZEPHYRCTL_OFFLINE=1"):
            fetch.fetch(made("x.csv", b"x", service="hub"), pauses=NO_PAUSE)
    assert requests == []


def _in_child(url: str, home: Path, names: list[str], *, offline: bool = False) -> dict[str, str]:
    """Fetch files of the Hub in a child process: its client reads the settings at import."""
    code = (
        "import json\n"
        "from tests.evaluation.files.official import made\n"
        "from zephyrctl.errors import ZephyrctlError\n"
        "from zephyrctl.evaluation.files.fetch import fetch\n"
        "found = {}\n"
        f"for name in {names}:\n"
        "    try:\n"
        "        content = fetch(made(name, name.encode(), service='hub'), pauses=(0, 0))\n"
        "        found[name] = 'whole' if content == name.encode() else 'broken'\n"
        "    except ZephyrctlError as error:\n"
        "        found[name] = f'{error.kind}: {error.message}'\n"
        "print(json.dumps(found))\n"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}
    env |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_files_of_the_hub_come_through_its_client_and_cache(tmp_path: Path) -> None:
    names = ["sound", "truncated", "absent", "refused", "other-page", "other-file"]
    places = {name: address(made(name, b"", service="hub")) for name in names}
    files = {place: name.encode() for name, place in places.items() if name != "absent"}
    faults = {
        places["truncated"]: ["truncated"],
        places["refused"]: ["403"] * 9,
        places["other-page"]: ["wrong"],
    }
    files[places["other-file"]] = b"OTHER-FILE"  # of the same size: only its digest tells
    with serve(files, faults) as (url, requests):
        found = _in_child(url, tmp_path, names)
        assert found["sound"] == found["truncated"] == "whole"
        for name in ("absent", "refused", "other-page"):
            assert found[name].startswith(f"network: the Hub did not deliver data/{name}")
        assert found["other-file"].startswith("data: other-file is not the pinned file")
        asked = len(requests)
        assert _in_child(url, tmp_path, ["sound"]) == {"sound": "whole"}
        assert len(requests) == asked  # from the Hub's own cache
    found = _in_child("http://127.0.0.1:9", tmp_path, ["sound", "absent"])
    assert found["sound"] == "whole"
    assert found["absent"] == "network: the Hub does not answer"
    found = _in_child("http://127.0.0.1:9", tmp_path, ["sound", "absent"], offline=True)
    assert found == {"sound": "whole", "absent": "network: HF_HUB_OFFLINE=1 forbids the Hub"}
