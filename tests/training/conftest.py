"""Small runs on the tiny base model, with data written as data preparation writes it."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, disable_progress_bars

from zephyrctl.config.schema import Recipe
from zephyrctl.data.messages import Message, to_json
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.data.tokens import encode_dialogue, encode_prompt
from zephyrctl.runs import manifest
from zephyrctl.runs.manifest import Result
from zephyrctl.runs.store import Run
from zephyrctl.training import checkpoints

NAMES = ["Amir", "Bela", "Cora", "Dino", "Edda", "Finn", "Gesa", "Hana"]

MakeRun = Callable[..., tuple[Recipe, Run]]
Train = Callable[..., Result]
Drill = Callable[..., list[int]]


@pytest.fixture(scope="module", autouse=True)
def _no_cache_of_mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    disable_progress_bars()
    gc.freeze()  # accelerate collects at each start of a trainer: not what was imported, each time
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZEPHYRCTL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture
def make_run(tiny_base: Path, tmp_path: Path) -> MakeRun:
    """A run with 8 dialogues and 8 pairs; keyword arguments are sections of the recipe."""

    def make(name: str = "t", **sections: Any) -> tuple[Recipe, Run]:
        return build_run(tmp_path / "runs" / name, tiny_base, **sections)

    return make


def build_run(root: Path, base: Path, **sections: Any) -> tuple[Recipe, Run]:
    """A run directory with its configuration and prepared data."""
    sft: dict[str, Any] = {
        "global_batch_size": 4, "max_length": 64, "learning_rate": 3e-3, "log_every": 1,
        "sample_prompts": 0, "epochs": 2, "save_every": 100,
    }  # fmt: skip
    dpo: dict[str, Any] = {**sft, "max_prompt_length": 32, "learning_rate": 1e-3, "beta": 0.1}
    flip, unequal = sections.pop("flip", False), sections.pop("unequal", False)
    given: dict[str, Any] = {
        "name": root.name,
        "output_root": str(root.parent),
        "model": {"base": str(base)} | sections.pop("model", {}),
        "sft": sft | sections.pop("sft", {}),
        "dpo": dpo | sections.pop("dpo", {}),
        "launch": {"gpus": "none"},
    }
    recipe = Recipe.model_validate(given | sections)
    run = Run(root)
    root.mkdir(parents=True)
    run.config_path.write_text(recipe.model_dump_json(), encoding="utf-8")
    (root / "manifest.json").write_text("{}", encoding="utf-8")
    write_data(run, base, flip=flip, unequal=unequal)
    return recipe, run


@pytest.fixture
def train_sft() -> Train:
    """Run the sft stage in this process."""
    return lambda recipe, run: run_stage("sft", recipe, run)


@pytest.fixture
def train_dpo() -> Train:
    """Run the dpo stage in this process."""
    return lambda recipe, run: run_stage("dpo", recipe, run)


@pytest.fixture(scope="session")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """Start a stage's worker in one or more processes of its own; returns their exit codes."""
    cache = str(tmp_path_factory.getbasetemp() / "cache")
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("drill.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ZEPHYRCTL_CACHE": cache},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def start(
        run: Run,
        stage: str,
        *,
        fault: str | None = None,
        ranks: int = 1,
        **more: str,
    ) -> list[int]:
        env = {"ZEPHYRCTL_FAULT": fault} if fault else {}
        order = {"run": str(run.root), "stage": stage, "env": env | more, "ranks": ranks}
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())["codes"]

    yield start
    process.stdin.close()
    process.wait(timeout=30)


def run_stage(name: Any, recipe: Recipe, run: Run) -> Result:
    """Run a stage with its manifest, as the worker does, in this process."""
    from zephyrctl import catalogue

    stage = run.stage(name)
    manifest.begin(stage, inputs={"name": recipe.name}, seed=recipe.seed, world_size=1)
    result = catalogue.STAGES.load(name)(recipe, run)
    manifest.finish(stage, result)
    checkpoints.clear(stage.checkpoints)
    return result


def write_data(run: Run, base: Path, *, flip: bool = False, unequal: bool = False) -> None:
    """Dialogues and pairs of short answers that differ in their end; `unequal` ones also in their
    lengths."""
    tokenizer = load_tokenizer(str(base), chat_template="zephyr")
    rows: dict[str, list[dict[str, Any]]] = {"sft": [], "dpo": []}
    texts: dict[str, list[dict[str, Any]]] = {"sft": [], "dpo": []}
    for number, name in enumerate(NAMES):
        more = 3 * number if unequal else 0
        asked = [Message("user", f"Please politely give {name} some fruit.{' Now.' * (more % 5)}")]
        good = [Message("assistant", f"Dear {name}, here is some fruit.{' Eat.' * (more % 7)}")]
        bad = [Message("assistant", f"Hey {name}. Done. Done. Done.{' Done.' * (more % 4)}")]
        if flip:
            good, bad = bad, good
        dialogue = encode_dialogue(tokenizer, [*asked, *good])
        rows["sft"].append(
            {"id": name, "input_ids": dialogue.input_ids, "assistant_mask": dialogue.assistant_mask}
        )
        prompt = encode_prompt(tokenizer, asked)
        pair = {
            key: _completion(tokenizer, asked, answer, prompt)
            for key, answer in (("chosen_ids", good), ("rejected_ids", bad))
        }
        rows["dpo"].append({"id": name, "prompt_ids": prompt, **pair})
        texts["sft"].append({"id": name, "messages": to_json([*asked, *good])})
        sides = {"prompt": asked, "chosen": good, "rejected": bad}
        texts["dpo"].append({"id": name} | {key: to_json(said) for key, said in sides.items()})
    for stage, table in rows.items():
        folder = run.stage("data").path / stage
        folder.mkdir(parents=True, exist_ok=True)
        for split in ("train", "test"):
            Dataset.from_list(table).to_parquet(folder / f"{split}.parquet")
            lines = "".join(json.dumps(row) + "\n" for row in texts[stage])
            (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def _completion(
    tokenizer: Any, asked: list[Message], answer: list[Message], prompt: list[int]
) -> list[int]:
    encoded = encode_dialogue(tokenizer, [*asked, *answer])
    trained = [i for i, m in zip(encoded.input_ids, encoded.assistant_mask, strict=True) if m]
    assert encoded.input_ids[len(prompt) : len(prompt) + len(trained)] == trained
    return trained
