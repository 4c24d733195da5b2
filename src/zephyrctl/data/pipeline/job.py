"""How is the data of one stage prepared, from its sources to a closed account?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.data import DialogueData, PreferenceData
from zephyrctl.data import drawing
from zephyrctl.data.account import StageAccount
from zephyrctl.data.pipeline.assembly import Assembly, Piece
from zephyrctl.data.pipeline.clock import add_seconds
from zephyrctl.data.pipeline.feeding import Feeder
from zephyrctl.data.pipeline.mapping import mapped
from zephyrctl.data.pipeline.selection import (
    SPLITS,
    Fingerprints,
    Selection,
    select,
    share_for_both,
    shared_keys,
)
from zephyrctl.data.pipeline.shards import Shards
from zephyrctl.data.pipeline.work import Work
from zephyrctl.data.pipeline.writing import SplitWriter
from zephyrctl.data.sources import count_rows
from zephyrctl.data.statistics import describe, steps
from zephyrctl.errors import DataError, quoted
from zephyrctl.runs import signals
from zephyrctl.runs.atomic import disk_full_is_an_error
from zephyrctl.runs.digests import digest_file
from zephyrctl.runs.metrics import Reporter


@dataclass
class Job:
    """The preparation of one stage."""

    section: DialogueData | PreferenceData
    recipe: Recipe
    work: Work
    folder: Path
    shards: Path
    reporter: Reporter
    account: StageAccount = field(default_factory=StageAccount, init=False)
    seconds: dict[str, float] = field(default_factory=dict[str, float], init=False)
    wall: dict[str, float] = field(default_factory=dict[str, float], init=False)
    reused: list[tuple[bool, bool]] = field(default_factory=list[tuple[bool, bool]], init=False)

    def run(self) -> StageAccount:
        """Map every chunk, select, write the splits, close the account.

        Raises IdsDiffer where ids must not be looked up piece by piece.
        """
        with self._timed("map"):
            feeder = self._open_sources()
            known = Fingerprints(self.folder / "signatures.tmp")
            known.path.unlink(missing_ok=True)
            pieces = self._map(feeder, known)
        with self._timed("select"):
            selection = self._select(pieces, known)
        with self._timed("write"):
            assembly = self._write(pieces, selection)
        known.path.unlink(missing_ok=True)
        self._refuse_empty_split(known, selection)
        self._close(assembly, shared_keys(known, selection))
        return self.account

    def timing(self) -> dict[str, Any]:
        """How long the steps took: wall clock, and CPU seconds of the parts of `map`."""
        return {
            "rows": self.account.rows_in,
            "chunks": len(self.reused),
            "reused_rows": sum(rows for rows, _ in self.reused),
            "reused_tokens": sum(tokens for _, tokens in self.reused),
            "wall_seconds": {name: round(value, 3) for name, value in self.wall.items()},
            "cpu_seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.wall[name] = time.monotonic() - start

    def _open_sources(self) -> Feeder:
        stage = self.work.stage
        feeder = Feeder(stage, self.recipe.seed, self.account)
        for split in ("test", "train"):
            for source in self.section.test if split == "test" else self.section.train:
                feed = feeder.open(source, split=split)
                if source.format == "auto":
                    self.reporter.notice(
                        f"{feed.label}: format {feed.converter}, by its columns and first rows"
                    )
        return feeder

    def _map(self, feeder: Feeder, known: Fingerprints) -> list[Piece]:
        total = _expected_rows(feeder)
        task_name = f"{self.work.stage} rows"
        pieces: list[Piece] = []
        done = 0
        for task, found in mapped(
            feeder.tasks(),
            work=self.work,
            shards=self.shards,
            processes=self.recipe.data.processes,
        ):
            piece = feeder.piece(task, found, first=known.rows)
            self._count_removed(piece)
            known.add(found)
            add_seconds(self.seconds, found.seconds)
            self.reused.append(found.reused)
            pieces.append(piece)
            done += len(piece.numbers)
            self.reporter.progress(task_name, done=done, total=total)
        self.reporter.progress(task_name, done=done, total=done)
        return pieces

    def _count_removed(self, piece: Piece) -> None:
        """Count what a chunk has lost by itself, and let go of it."""
        for removed in piece.mapped.removed:
            where = f"{piece.file}{piece.mark}{piece.numbers[removed.row]}"
            self.account.remove(removed.reason, place=where, excerpt=removed.excerpt)
            if removed.match is not None:
                self.account.matches.append({"where": where, **asdict(removed.match)})
        piece.mapped.removed.clear()

    def _select(self, pieces: list[Piece], known: Fingerprints) -> Selection:
        self.reporter.progress(f"{self.work.stage} duplicates", done=0, total=known.rows)
        dedup = self.work.dedup
        official = sum(len(p.mapped.row) for p in pieces if p.source.split == "test")
        selection = select(
            known,
            test_rows=official if self.section.test else None,
            test_size=self.section.test_size,
            similarity=dedup.similarity if dedup is not None and dedup.near else None,
            seed=self.recipe.seed,
        )
        self.reporter.progress(f"{self.work.stage} duplicates", done=known.rows, total=known.rows)
        return selection

    def _write(self, pieces: list[Piece], selection: Selection) -> Assembly:
        stage = self.work.stage
        total = len(selection.split)
        reached = 0

        def done(rows: int) -> None:
            nonlocal reached
            signals.raise_if_stopping()
            reached = rows
            self.reporter.progress(f"{stage} splits", done=rows, total=total)

        writers = {split: SplitWriter(self.folder, stage=stage, split=split) for split in SPLITS}
        assembly = Assembly(self.work, Shards(self.shards), selection, self.account, writers)
        try:
            with ExitStack() as stack:
                for writer in writers.values():
                    stack.enter_context(writer)
                assembly.run(pieces, done=done)
        except OSError:
            asked = sum(writer.asked for writer in writers.values())
            needed = asked * total // max(1, _end_after(pieces, reached))
            # At least: tokens take less than their text, and are not counted.
            with disk_full_is_an_error(self.folder.parent / stage, needed=needed):
                raise
        return assembly

    def _close(self, assembly: Assembly, shared: int) -> None:
        """Check the splits, and add the tables to the account."""
        stage = self.work.stage
        self._refuse_shared(shared)
        settings = self.recipe.sft if stage == "sft" else self.recipe.dpo
        packing = self.recipe.sft.packing if stage == "sft" else "none"
        for split, lengths in assembly.lengths.items():
            self.account.splits[split] = describe(
                lengths, max_length=settings.max_length, packing=packing
            ) | {
                suffix: digest_file(self.folder / f"{split}.{suffix}")
                for suffix in ("jsonl", "parquet")
            }
        self.account.estimated_steps = steps(
            self.account.splits["train"]["sequences"],
            global_batch_size=settings.global_batch_size,
            epochs=settings.epochs,
            max_steps=settings.max_steps,
        )
        if stage == "dpo":
            self.account.length_bias = assembly.bias.to_json()

    def _refuse_empty_split(self, known: Fingerprints, selection: Selection) -> None:
        """A split without rows, by the share that is held out or by what was removed."""
        self.account.check(self.work.stage)
        section, rows, where = self.section, self.account.rows_out, f"data.{self.work.stage}"
        is_drawn = bool(section.test_size) and not section.test
        if rows["train"] and (rows["test"] or not (section.test or is_drawn)):
            return
        if is_drawn and (rows["train"] or rows["test"]):
            raise self._unparted(known, selection, where=f"{where}.test_size")
        if rows["train"]:
            raise DataError(
                f"the held-out split is empty ({rows['train']} training rows)",
                where=f"{where}.test",
                hint=_first_sample(self.account) or f"head -n 3 {quoted(section.test[0].path)}",
            )
        reasons = ", ".join(f"{n} {why}" for why, n in self.account.removed.most_common(3))
        raise DataError(
            f"no training row is left of {self.account.rows_in}: {reasons or 'no rows at all'}",
            where=f"{where}.train",
            hint=_first_sample(self.account) or f"head -n 3 {quoted(section.train[0].path)}",
        )

    def _unparted(self, known: Fingerprints, selection: Selection, *, where: str) -> DataError:
        """All rows that stay fell on one side: which share parts these very rows."""
        rows, share = self.account.rows_out, self.section.test_size
        # Too large a share says nothing about the one that is meant: the usual one of few rows.
        aim = share if rows["train"] else min(share, 0.2)
        prompts, other = share_for_both(known, selection, aim=aim, seed=self.recipe.seed)
        several = "" if prompts == 1 else "s"
        asked = f"{rows['train'] or rows['test']} rows of {prompts} prompt{several}"
        none = f"--set {where}=0 for no held-out split"
        return DataError(
            f"the held-out split is empty ({asked}; which are held out is drawn)"
            if rows["train"]
            else f"no training row is left: all {asked} are held out by test_size={share:g}",
            where=where,
            hint=f"{none}; rows of one prompt stay together"
            if other is None
            else f"--set {where}={other:.15g}   or {none}",
        )

    def _refuse_shared(self, shared: int) -> None:
        where = f"data.{self.work.stage}"
        if shared:
            raise DataError(
                f"{shared} prompts stand in the training and in the test split",
                where=where,
                hint="this is a fault of zephyrctl; please report it with the recipe",
            )


def _end_after(pieces: Sequence[Piece], reached: int) -> int:
    """Rows up to the end of the piece that is under way once `reached` rows are done."""
    ends = [piece.first + len(piece.mapped.row) for piece in pieces]
    return next((end for end in ends if end > reached), reached)


def _expected_rows(feeder: Feeder) -> int | None:
    """How many rows will be read, or None where that cannot be told beforehand."""
    total = 0
    for feed in feeder.feeds:
        rows = count_rows(feed.source)
        if rows is None:
            return None
        total += drawing.expected(feed.source, rows=rows)
    return total


def _first_sample(account: StageAccount) -> str | None:
    """Where the first removed row of the most frequent reason stands."""
    for reason, _ in account.removed.most_common(1):
        for sample in account.samples.get(reason, []):
            return f"the first one ({reason}) is at {sample['where']}"
    return None
