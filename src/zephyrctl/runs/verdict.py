"""What came of the canaries, the checks that a training stage makes on itself?

A stage keeps them in its manifest, under the metric `canaries`; whoever shows a stage reads them
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from zephyrctl.terminal import finite

State = Literal["pass", "warn", "fail", "not checked"]
METRIC = "canaries"
_WORST_FIRST: tuple[State, ...] = ("fail", "warn", "pass", "not checked")


@dataclass(frozen=True)
class Check:
    """One canary: `band` is the range in words, `text` what was found, or why nothing was."""

    name: str
    state: State
    text: str = ""
    value: float | None = None
    band: str = ""


def worse(new: State, old: State | None) -> bool:
    """Whether a check came out worse than the time before."""
    return old is None or _WORST_FIRST.index(new) < _WORST_FIRST.index(old)


def to_metric(checks: Iterable[Check]) -> dict[str, Any]:
    """What stands under the metric `canaries`: the worst state, and every check."""
    found = list(checks)
    state = next((s for s in _WORST_FIRST if any(c.state == s for c in found)), "not checked")
    return {"state": state, "checks": [finite(asdict(check)) for check in found]}


def from_metrics(metrics: Mapping[str, Any]) -> list[Check]:
    """The checks among a stage's metrics; none where an older version or another stage ran."""
    entry = metrics.get(METRIC)
    return [Check(**check) for check in entry["checks"]] if entry else []


def lines(checks: Iterable[Check]) -> list[str]:
    """The verdict in a few lines: how many of each, the worrying ones, what was not checked."""
    found = list(checks)
    if not found:
        return []
    counts = [
        (len([c for c in found if c.state == "pass"]), "passed"),
        (len([c for c in found if c.state == "warn"]), "to look at"),
        (len([c for c in found if c.state == "fail"]), "failed"),
        (len([c for c in found if c.state == "not checked"]), "not checked"),
    ]
    head = "canaries: " + ", ".join(f"{n} {word}" for n, word in counts if n or word == "passed")
    worrying = [_worrying(c) for c in found if c.state in ("warn", "fail")]
    unchecked = [
        f"{c.name} ({c.text})" if c.text else c.name for c in found if c.state == "not checked"
    ]
    return [head, *worrying, *([f"not checked: {'; '.join(unchecked)}"] if unchecked else [])]


def _worrying(check: Check) -> str:
    value = "" if check.value is None else f" {check.value:.4g}"
    band = f" (expected {check.band})" if check.band else ""
    return f"{'FAILED' if check.state == 'fail' else '!'} {check.name}{value}{band}"
