"""Compared models of real weights: found, loaded where they fit, freed where they do not."""

import shutil
import weakref
from pathlib import Path

import pytest

from zephyrctl.chat import oneshot, side_by_side
from zephyrctl.chat.fitting import Free
from zephyrctl.chat.seats import Bench, Seating, check_different
from zephyrctl.chat.talker import LocalTalker, Talker, open_local
from zephyrctl.config.schema import Recipe
from zephyrctl.errors import UsageError
from zephyrctl.generation.sampling import Sampling
from zephyrctl.runs import manifest
from zephyrctl.runs.references import ModelRef
from zephyrctl.runs.store import Run

GREEDY = Sampling(max_new_tokens=8)
PROMPT = "Offer tea to Mia."


@pytest.fixture(scope="module")
def folders(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of the same weights."""
    other = tmp_path_factory.mktemp("models") / "other"
    shutil.copytree(tiny_base, other)
    return [tiny_base, other]


def load(ref: ModelRef) -> Talker:
    return open_local(ref, recipe=Recipe(), device="cpu")


def seating(root: Path) -> Seating:
    return Seating(
        find=lambda ref: ModelRef(Path(ref).name, "folder", ref),
        recipe=lambda ref: Recipe(),
        load=load,
        output_root=root,
        device="cpu",
    )


def bench_of(folders: list[Path], root: Path) -> Bench:
    own = load(ModelRef("tiny", "folder", str(folders[0])))
    return Bench(seating(root).seats(own, [str(folder) for folder in folders[1:]]), root)


def test_one_after_the_other_frees_the_weights_and_says_the_same(
    folders: list[Path], tmp_path: Path
) -> None:
    apart, together = bench_of(folders, tmp_path), bench_of(folders, tmp_path)
    apart.fill(lambda: Free(10))
    together.fill(lambda: Free(2**40))
    assert (apart.one_by_one, together.one_by_one) == (True, False)
    records = [
        side_by_side.as_record(bench, PROMPT, system=None, sampling=GREEDY)
        for bench in (apart, together)
    ]
    said = [[reply["reply"] for reply in record["replies"]] for record in records]
    assert said[0] == said[1]
    assert said[0][0] == said[0][1] != ""
    assert [seat.talker is None for seat in apart.seats] == [True, False]
    loaded = apart.seats[1].talker
    assert isinstance(loaded, LocalTalker)
    weights = weakref.ref(loaded.engine.model)
    apart.load(apart.seats[0], label="A")
    assert weights() is None


def test_what_is_told_of_each_reply_is_what_one_model_alone_tells(
    folders: list[Path], tmp_path: Path
) -> None:
    bench = bench_of(folders, tmp_path)
    record = side_by_side.as_record(bench, PROMPT, system="s", sampling=GREEDY)
    own = bench.seats[0].talker
    assert own is not None
    alone = oneshot.as_record(own, PROMPT, system="s", sampling=GREEDY)
    shared = {name: value for name, value in record.items() if name in alone}
    first = {**record["replies"][0], **shared, "seconds": 0}
    assert first == {**alone, "seconds": 0, "model": bench.seats[0].name}


def test_each_reply_stands_on_stdout_under_its_models_name(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = bench_of(folders, tmp_path)
    side_by_side.to_stdout(bench, PROMPT, system=None, sampling=GREEDY)
    out = capsys.readouterr().out
    assert [out.index(f"{name}\n") for name in bench.names] == sorted(
        out.index(f"{name}\n") for name in bench.names
    )


def test_votes_go_into_the_first_run_and_its_training_is_told(
    folders: list[Path], tmp_path: Path
) -> None:
    run = Run(tmp_path / "runs" / "mine")
    stage = run.stage("dpo")
    shutil.copytree(folders[0], stage.model)
    made = manifest.begin(stage, inputs={"seed": 1}, seed=1, world_size=1)
    refs = {
        "@dpo": ModelRef("dpo", "stage", str(stage.model), None, run, "dpo"),
        "other": ModelRef("other", "folder", str(folders[1])),
    }
    base = seating(tmp_path / "runs")
    found = [base.seat(ref) for ref in (refs["other"], refs["@dpo"])]
    assert [seat.name for seat in found] == ["other", "mine/dpo"]
    assert [seat.made for seat in found] == [None, made.digest[:12]]
    assert base.bench(found).folder == run.root / "chats"
    assert base.bench(found[:1]).folder == tmp_path / "runs" / "chats"


@pytest.mark.parametrize(
    ("targets", "why"),
    [(["a"], "2 to 4"), (list("abcde"), "not 5"), (["a", "b", "a"], "'ref2' is there already")],
)
def test_what_cannot_be_compared_is_refused(targets: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_different(targets, [f"ref{place}" for place in range(len(targets))])
