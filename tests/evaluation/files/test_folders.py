"""In which folder the files of a benchmark are found, and how they come into the cache."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.evaluation.files.official import address, made, serve

from zephyrctl import environment
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError, NetworkError, UsageError
from zephyrctl.evaluation.files import bring, folders, pinned
from zephyrctl.runs.digests import digest_file

HERE = Path(__file__).resolve()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    return tmp_path / "cache" / "benchmarks"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A table of two files of our own in place of the public ones; what the service has."""
    questions, prompts = b'{"turns": ["One?"]}\n', b'{"name": "single-v1"}\n'
    files = (made("question.jsonl", questions), made("sub/judge_prompts.jsonl", prompts))
    monkeypatch.setitem(pinned.FILES, "mt-bench", files)
    monkeypatch.setitem(pinned.FILES, "alpaca-eval", (made("alpaca.json", b"[]"),))
    monkeypatch.setitem(bring.NEEDED, "mt-bench", files[:1])
    monkeypatch.setitem(bring.NEEDED, "alpaca-eval", ())
    return {address(files[0]): questions, address(files[1]): prompts}


def _recipe(data_dir: Path | None = None, **settings: object) -> Recipe:
    return Recipe.model_validate(
        {"eval": {"data_dir": str(data_dir) if data_dir else None, **settings}}
    )


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# ---------------------------------------------------------------------------- the table of files


def test_every_pinned_file_is_one_revision_and_one_digest() -> None:
    for files in pinned.FILES.values():
        assert len({file.path for file in files}) == len(files)
        for file in files:
            assert len(file.revision) == 40
            assert len(file.sha256) == 64
    data = [f for f in pinned.FILES["alpaca-eval"] if f.service == "hub"]
    assert {file.licence for file in data} == {"CC-BY-NC-4.0"}


def test_no_public_file_is_in_the_package() -> None:
    package = Path(pinned.__file__).parents[2]
    inside = {digest_file(path) for path in package.rglob("*") if path.is_file()}
    assert inside.isdisjoint(file.sha256 for files in pinned.FILES.values() for file in files)


def test_the_table_describes_the_published_files(mt_bench_dir: Path, alpaca_eval_dir: Path) -> None:
    for folder, files in ((mt_bench_dir, pinned.MT_BENCH), (alpaca_eval_dir, pinned.ALPACA_EVAL_2)):
        for file in files:
            assert folders.is_here(file, folder), file.path
            assert (folder / file.path).stat().st_size == file.size


@pytest.mark.parametrize(("word", "names"), [("all", 2), ("mt-bench", 1), ("alpaca-eval", 1)])
def test_words_name_benchmarks(word: str, names: int) -> None:
    assert len(pinned.benchmarks_of(word)) == names
    with pytest.raises(UsageError, match="did you mean"):
        pinned.benchmarks_of(f"{word}x")


# ---------------------------------------------------------------------- a folder of one's own


def test_a_folder_is_used_as_it_is_and_edits_are_said(mt_bench_dir: Path, tmp_path: Path) -> None:
    own = tmp_path / "files" / "mt_bench"
    (own / "reference_answer").mkdir(parents=True)
    for name in ("question.jsonl", "judge_prompts.jsonl", "reference_answer/gpt-4.jsonl"):
        shutil.copy(mt_bench_dir / name, own / name)
    said: list[str] = []
    wanted = _recipe(own.parent, mt_bench={"references": "original"})
    assert folders.mt_bench_folder(wanted, say=said.append) == own
    assert said == []
    (own / "question.jsonl").chmod(0o644)
    with (own / "question.jsonl").open("a") as stream:
        stream.write('{"question_id": 161, "turns": ["More?"], "category": "own"}\n')
    assert folders.mt_bench_folder(wanted, say=said.append) == own
    assert len(said) == 1
    assert "question.jsonl differs from MT-Bench's public file" in said[0]
    with pytest.raises(
        DataError, match=r"gpt-4-0125-preview\.jsonl is not in the folder"
    ) as caught:
        folders.mt_bench_folder(_recipe(own.parent))
    assert caught.value.hint == f"zephyrctl eval fetch mt-bench --to {own.parent}"


def test_the_licence_of_alpaca_eval_is_told_once(alpaca_eval_dir: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        assert folders.alpaca_eval_folder(_recipe(alpaca_eval_dir), say=said.append)
    assert len(said) == 1
    assert "CC-BY-NC-4.0" in said[0]


# -------------------------------------------------------------------------------------- the cache


@pytest.mark.parametrize("benchmark", ["mt-bench", "alpaca-eval"])
def test_offline_with_nothing_cached_is_exit_5_with_the_command(benchmark: str) -> None:
    find = folders.mt_bench_folder if benchmark == "mt-bench" else folders.alpaca_eval_folder
    with pytest.raises(NetworkError, match="ZEPHYRCTL_OFFLINE=1") as caught:
        find(_recipe(), say=lambda text: None)
    assert caught.value.exit_code == 5
    assert f"zephyrctl eval fetch {benchmark} --to ./eval-files" in (caught.value.hint or "")
    assert f"zephyrctl eval fetch {benchmark} --from ./eval-files" in (caught.value.hint or "")


def test_mt_bench_is_fetched_once_and_then_needs_no_network(
    mt_bench_dir: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {address(f): (mt_bench_dir / f.path).read_bytes() for f in pinned.MT_BENCH}
    said: list[str] = []
    with serve(files) as (url, requests):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
        folder = folders.mt_bench_folder(_recipe(), say=said.append)
        assert sorted(requests) == sorted(files)
    assert folder == cache / "mt_bench"
    assert len(said) == 4
    assert "Apache-2.0" in said[0]
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    assert folders.mt_bench_folder(_recipe()) == folder
    (folder / "question.jsonl").write_text("changed")  # the cache holds pinned files only
    with pytest.raises(NetworkError):
        folders.mt_bench_folder(_recipe(), say=said.append)


def test_what_arrived_before_an_error_is_kept(
    published: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pinned.FILES["mt-bench"]
    monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
    with serve(published, {address(second): ["404"]}) as (url, requests):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        with pytest.raises(NetworkError, match="HTTP 404"):
            bring.into_cache(["mt-bench"], say=lambda text: None)
        assert _names(cache / "mt_bench") == ["question.jsonl"]
        found = bring.into_cache(["mt-bench"], say=lambda text: None)
        assert [item.state for item in found] == ["here", "fetched"]
    assert requests == [address(first), address(second), address(second)]


def test_a_kill_leaves_whole_files_or_none(
    published: dict[str, bytes], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pinned.FILES["mt-bench"]
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from zephyrctl.evaluation.files import folders, pinned\n"
        "files = [pinned.PinnedFile(**row) for row in json.loads(sys.argv[1])]\n"
        "folders.fetch_into(Path(sys.argv[2]), files, benchmark='mt-bench', say=print)\n"
    )
    rows = json.dumps([vars(file) for file in (first, second)])
    env = {k: v for k, v in os.environ.items() if k != "ZEPHYRCTL_OFFLINE"}
    with serve(published, {address(second): ["drip"]}) as (url, requests):
        child = subprocess.Popen(
            [sys.executable, "-c", code, rows, str(cache / "mt_bench")],
            env=env | {"ZEPHYRCTL_GITHUB_URL": url},
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while address(second) not in requests:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)  # the first bytes are on their way
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert _names(cache / "mt_bench") == ["question.jsonl"]
        monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        bring.into_cache(["mt-bench"], say=lambda text: None)
    assert requests.count(address(first)) == 1
    assert _names(cache / "mt_bench") == ["question.jsonl", "sub", "sub/judge_prompts.jsonl"]


# ------------------------------------------------------------------ carried to another machine


def test_files_are_carried_over_and_nothing_else_is_taken(
    published: dict[str, bytes], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried = tmp_path / "carried"
    with serve(published) as (url, _):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
        there = bring.to_folder(["mt-bench"], carried, say=lambda text: None)
    assert [item.state for item in there] == ["copied", "copied"]
    shutil.rmtree(environment.cache_root())
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    said: list[str] = []
    here = bring.from_folder(["mt-bench", "alpaca-eval"], carried, say=said.append)
    assert [item.state for item in here] == ["copied", "copied"]
    assert said == [f"{carried} holds nothing of AlpacaEval"]
    again = bring.from_folder(["mt-bench"], carried / "mt_bench", say=said.append)
    assert [item.state for item in again] == ["here", "here"]

    shutil.rmtree(environment.cache_root())
    (carried / "mt_bench" / "sub" / "judge_prompts.jsonl").unlink()
    assert [i.state for i in bring.from_folder(["mt-bench"], carried, say=said.append)] == [
        "copied",
        "absent",
    ]
    shutil.rmtree(environment.cache_root())
    edited = carried / "mt_bench" / "question.jsonl"
    edited.write_text("edited")
    with pytest.raises(DataError) as caught:
        bring.from_folder(["mt-bench"], carried, say=said.append)
    assert pinned.FILES["mt-bench"][0].sha256 in caught.value.message
    assert not (cache / "mt_bench" / "question.jsonl").exists()
    edited.unlink()
    with pytest.raises(DataError, match=r"question\.jsonl not found"):
        bring.from_folder(["mt-bench"], carried, say=said.append)
    with pytest.raises(DataError, match="no file of any benchmark"):
        bring.from_folder(["mt-bench", "alpaca-eval"], carried, say=said.append)
    with pytest.raises(UsageError, match="there is no folder"):
        bring.from_folder(["mt-bench"], tmp_path / "nowhere", say=said.append)


def test_an_edited_copy_is_not_written_over(
    published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = tmp_path / "own" / "mt_bench" / "question.jsonl"
    edited.parent.mkdir(parents=True)
    edited.write_text("edited")
    with serve(published) as (url, _):
        monkeypatch.setenv("ZEPHYRCTL_GITHUB_URL", url)
        monkeypatch.delenv("ZEPHYRCTL_OFFLINE")
        with pytest.raises(DataError, match="differs from the public file"):
            bring.to_folder(["mt-bench"], tmp_path / "own", say=lambda text: None)
    assert edited.read_text() == "edited"
