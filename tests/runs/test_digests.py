"""Equal content has equal digests."""

import hashlib
from pathlib import Path

from zephyrctl.runs import digests


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_a_file_has_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    assert digests.digest_file(path) == hashlib.sha256(b"content").hexdigest()


def test_a_tree_counts_names_and_contents_and_not_its_place(tmp_path: Path) -> None:
    files = {"a.txt": "one", "sub/b.txt": "two"}
    here = digests.digest_tree(_tree(tmp_path / "x", files))
    assert here == digests.digest_tree(_tree(tmp_path / "y", files))
    assert here != digests.digest_tree(_tree(tmp_path / "z", {"a.txt": "one", "sub/c.txt": "two"}))
    assert here != digests.digest_tree(_tree(tmp_path / "w", {"a.txt": "two", "sub/b.txt": "one"}))


def test_ignored_files_do_not_count(tmp_path: Path) -> None:
    plain = digests.digest_tree(_tree(tmp_path / "x", {"a.py": "1"}))
    noisy = _tree(tmp_path / "y", {"a.py": "1", "__pycache__/a.pyc": "2", "sub/b.pyc": "3"})
    assert digests.digest_tree(noisy, ignore=("*.pyc",)) == plain


def test_the_order_of_keys_does_not_count() -> None:
    assert digests.digest_json({"a": 1, "b": [2]}) == digests.digest_json({"b": [2], "a": 1})
    assert digests.digest_json({"a": [1, 2]}) != digests.digest_json({"a": [2, 1]})
