"""`zephyrctl serve` in a process of its own."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(
    argv: Sequence[str], *, folder: Path, env: Mapping[str, str]
) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    """The child of a command that serves, the address it says, and all that it said by then."""
    child = subprocess.Popen(
        [*argv, "--port", "0"], cwd=folder, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stderr is not None
    try:
        said, line = "", ""
        while not line.startswith("try: "):
            line = child.stderr.readline()
            assert line, said
            said += line
        found = re.search(r"^serving .* at (http://\S+)", said, re.MULTILINE)
        assert found is not None, said
        yield child, found[1], said
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()
