"""A hint can be pasted: a path in it is one word of the shell, whatever it holds."""

import ast
import errno
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from zephyrctl.errors import DiskFull, quoted
from zephyrctl.runs.atomic import disk_full_is_an_error

SOURCES = Path(__file__).parents[1] / "src" / "zephyrctl"
COMMAND = re.compile(
    r"(^|[\s:;,(\"])(zephyrctl (?!config explain)[a-z]|"
    r"(df|du|ls|rm|sed|head|tail|cat|chmod|chown|mv|cp|mkdir|iconv) )"
)
PATH = re.compile(r"(path|root|folder|file|parent|directory|cache(\(\))?|/ '[^']*')$")


def _unquoted(tree: ast.AST) -> Iterator[ast.FormattedValue]:
    """Paths that are put into a command as they are."""
    for text in ast.walk(tree):
        before = ""
        for part in text.values if isinstance(text, ast.JoinedStr) else ():
            if isinstance(part, ast.Constant):
                before += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                if COMMAND.search(before) and PATH.search(ast.unparse(part.value)):
                    yield part
                before += "WORD"


def test_every_path_in_a_command_that_is_shown_is_quoted() -> None:
    found = [
        f"{file.relative_to(SOURCES)}:{value.lineno}: {ast.unparse(value.value)}"
        for file in sorted(SOURCES.rglob("*.py"))
        if COMMAND.search(text := file.read_text(encoding="utf-8"))
        for value in _unquoted(ast.parse(text))
    ]
    assert not found, "\n".join(found)


def test_the_rule_sees_a_path_that_is_not_quoted() -> None:
    bad = ast.parse('f"zephyrctl runs logs {run.root} --stage sft"')
    good = ast.parse('f"zephyrctl runs logs {quoted(run.root)} --stage {stage.name}"')
    assert [ast.unparse(value.value) for value in _unquoted(bad)] == ["run.root"]
    assert not list(_unquoted(good))


def test_a_folder_with_blanks_and_quotes_stays_one_word(tmp_path: Path) -> None:
    folder = tmp_path / "my run's; rm -rf"
    folder.mkdir()
    with pytest.raises(DiskFull) as full, disk_full_is_an_error(folder):
        raise OSError(errno.ENOSPC, "no space")
    assert full.value.hint == f"df -h {quoted(folder)}"
    assert quoted("plain/run") == "plain/run"
    assert quoted("a b") == "'a b'"
