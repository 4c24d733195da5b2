"""How do the mapped chunks and the selection become the two splits and their account?"""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zephyrctl.data.account import SourceAccount, StageAccount
from zephyrctl.data.pipeline import rows
from zephyrctl.data.pipeline.cutting import Cut
from zephyrctl.data.pipeline.mapping import Mapped, cut_rows
from zephyrctl.data.pipeline.selection import SPLITS, TEST, Selection
from zephyrctl.data.pipeline.shards import Shards
from zephyrctl.data.pipeline.work import Work
from zephyrctl.data.pipeline.writing import SplitWriter
from zephyrctl.data.statistics import Lengths, PairLengths
from zephyrctl.errors import JobFailed
from zephyrctl.runs import faults


@dataclass(frozen=True)
class Piece:
    """A mapped chunk, its source, and where its rows stand.

    `first` is the number that its first row has in the selection; `copies` says how often each row
    of the chunk is taken, or is None where all are taken once.
    """

    mapped: Mapped
    source: SourceAccount
    label: str
    file: str
    mark: str
    numbers: Any
    first: int
    copies: Any = None

    def place(self, at: int) -> str:
        """Where one of the rows that stay stands; `at` counts these rows."""
        return f"{self.file}{self.mark}{self.numbers[self.mapped.row[at]]}"


@dataclass
class Assembly:
    """Writes pieces into the splits; `lengths` and `bias` add up what it has written."""

    work: Work
    shards: Shards
    selection: Selection
    account: StageAccount
    writers: Mapping[str, SplitWriter]
    lengths: dict[str, Lengths] = field(default_factory=lambda: {s: Lengths() for s in SPLITS})
    bias: PairLengths = field(default_factory=PairLengths)

    def run(self, pieces: Sequence[Piece], *, done: Callable[[int], None]) -> None:
        """Write the rows that stay, in order, and count those that go; tells how many are done."""
        firsts = [piece.first for piece in pieces]

        def place(number: int) -> str:
            piece = pieces[bisect.bisect_right(firsts, number) - 1]
            return piece.place(number - piece.first)

        for number, piece in enumerate(pieces, start=1):
            self._one(piece, place)
            faults.meet("chunk", number)
            done(piece.first + len(piece.mapped.row))

    def _one(self, piece: Piece, place: Callable[[int], str]) -> None:
        import numpy as np

        mapped = piece.mapped
        table = self._read(mapped.rows_shard).take(mapped.places)
        cut = cut_rows(self._read(mapped.tokens_shard), self.work)
        fates = self.selection.split[piece.first : piece.first + len(mapped.row)]
        for at in np.flatnonzero(fates > TEST).tolist():
            self._count_gone(piece, at, table, place)
        for number, split in enumerate(SPLITS):
            stays = np.flatnonzero(fates == number)
            if piece.copies is not None:
                often = piece.copies[mapped.row[stays]]
                piece.source.repeated += int(often.sum()) - len(stays)
                stays = np.repeat(stays, often)
            if len(stays):
                self._write(split, stays.tolist(), piece, table)
                self._write_tokens(split, mapped.places[stays], table["id"].take(stays), cut)

    def _count_gone(self, piece: Piece, at: int, table: Any, place: Callable[[int], str]) -> None:
        number = piece.first + at
        record = rows.record_of(table["body"][at].as_py())
        earlier = self.selection.like.get(number)
        self.account.remove(
            self.selection.reason(number),
            place=piece.place(at),
            excerpt=rows.excerpt(record),
            like=None if earlier is None else place(earlier),
        )

    def _write(self, split: str, stays: list[int], piece: Piece, table: Any) -> None:
        """The text of rows, and what was found out about them."""
        source = json.dumps(piece.label, ensure_ascii=False)
        ids, bodies = table["id"].to_pylist(), table["body"].to_pylist()
        self.writers[split].add_text(
            f'{{"id":{json.dumps(ids[at], ensure_ascii=False)},"source":{source},{bodies[at]}}}\n'
            for at in stays
        )
        self.account.rows_out[split] += len(stays)
        for column, count in (("remarks", self._count_remarks), ("match", self._count_match)):
            values = table[column]
            if values.null_count < len(values):
                for at in stays:
                    if values[at].is_valid:
                        count(json.loads(values[at].as_py()), piece.place(at))

    def _count_remarks(self, remarks: dict[str, int], place: str) -> None:
        del place
        self.account.repaired.update(remarks)

    def _count_match(self, match: dict[str, str], place: str) -> None:
        self.account.flagged[f"contains a judged prompt ({match['list']})"] += 1
        self.account.matches.append({"where": place, **match})

    def _write_tokens(self, split: str, places: Any, ids: Any, cut: Cut) -> None:
        columns = {
            name: [values[place] for place in places.tolist()]
            for name, values in cut.columns.items()
        }
        self.writers[split].add_tokens(ids, columns)
        self.lengths[split].add_many(
            cut.total[places],
            trained=cut.trained[places],
            cut=cut.cut[places],
            prompt_cut=cut.prompt_cut[places],
        )
        if split == "train" and cut.chosen is not None:
            self.bias.add_many(cut.chosen[places], cut.rejected[places])

    def _read(self, name: str) -> Any:
        table = self.shards.read(name)
        if table is None:
            raise JobFailed(
                "a part of the data cache vanished while it was in use",
                where=name,
                hint="repeat the command; the other parts are kept",
            )
        return table
