"""From which checkpoint does this stage go on, and on which terms?"""

from dataclasses import asdict

from zephyrctl.config.sharing import SHARDED
from zephyrctl.errors import InputsChanged
from zephyrctl.runs import adjustments, changes
from zephyrctl.runs.changes import STRATEGY, WORLD_SIZE, Change
from zephyrctl.runs.metrics import Reporter
from zephyrctl.runs.stage_record import Manifest
from zephyrctl.runs.store import StageDir
from zephyrctl.training import checkpoints
from zephyrctl.training.checkpoint_record import Record
from zephyrctl.training.checkpoints import Resume, Work
from zephyrctl.training.order import Place
from zephyrctl.training.processes import World, from_first
from zephyrctl.training.saving import together
from zephyrctl.training.strategies import Strategy


def find(
    folder: StageDir, reporter: Reporter, world: World, strategy: Strategy
) -> tuple[Work, Resume | None]:
    """What this training is, and the checkpoint that it goes on from.

    Rank 0 decides, and rewinds the records to the checkpoint; every rank follows. NoCheckpoint
    where none is good; InputsChanged where processes or strategy changed and were not allowed to.
    """
    manifest = folder.read_manifest() if world.is_first else None
    work = Work(
        inputs=dict(manifest.inputs) if manifest is not None else {},
        world_size=world.size,
        strategy=strategy.name,
        sharded=strategy.shards,
        adjustments={k: v for k, v in asdict(adjustments.read(folder)).items() if v},
    )

    def look() -> Resume | None:
        return _look(folder, reporter, work, manifest)

    found = together(look if world.is_first else lambda: None)
    return from_first((work, found))


def place_of(resume: Resume | None) -> Place | None:
    """How far the checkpoint is in the order of examples."""
    if resume is None:
        return None
    return Place(resume.record.step, resume.record.epoch, resume.record.taken)


def changed(resume: Resume | None, work: Work) -> list[str]:
    """Inputs that are others than when the checkpoint was written, as was allowed."""
    if resume is None:
        return []
    return [change.field for change in changes.between(resume.record.inputs, work.inputs)]


def can_take_over(strategy: str, record: Record) -> bool:
    """Whether a strategy can go on from another one's checkpoint. Shards of fsdp2 name whole
    tensors; deepspeed has a form of its own, which only it reads."""
    if "zero3" in (strategy, record.strategy):
        return strategy == record.strategy
    return record.sharded or strategy not in SHARDED


def _look(
    folder: StageDir, reporter: Reporter, work: Work, manifest: Manifest | None
) -> Resume | None:
    allowed = {c.field: c.after for c in manifest.allowed_changes} if manifest is not None else {}
    digests = manifest.hashes_verified if manifest is not None else True
    found = checkpoints.scan(folder, inputs=work.inputs, allowed=allowed, digests=digests)
    resume = found.resume
    if resume is not None:
        _check_launch(folder, resume, work, allowed)
    checkpoints.rewind(folder, step=resume.step if resume is not None else -1)
    for text in found.said:
        reporter.notice(text, level="warning")
    if resume is not None:
        reporter.event("resumed", step=resume.step)
        for text in _said_of(resume, work, digests=digests):
            reporter.notice(text, level="warning")
    return resume


def _check_launch(
    folder: StageDir, resume: Resume, work: Work, allowed: dict[str, changes.Value]
) -> None:
    record = resume.record
    found = changes.of_launch(
        then=(record.world_size, record.strategy),
        now=(work.world_size, work.strategy),
        allowed=allowed,
    )
    stands = f"{resume.path.name} stands"
    if found:
        raise changes.refused(found, stage=folder.name, stands=stands, where=str(folder.path))
    if not can_take_over(work.strategy, record):
        form = "in shards" if record.sharded else "in one piece"
        raise InputsChanged(
            f"{resume.path.name} is {form} (written by {record.strategy}), which "
            f"{work.strategy} cannot take over",
            where=str(resume.path),
            hint=f"--set launch.strategy={record.strategy}, or --force",
        )


def _said_of(resume: Resume, work: Work, *, digests: bool) -> list[str]:
    """What is another than when the checkpoint was written."""
    record, name = resume.record, resume.path.name
    said = [
        f"{change.in_words()}, as allowed, from {name} on: the result is that of no single recipe"
        for change in changes.between(record.inputs, work.inputs)
    ]
    if record.world_size != work.world_size:
        change = Change(WORLD_SIZE, record.world_size, work.world_size)
        said.append(
            f"{change.in_words()}, as allowed, from {name} on: the order of examples stays, random "
            "draws of dropout differ"
        )
    if record.strategy != work.strategy:
        said.append(f"{Change(STRATEGY, record.strategy, work.strategy).in_words()} from {name} on")
    if not digests:
        said.append(f"the content of {name} was not compared with its digests (--no-verify-hash)")
    return said
