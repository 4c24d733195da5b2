"""What log-probabilities does the reference model give to the pairs?

Computed once, by the weights the policy starts from, before any step; kept in the stage's folder
under a key made of weights, token ids and number format, so that a resume does not repeat it.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset

from zephyrctl.runs.atomic import write_json
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.signals import raise_if_stopping
from zephyrctl.training.loading import Policy
from zephyrctl.training.processes import World, from_first, gather
from zephyrctl.training.rows import lengths_of

Columns = dict[str, list[float]]
Split = Literal["train", "test"]
COLUMNS = (CHOSEN, REJECTED) = ("ref_chosen_logps", "ref_rejected_logps")


@dataclass(frozen=True)
class Source:
    """Where reference log-probs come from, for one stage."""

    policy: Policy
    folder: Path
    keys: dict[Split, str]
    world: World
    reporter: Reporter

    def log_probs(
        self,
        rows: Dataset,
        *,
        split: Split,
        score: Callable[[Dataset], Iterator[tuple[float, float]]],
    ) -> Columns:
        """Summed log-probs of chosen and rejected, each `(N,)`, in the order of `rows`.

        `score` yields one pair of numbers per row it is given; the rows are sorted by length and
        shared among the processes.
        """
        path = self.folder / f"{split}.json"
        known = from_first(_read(path, key=self.keys[split], rows=len(rows)))
        if known is not None:
            return known
        lengths = pair_lengths(rows)
        order = sorted(range(len(rows)), key=lambda i: (-lengths[i], i))
        mine = order[self.world.rank :: self.world.size]
        task = f"reference log-probs, {split}"
        found: dict[int, tuple[float, float]] = {}
        for index, pair in zip(mine, score(rows.select(mine)), strict=True):
            raise_if_stopping()
            found[index] = pair
            self.reporter.progress(task, done=len(found), total=len(mine), unit="pairs")
        for part in gather(found):
            found |= part
        columns = {
            CHOSEN: [found[i][0] for i in range(len(rows))],
            REJECTED: [found[i][1] for i in range(len(rows))],
        }
        if self.world.is_first:
            write_json(path, {"key": self.keys[split], **columns})
        return columns


def frozen_copy(model: Any) -> Any:
    """A second model in memory, for a reference that is asked at every step."""
    twin = copy.deepcopy(model)
    twin.requires_grad_(False)
    return twin.eval()


def _read(path: Path, *, key: str, rows: int) -> Columns | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if record.get("key") != key or len(record[CHOSEN]) != rows:
        return None
    return {CHOSEN: record[CHOSEN], REJECTED: record[REJECTED]}


def pair_lengths(rows: Dataset) -> list[int]:
    """Tokens of each pair's longer sequence, which decides its padding, `(N,)`."""
    columns = [lengths_of(rows, name) for name in ("prompt_ids", "chosen_ids", "rejected_ids")]
    return [
        prompt + max(chosen, rejected) for prompt, chosen, rejected in zip(*columns, strict=True)
    ]
