"""Whose word a base model's licence is, and that none is made up."""

from pathlib import Path

import pytest

from zephyrctl.publishing.licences import licence_of

MISTRAL = "mistralai/Mistral-7B-v0.1"


def card(folder: Path, head: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\n{head}\n---\n# A model\n")
    return str(folder)


def test_the_card_of_the_base_is_asked_before_our_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    found = licence_of(MISTRAL, MISTRAL)
    assert (found.name, "a list in zephyrctl" in str(found)) == ("apache-2.0", True)
    folder = tmp_path / "models--mistralai--Mistral-7B-v0.1"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    snapshot = folder / "snapshots" / ("0" * 40)
    card(snapshot, "license: mit")
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    found = licence_of(MISTRAL, MISTRAL)
    assert (found.name, "the model's own card" in str(found)) == ("mit", True)


def test_a_licence_of_its_own_comes_with_its_name_and_link(tmp_path: Path) -> None:
    link = "https://example.org/licence"
    base = card(tmp_path, f"license: other\nlicense_name: ours-1\nlicense_link: {link}")
    found = licence_of(base, None)
    assert (found.name, found.more) == ("other", {"license_name": "ours-1", "license_link": link})
    assert link in str(found)


@pytest.mark.parametrize(
    "head",
    ["license: unknown", "license: [mit, gpl]", "license: {a: b}", "license: '<b>x</b>'", "a: [",
     "license: |\n  mit\n  and more", "- 1", "language: en"],
)  # fmt: skip
def test_what_is_no_word_for_a_licence_is_unknown_and_said(head: str, tmp_path: Path) -> None:
    found = licence_of(card(tmp_path, head), None)
    assert found.name == "unknown"
    assert "is unknown" in str(found)


def test_nothing_at_hand_is_unknown(tmp_path: Path) -> None:
    assert licence_of(str(tmp_path / "gone"), None).name == "unknown"
    assert licence_of(None, None).name == "unknown"
