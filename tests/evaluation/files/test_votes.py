"""People's votes on MT-Bench, out of the Hub's files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zephyrctl.config.schema import Recipe
from zephyrctl.errors import DataError
from zephyrctl.evaluation.files import folders, pinned, votes
from zephyrctl.evaluation.files.pinned import PinnedFile
from zephyrctl.runs.digests import digest_file


def _talk(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant") * 2
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


VOTES: list[dict[str, Any]] = [
    {
        "question_id": 81,
        "model_a": "one",
        "model_b": "two",
        "winner": "model_b",
        "judge": "expert_3",
        "conversation_a": _talk("Q", "a1", "Again", "a2"),
        "conversation_b": _talk("Q", "b1", "Again", "b2"),
        "turn": turn,
    }
    for turn in (1, 2)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the Hub has, with two votes of a person and one of GPT-4."""
    for name, rows in (("human", VOTES), ("gpt4_pair", VOTES[:1])):
        table = pa.Table.from_pylist([row | {"judge": name} for row in rows])
        pq.write_table(table, tmp_path / f"{name}.parquet")
    return tmp_path


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_votes_and_the_answers_they_are_about_stand_apart(folder: Path) -> None:
    votes.unpack(folder)
    row = {"judge": "human", "model_a": "one", "model_b": "two", "question_id": 81}
    expected = [row | {"turn": turn, "winner": "model_b"} for turn in (1, 2)]
    assert _lines(folder / "human.jsonl") == expected
    assert _lines(folder / "gpt4_pair.jsonl") == [expected[0] | {"judge": "gpt4_pair"}]
    answer = {
        "question_id": 81,
        "model_id": "two",
        "choices": [{"index": 0, "turns": ["b1", "b2"]}],
    }
    assert _lines(folder / "model_answer_two.jsonl") == [answer]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    votes.unpack(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_broken_file_is_named(folder: Path) -> None:
    (folder / "gpt4_pair.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"gpt4_pair\.parquet cannot be read"):
        votes.unpack(folder)


def test_votes_in_a_folder_of_ones_own_come_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(cache))
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    files = tuple(
        PinnedFile(
            **vars(file) | {"sha256": digest_file(folder / Path(file.path).name), "size": None}
        )
        for file in pinned.HUMAN_VOTES
    )
    monkeypatch.setattr(pinned, "HUMAN_VOTES", files)
    kept = cache / "benchmarks" / "mt_bench" / "human_judgments"
    kept.mkdir(parents=True)
    for file in files:
        shutil.copy(folder / Path(file.path).name, kept)
    assert folders.human_votes_folder(Recipe()) == kept
    assert (kept / "human.jsonl").is_file()
    own = tmp_path / "own" / "mt_bench" / "human_judgments"
    own.mkdir(parents=True)
    (own / "human.jsonl").write_text("")
    recipe = Recipe.model_validate({"eval": {"data_dir": str(tmp_path / "own")}})
    assert folders.human_votes_folder(recipe) == own
