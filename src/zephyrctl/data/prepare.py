"""How do raw sources become the splits that training reads, with every row accounted for?

One pass per source: convert and filter and tokenize in batches (`batches`), then what needs the
rows before: duplicates, and what the test split holds. The held-out rows go first, so that a
training row that repeats one of them is the one that goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.data import DialogueData, PreferenceData, Source
from zephyrctl.data import drawing
from zephyrctl.data.account import DataAccount, SourceAccount, StageAccount
from zephyrctl.data.batches import Input, Removed, Taken, Work, excerpt, outcomes
from zephyrctl.data.converters import choose
from zephyrctl.data.decontamination import QuestionList, load_lists
from zephyrctl.data.filter_params import Dedup
from zephyrctl.data.near_duplicates import NearDuplicates
from zephyrctl.data.preferences import rule_of
from zephyrctl.data.sources import count_rows, local_files, read
from zephyrctl.data.splits import is_held_out
from zephyrctl.data.statistics import Lengths, PairLengths, describe, steps
from zephyrctl.data.tokenizers import load_tokenizer, template_hash
from zephyrctl.data.tokens import Encoded, has_generation_markers
from zephyrctl.data.writing import SplitWriter
from zephyrctl.errors import ConfigError, DataError
from zephyrctl.runs.atomic import staged_directory, write_json
from zephyrctl.runs.digests import digest_file, digest_json
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.store import Run

Stage = Literal["sft", "dpo"]
STAGES: tuple[Stage, ...] = ("sft", "dpo")
_PEEK_ROWS = 64


def prepare(
    recipe: Recipe, run: Run, *, tokenizer_path: str, revision: str | None, reporter: Reporter
) -> DataAccount:
    """Write `RUN/data/{sft,dpo}/{train,test}.{jsonl,parquet}` and `account.json`; all or nothing.

    A stage without training sources is left out, and a notice says so.
    """
    wanted: list[Stage] = [stage for stage in STAGES if _section(recipe, stage).train]
    if not wanted:
        raise ConfigError(
            "the recipe names no training data",
            where="data.sft.train, data.dpo.train",
            hint="zephyrctl recipes show zephyr-7b   shows a recipe with sources",
        )
    notices: list[str] = []
    template = recipe.model.chat_template
    tokenizer = load_tokenizer(tokenizer_path, revision=revision, chat_template=template)
    if not has_generation_markers(tokenizer):
        notices.append("the template has no generation markers; masks come from its renderings")
    lists = load_lists(recipe)
    notices += [_list_notice(item) for item in lists if item.texts is None]
    accounts: dict[str, StageAccount] = {}
    folder = run.stage("data").path
    with ExitStack() as stack:
        for stage in wanted:
            target = stack.enter_context(staged_directory(folder / stage))
            work = _work(recipe, stage, lists, tokenizer=tokenizer_path, revision=revision)
            job = _Job(stage, _section(recipe, stage), recipe, work, target, reporter)
            accounts[stage] = job.run()
        notices += [f"data.{stage}.train is empty: no {stage} data" for stage in STAGES
                    if stage not in wanted]  # fmt: skip
        (folder / "account.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "cache", ignore_errors=True)
    for stage in STAGES:
        if stage not in wanted:
            shutil.rmtree(folder / stage, ignore_errors=True)
    for text in notices:
        reporter.notice(text, level="warning")
    account = DataAccount(
        stages=accounts,
        tokenizer=digest_json(tokenizer.get_vocab()),
        template_sha256=template_hash(tokenizer),
        decontamination=[_list_account(item) for item in lists],
        notices=notices,
    )
    write_json(folder / "account.json", account.to_json())
    return account


def _section(recipe: Recipe, stage: Stage) -> DialogueData | PreferenceData:
    return recipe.data.sft if stage == "sft" else recipe.data.dpo


def _list_notice(item: QuestionList) -> str:
    return f"decontamination against {item.name}: NOT CHECKED ({item.place})"


def _list_account(item: QuestionList) -> dict[str, object]:
    if item.texts is None:
        return {"name": item.name, "status": "NOT CHECKED", "prompts": 0, "reason": item.place}
    digest = digest_json(list(item.texts))
    return {"name": item.name, "status": "checked", "prompts": len(item.texts), "digest": digest}


def _work(
    recipe: Recipe,
    stage: Stage,
    lists: list[QuestionList],
    *,
    tokenizer: str,
    revision: str | None,
) -> Work:
    against = recipe.data.decontaminate
    return Work(
        stage=stage,
        tokenizer=tokenizer,
        revision=revision,
        chat_template=recipe.model.chat_template,
        filters=tuple(_section(recipe, stage).filters),
        rule=rule_of(recipe.data.dpo.binarize),
        seed=recipe.seed,
        max_length=recipe.sft.max_length if stage == "sft" else recipe.dpo.max_length,
        max_prompt_length=recipe.dpo.max_prompt_length,
        # A wrapped stream is cut where a sequence is full, so no row has to be.
        cut=stage == "dpo" or recipe.sft.packing != "wrapped",
        trains_all=recipe.sft.loss_on == "all",
        questions=tuple(item for item in lists if item.texts is not None),
        ngram=against.ngram,
        similarity=against.similarity,
        drop_matches=against.action == "drop",
    )


@dataclass
class _Job:
    """The preparation of one stage; holds what has been seen so far."""

    stage: Stage
    section: DialogueData | PreferenceData
    recipe: Recipe
    work: Work
    folder: Path
    reporter: Reporter
    account: StageAccount = field(default_factory=StageAccount)
    test_keys: set[bytes] = field(default_factory=set)
    train_keys: set[bytes] = field(default_factory=set)
    seen: dict[bytes, str] = field(default_factory=dict)
    near: NearDuplicates | None = None
    lengths: dict[str, Lengths] = field(
        default_factory=lambda: {"train": Lengths(), "test": Lengths()}
    )
    bias: PairLengths = field(default_factory=PairLengths)
    done: int = 0
    total: int | None = 0

    def run(self) -> StageAccount:
        """Prepare test sources, then training sources, and close the account."""
        dedup = cast("Dedup | None", self.work.params(Dedup))
        if dedup is not None and dedup.near:
            self.near = NearDuplicates(similarity=dedup.similarity)
        rows = [count_rows(source) for source in (*self.section.test, *self.section.train)]
        self.total = None if None in rows else sum(n for n in rows if n is not None)
        with (
            SplitWriter(self.folder, stage=self.stage, split="test") as test,
            SplitWriter(self.folder, stage=self.stage, split="train") as train,
        ):
            writers = {"test": test, "train": train}
            for split in ("test", "train"):
                for source in self.section.test if split == "test" else self.section.train:
                    for outcome in self._outcomes(source, split):
                        self._place(outcome, split, writers)
        self.reporter.progress(f"{self.stage} data", done=self.done, total=self.done)
        self._close()
        return self.account

    def _outcomes(self, source: Source, split: str) -> Iterator[Taken | Removed]:
        name = converter_of(source, stage=self.stage)
        label = _label(source)
        if source.format == "auto":
            self.reporter.notice(f"{label}: format {name}, by its columns")
        choice = drawing.choose(source, seed=self.recipe.seed)
        counted = SourceAccount(source.path, split, name, source_digest(source))
        self.account.sources.append(counted)
        if choice is not None:
            # Each row that is taken adds one below; a repeated one is no row of the source.
            counted.rows = choice.over_limit + choice.under_weight - choice.repeated
            counted.repeated = choice.repeated
            for reason, count in (
                ("over the limit", choice.over_limit),
                ("not drawn by the weight", choice.under_weight),
            ):
                if count:
                    self.account.remove(reason, place="", excerpt="", count=count)

        def inputs() -> Iterator[Input]:
            for row in drawing.taken(source, choice):
                counted.rows += 1
                yield Input(row, name, label)

        yield from outcomes(inputs(), work=self.work, processes=self.recipe.data.processes)

    def _place(self, outcome: Taken | Removed, split: str, writers: dict[str, SplitWriter]) -> None:
        """Count a removed row, or write a row that is neither a duplicate nor in the test split."""
        self.done += 1
        if self.done % 256 == 0:
            self.reporter.progress(f"{self.stage} data", done=self.done, total=self.total)
        if isinstance(outcome, Removed):
            self._remove(outcome)
            return
        reason = self._repeats(outcome, split)
        if reason:
            self._remove(Removed(reason, outcome.place, excerpt(outcome.record)))
            return
        if not self.section.test and is_held_out(
            outcome.key, test_size=self.section.test_size, seed=self.recipe.seed
        ):
            split = "test"
        (self.test_keys if split == "test" else self.train_keys).add(outcome.key)
        writers[split].add(outcome)
        self._count(outcome, split)

    def _remove(self, removed: Removed) -> None:
        self.account.remove(removed.reason, place=removed.place, excerpt=removed.excerpt)
        if removed.match is not None:
            self.account.matches.append({"where": removed.place, **_match(removed)})

    def _repeats(self, row: Taken, split: str) -> str | None:
        """Why a row repeats an earlier one; remembers it where it does not."""
        if split == "train" and row.key in self.test_keys and self.section.test:
            return "overlaps the test split"
        if not self.work.params(Dedup):
            return None
        if row.whole in self.seen:
            return "duplicate"
        if self.near is not None and row.signature is not None:
            like = self.near.find(row.signature)
            if like is not None:
                crosses = split == "train" and like == "test"
                return "near-duplicate of a test row" if crosses else "near-duplicate"
            self.near.add(row.signature, split)
        self.seen[row.whole] = split
        return None

    def _count(self, row: Taken, split: str) -> None:
        self.account.rows_out[split] += 1
        self.account.repaired.update(row.remarks)
        if row.match is not None:
            self.account.flagged[f"contains a judged prompt ({row.match.list})"] += 1
            self.account.matches.append(
                {"where": row.place, "list": row.match.list, "prompt": row.match.prompt,
                 "how": row.match.how}
            )  # fmt: skip
        tokens, lengths = row.encoded, self.lengths[split]
        if isinstance(tokens, Encoded):
            trained = len(tokens.input_ids) if self.work.trains_all else sum(tokens.assistant_mask)
            lengths.add(len(tokens.input_ids), trained=trained, cut=row.cut)
            return
        chosen, rejected = len(tokens.chosen_ids), len(tokens.rejected_ids)
        lengths.add(
            len(tokens.prompt_ids) + max(chosen, rejected),
            trained=chosen + rejected,
            cut=row.cut,
            prompt_cut=tokens.prompt_cut,
        )
        if split == "train":
            self.bias.add(chosen + tokens.chosen_cut, rejected + tokens.rejected_cut)

    def _close(self) -> None:
        """Check the splits, and add the tables to the account."""
        self.account.check(self.stage)
        self._refuse_bad_splits()
        settings = self.recipe.sft if self.stage == "sft" else self.recipe.dpo
        packing = self.recipe.sft.packing if self.stage == "sft" else "none"
        for split, lengths in self.lengths.items():
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
        if self.stage == "dpo":
            self.account.length_bias = self.bias.to_json()

    def _refuse_bad_splits(self) -> None:
        where = f"data.{self.stage}"
        if not self.account.rows_out["train"]:
            reasons = ", ".join(f"{n} {why}" for why, n in self.account.removed.most_common(3))
            raise DataError(
                f"no training row is left of {self.account.rows_in}: {reasons or 'no rows at all'}",
                where=f"{where}.train",
                hint=_first_sample(self.account) or f"head -n 3 {self.section.train[0].path}",
            )
        if not self.account.rows_out["test"] and (self.section.test or self.section.test_size):
            raise DataError(
                f"the held-out split is empty ({self.account.rows_out['train']} training rows)",
                where=f"{where}.test",
                hint=f"--set {where}.test_size=0.2, or 0 for no held-out split",
            )
        shared = self.train_keys & self.test_keys
        if shared:
            raise DataError(
                f"{len(shared)} prompts stand in the training and in the test split",
                where=where,
                hint="this is a fault of zephyrctl; please report it with the recipe",
            )


def _match(removed: Removed) -> dict[str, str]:
    assert removed.match is not None
    match = removed.match
    return {"list": match.list, "prompt": match.prompt, "how": match.how}


def _first_sample(account: StageAccount) -> str | None:
    """Where the first removed row of the most frequent reason stands."""
    for reason, _ in account.removed.most_common(1):
        for sample in account.samples.get(reason, []):
            return f"the first one ({reason}) is at {sample['where']}"
    return None


def converter_of(source: Source, *, stage: Stage) -> str:
    """The name of the converter for a source: as it says, or by the columns of its first rows."""
    from zephyrctl import catalogue

    wanted = "dialogues" if stage == "sft" else "preferences"
    if source.format != "auto":
        converter = catalogue.CONVERTERS.load(source.format)
        if converter.gives != wanted:
            raise ConfigError(
                f"the format '{source.format}' gives {converter.gives}, not {wanted}",
                where=source.path,
                hint=f"list this source under data.{'dpo' if stage == 'sft' else 'sft'}.train",
            )
        return source.format
    columns: set[str] = set()
    seen = 0
    for row in read(source):
        columns |= set(row.value or {})
        seen += row.value is not None
        if seen >= _PEEK_ROWS:
            break
    if not seen:
        raise DataError("the source holds no rows", where=source.path, hint="check the file")
    return choose(columns, wanted=wanted, where=source.path)


def source_digest(source: Source) -> str:
    """What pins the content of a source: its files' SHA-256, or the Hub revision."""
    files = local_files(source)
    if not files:
        return f"hub:{source.path}@{source.revision or 'default branch'}"
    digests = [digest_file(path) for path in files]
    return digests[0] if len(digests) == 1 else digest_json(digests)


def _label(source: Source) -> str:
    """The word for a source in rows and notices: a file's name, or the Hub id."""
    return Path(source.path).name if local_files(source) else source.path
