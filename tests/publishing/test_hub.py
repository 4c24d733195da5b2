"""Publishing on a Hub on this machine, by the real client, and loading from it again."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download
from tests.cli.conftest import Cli, cli
from tests.publishing import answers
from tests.publishing.hub_server import READER, STRANGER, WRITER, State, serving
from transformers import AutoModelForCausalLM, AutoTokenizer

from zephyrctl.publishing.files import CARD
from zephyrctl.runs import manifest
from zephyrctl.runs.store import Run

__all__ = ["cli"]

Publish = Callable[..., tuple[int, str, str]]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[State]:
    """A Hub that the client of this process talks to, and a user who may write."""
    with serving() as state:
        # The client reads its variables once, when it is imported; the server speaks no Xet.
        files = f"{state.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", state.address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setenv("HF_TOKEN", WRITER)
        yield state


@pytest.fixture
def publish(cli: Cli, run: Run, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """`publish("me/repo", …)` publishes the run's sft model as a user would."""
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def call(*args: str, model: str = f"{run.root}/sft") -> tuple[int, str, str]:
        done = cli("export", "hub", model, "--repo-id", *args)
        return done.code, done.out, done.err

    return call


@pytest.fixture
def standing(publish: Publish, merged_export: Path) -> None:
    """What the run's sft model is exported to stands already, as after an earlier command."""
    shutil.copytree(merged_export, "exports/mine-sft")


def test_a_model_is_published_privately_and_answers_the_same_when_it_is_loaded_again(
    hub: State, publish: Publish, run: Run, tmp_path: Path
) -> None:
    code, out, err = publish("me/model", "--json")
    assert code == 0, err + out
    said = json.loads(out)
    assert (said["private"], said["removed"]) == (True, [])
    assert hub.asked("POST", "repos/create")[0]["visibility"] == "private"
    assert hub.repos["me/model"].private
    files = hub.repos["me/model"].commits[said["commit"]]
    assert set(files) == {file["name"] for file in said["files"]} | {".gitattributes"}
    assert f'from_pretrained("{"me/model"}")' in files[CARD].decode()
    assert WRITER not in out + err
    assert not any(WRITER.encode() in content for content in files.values())
    assert str(tmp_path).encode() not in b"".join(files.values())

    found = snapshot_download("me/model", cache_dir=tmp_path / "reader", token=WRITER)
    model = AutoModelForCausalLM.from_pretrained(found)
    tokenizer = AutoTokenizer.from_pretrained(found)
    assert answers.elsewhere(model, tokenizer) == answers.here(run.stage("sft").model)

    again, out, err = publish("me/model")
    assert (again, out) == (0, f"{hub.address}/me/model\n")
    assert "nothing has to be merged" in err
    assert "all of it is there already" in err
    assert len(hub.asked("POST", "/commit/")) == 1


def test_a_dry_run_shows_files_and_card_and_asks_nobody(
    hub: State, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    code, out, err = publish("me/model", "--dry-run")
    assert code == 0, err
    assert out.startswith("---\nlicense:")
    assert out == Path("exports/mine-sft", CARD).read_text()
    size = Path("exports/mine-sft/model.safetensors").stat().st_size
    assert f"{size:,}  model.safetensors" in err
    assert hub.requests == []


@pytest.mark.usefixtures("standing")
def test_what_is_cut_off_goes_on_and_is_never_seen_by_half(hub: State, publish: Publish) -> None:
    hub.faults.append("commit is cut off")
    code, _, err = publish("me/model")
    assert code == 5
    assert "repeat the command" in err
    assert set(hub.repos["me/model"].commits[hub.repos["me/model"].branches["main"]]) == {
        ".gitattributes"
    }
    assert len(hub.asked("PUT", "/storage/")) == 1
    code, _, err = publish("me/model")
    assert code == 0, err
    assert len(hub.asked("PUT", "/storage/")) == 1
    assert len(hub.asked("POST", "repos/create")) == 1


@pytest.mark.usefixtures("standing")
def test_what_is_cut_off_goes_on_by_xet_too(
    hub: State, publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.xet = tmp_path / "storage"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    hub.faults.append("commit is cut off")
    code, _, err = publish("me/model")
    assert code == 5, err
    stored = {path: path.stat().st_mtime_ns for path in hub.xet.rglob("xorbs/default.*")}
    code, _, err = publish("me/model")
    assert code == 0, err
    assert stored
    assert {path: path.stat().st_mtime_ns for path in hub.xet.rglob("xorbs/default.*")} == stored
    assert hub.asked("PUT", "/storage/") == []


@pytest.mark.usefixtures("standing")
@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [("storage refuses", 4, "signature expired"), ("commit is garbled", 1, "something else")],
)
def test_an_upload_that_goes_wrong_is_said(
    fault: str, code: int, words: str, hub: State, publish: Publish
) -> None:
    hub.faults.append(fault)
    found, out, err = publish("me/model")
    assert (found, out) == (code, "")
    assert words in err


@pytest.mark.usefixtures("standing")
def test_other_content_is_replaced_and_its_weights_removed_only_by_consent(
    hub: State, publish: Publish
) -> None:
    old = {
        "config.json": b"{}", "pytorch_model.bin": b"x", "notes.txt": b"mine", "LICENSE": b"MIT",
        "model-00001-of-00002.safetensors": b"a", "model.safetensors.index.json": b"{}",
    }  # fmt: skip
    repo = hub.add("me/model", old)
    before = dict(repo.branches)
    code, _, err = publish("me/model")
    assert code == 2
    assert "1 files replaced and 3 removed" in err
    assert repo.branches == before
    code, out, err = publish("me/model", "--create-pr", "--message", "better")
    assert (code, repo.branches["main"]) == (0, before["main"])
    assert "/discussions/" in out
    assert repo.messages[-1] == "better"
    code, _, err = publish("me/model", "--revision", "v/2")
    assert (code, repo.branches["main"]) == (0, before["main"])
    assert "pytorch_model.bin" not in repo.commits[repo.branches["v/2"]]
    code, _, err = publish("me/model", "--yes")
    assert code == 0, err
    files = repo.commits[repo.branches["main"]]
    assert (files["notes.txt"], files["LICENSE"]) == (b"mine", b"MIT")
    assert not {"pytorch_model.bin", "model.safetensors.index.json"} & set(files)


@pytest.mark.usefixtures("standing")
def test_what_is_public_and_private_is_never_changed_by_the_way(
    hub: State, publish: Publish
) -> None:
    hub.add("me/shown", {}, private=False)
    hub.add("me/hidden", {}, private=True)
    assert publish("me/shown")[0] == 2
    assert publish("me/hidden", "--public")[0] == 2
    assert hub.asked("POST", "/commit/") == []
    code, _, err = publish("me/new", "--public")
    assert code == 0, err
    assert "PUBLIC me/new" in err
    assert not hub.repos["me/new"].private


@pytest.mark.parametrize(
    ("token", "repo_id", "words"),
    [
        ("", "me/model", "hf auth login"),
        ("hf_" + "q" * 34, "me/model", "refuses the token"),
        (READER, "me/model", "may only read"),
        (STRANGER, "me/model", "not of me"),
    ],
)
def test_a_token_that_does_not_do_is_said_before_any_work(
    token: str, repo_id: str, words: str, hub: State, publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", token)
    code, out, err = publish(repo_id)
    assert (code, out) == (4, "")
    assert words in err
    assert not token or token not in err
    assert not Path("exports").exists()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "ZEPHYRCTL_OFFLINE"])
def test_offline_is_said_before_any_work(
    name: str, hub: State, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    code, _, err = publish("me/model")
    assert code == 5
    assert name in err
    assert hub.requests == []
    assert not Path("exports").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("../x",), ("a b/c",), ("me",), ("a/b/c",), ("me/" + "x" * 100,), ("me/x--y",),
        ("me/m", "--revision", "../main"), ("me/m", "--create-pr", "--revision", "v1"),
        ("me/m", "--message", " "), ("me/m", "--adapter", "--dtype", "float16"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_wishes_are_refused_before_any_work(
    arguments: tuple[str, ...], hub: State, publish: Publish
) -> None:
    code, out, err = publish(*arguments)
    assert (code, out) == (2, "")
    assert err.count("error[") == 1
    assert hub.requests == []
    assert not Path("exports").exists()


@pytest.mark.usefixtures("standing")
def test_a_secret_and_what_is_no_model_are_not_published(
    hub: State, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publish("me/model", "--dry-run")[0] == 0
    folder = Path("exports/mine-sft")
    card = (folder / CARD).read_text()
    monkeypatch.setenv("WANDB_API_KEY", "canary-0123456789")
    for canary in ("canary-0123456789", WRITER, "sk-" + "a" * 30):
        (folder / CARD).write_text(f"{card}\n{canary}\n")
        code, out, err = publish("me/model", "--yes")
        assert code == 2
        assert "holds a secret" in err
        assert canary not in out + err
    (folder / CARD).write_text(f"{card}\nEdited by hand.\n")
    (folder / "optimizer.pt").write_bytes(b"x")
    code, _, err = publish("me/model")
    assert (code, "optimizer.pt" in err) == (2, True)
    (folder / "optimizer.pt").unlink()
    assert hub.asked("POST", "/commit/") == []
    code, _, err = publish("me/model")
    assert code == 0, err
    assert "was edited by hand" in err
    repo = hub.repos["me/model"]
    assert b"Edited by hand." in repo.commits[repo.branches["main"]][CARD]


def test_the_state_of_a_training_and_an_unfinished_run_are_refused(
    hub: State, publish: Publish, run: Run, tmp_path: Path
) -> None:
    state = tmp_path / "checkpoint-7"
    shutil.copytree(run.stage("sft").model, state)
    (state / "trainer_state.json").write_text("{}")
    code, _, err = publish("me/model", model=str(state))
    assert (code, "state of a training" in err) == (2, True)
    manifest.begin(run.stage("dpo"), inputs={}, seed=0, world_size=1)
    code, _, err = publish("me/model", model=str(run.root))
    assert (code, "is not finished" in err) == (2, True)
    assert hub.asked("POST", "create") == []


def test_an_adapter_alone_needs_a_base_of_the_hub(
    hub: State, publish: Publish, run: Run, tiny_base: Path, tmp_path: Path
) -> None:
    code, _, err = publish("me/adapter", "--adapter")
    assert code == 2
    assert "no model of the Hub" in err
    base = tmp_path / "hub" / "models--org--tiny" / "snapshots" / COMMIT
    shutil.copytree(tiny_base, base)
    path = run.stage("sft").model / "adapter_config.json"
    settings = json.loads(path.read_text()) | {"base_model_name_or_path": str(base)}
    path.write_text(json.dumps(settings))
    code, _, err = publish("me/adapter", "--adapter")
    assert code == 0, err
    assert "log-probs differ by 0 nats per token" in err
    repo = hub.repos["me/adapter"]
    files = repo.commits[repo.branches["main"]]
    written = json.loads(files["adapter_config.json"])
    assert (written["base_model_name_or_path"], written["revision"]) == ("org/tiny", COMMIT)
    weights = (run.stage("sft").model / "adapter_model.safetensors").read_bytes()
    assert files["adapter_model.safetensors"] == weights
    assert "model.safetensors" not in files
    assert "differs from the trained model's by 0 nats" in files[CARD].decode()
    assert re.search(r"PeftModel.from_pretrained\(base, \"me/adapter\"\)", files[CARD].decode())


def test_a_hub_that_cannot_be_reached_is_told_in_a_sentence(
    publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    for address, words in (
        ("http://nowhere.invalid", "its name cannot be looked up"),
        ("http://127.0.0.1:9", "nothing listens"),
    ):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        code, out, err = publish("me/model")
        assert (code, out) == (5, "")
        assert words in err
        assert address in err
        assert "Errno" not in err
    assert not Path("exports").exists()
