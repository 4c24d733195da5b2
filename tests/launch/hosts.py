"""Two real hosts: network namespaces with a cable between them, each with a name of its own.

They share nothing but the disk. Needs root and Linux; elsewhere the tests are skipped with the
reason, but not in CI as root, where they must run.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Host:
    """One namespace."""

    name: str
    address: str
    interface: str

    def popen(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path
    ) -> "subprocess.Popen[str]":
        """Start a command on this host, in a session of its own; its pid is the command's."""
        inside = ["ip", "netns", "exec", self.name, "unshare", "--uts"]
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        return subprocess.Popen(
            [*inside, *named, *argv],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )  # fmt: skip

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self.name, "link", "set", self.interface, "down")

    def plug(self) -> None:
        """Put it back."""
        _ip("-n", self.name, "link", "set", self.interface, "up")


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts that reach each other; skips where this machine does not permit them."""
    reason = why_not()
    if reason is not None:
        must = os.environ.get("CI") == "true" and os.geteuid() == 0
        (pytest.fail if must else pytest.skip)(f"no network namespaces here: {reason}")
    mark = f"{os.getpid() % 100000}"
    hosts = tuple(
        Host(f"zc{mark}{letter}", f"10.99.{os.getpid() % 250}.{number}", f"zv{mark}{letter}")
        for number, letter in ((1, "a"), (2, "b"))
    )
    a, b = hosts
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
        _ip("link", "add", a.interface, "netns", a.name, "type", "veth",
            "peer", "name", b.interface, "netns", b.name)  # fmt: skip
        for host in hosts:
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", host.interface)
            _ip("-n", host.name, "link", "set", "lo", "up")
            host.plug()
        yield a, b
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def why_not() -> str | None:
    """Why namespaces cannot be made here, or None."""
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"the program {program} is not installed"
    name = f"zctry{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return made.stderr.strip() or "ip netns add failed"
    entered = subprocess.run(
        ["ip", "netns", "exec", name, "unshare", "--uts", "hostname", name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return (entered.stderr.strip() or "unshare failed") if entered.returncode else None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
