"""Weights and states that could hold a program are refused, or read without running one."""

import ast
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.cli.conftest import Cli
from tests.security.conftest import Hostile
from tests.training.conftest import build_run, run_stage

import zephyrctl
from zephyrctl.errors import TrainingDiverged
from zephyrctl.generation.weights import load_base
from zephyrctl.training import checkpoint_record, checkpoints

PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


class Evil:
    """Runs a command where it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_the_evil_pickle_is_evil(hostile: Hostile) -> None:
    pickle.loads(pickle.dumps(Evil(hostile.mark)))
    assert hostile.mark.exists()


@pytest.mark.parametrize("command", ["chat", "export", "models"])
def test_a_model_with_pickled_weights_is_refused_with_the_way_to_convert_it(
    hostile: Hostile, cli: Cli, command: str
) -> None:
    folder = hostile.copy("m")
    (folder / "model.safetensors").unlink()
    torch.save(Evil(hostile.mark), folder / "pytorch_model.bin")
    words = {
        "chat": ["chat", str(folder), "-p", "Hi"],
        "export": ["export", "merged", str(folder)],
        "models": ["models", "fetch", str(folder)],
    }

    done = cli(*words[command])

    assert done.code == 2, done.err
    assert "only safetensors are read" in done.err
    assert "save_pretrained" in done.err
    assert not hostile.mark.exists()


def test_pickles_beside_safetensors_are_not_looked_at(hostile: Hostile, cli: Cli) -> None:
    folder = hostile.copy("m")
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt"):
        torch.save(Evil(hostile.mark), folder / name)

    done = cli("chat", str(folder), "-p", "Hi", "--max-new-tokens", "2")

    assert done.code == 0, done.err
    assert not hostile.mark.exists()


def test_an_adapter_with_pickled_weights_is_refused(hostile: Hostile, cli: Cli) -> None:
    model = load_base(str(hostile.base), dtype=torch.float32)
    adapter = hostile.root / "adapter"
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(Evil(hostile.mark), adapter / "adapter_model.bin")

    done = cli("chat", str(adapter), "-p", "Hi")

    assert done.code == 2
    assert "adapter_model.bin" in done.err
    assert not hostile.mark.exists()


def test_no_line_of_ours_unpickles() -> None:
    """`torch.load` only with weights_only=True, and no module that unpickles at all."""
    found = []
    for path in Path(zephyrctl.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if not re.search(rf"torch\.load|{'|'.join(PICKLERS)}", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(a.name for a in node.names)]
                found += [f"{path.name}: {n}" for n in names if n.split(".")[0] in PICKLERS]
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if given.get("weights_only") != "True":
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


@pytest.mark.train
def test_evil_states_in_a_checkpoint_do_not_run(
    hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the manifest was made to fit them: it tells damage, not malice."""
    sft = {"save_every": 2, "max_steps": 4}
    recipe, run = build_run(tmp_path / "runs" / "t", hostile.base, sft=sft)
    monkeypatch.setenv("ZEPHYRCTL_FAULT", "step=3:nan")
    with pytest.raises(TrainingDiverged):
        run_stage("sft", recipe, run)
    monkeypatch.delenv("ZEPHYRCTL_FAULT")
    folder = checkpoints.newest(run.stage("sft").checkpoints)
    assert folder is not None
    for name in ("optimizer.pt", "scheduler.pt", "rng_state_0.pth"):
        sound = (folder / name).read_bytes()
        torch.save(Evil(hostile.mark), folder / name)
        refit(folder)
        with pytest.raises(Exception, match=r"weights_only|Unsupported|Weights only"):
            run_stage("sft", recipe, run)
        assert not hostile.mark.exists()
        (folder / name).write_bytes(sound)
        refit(folder)


def refit(folder: Path) -> None:
    """Make the manifest of a checkpoint fit the files that are there."""
    files = checkpoint_record.entries(folder)
    record = checkpoint_record.read(folder).model_copy(update={"files": files})
    checkpoint_record.write(folder, record)
    assert checkpoint_record.verified(folder)
