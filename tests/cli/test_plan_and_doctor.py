"""`plan` and `doctor` as commands: what they print, and when they end with 3."""

import json
from pathlib import Path

import pytest

from zephyrctl import environment
from zephyrctl.cli.app import main
from zephyrctl.cli.doctor_machine import check as check_machine
from zephyrctl.models import hub


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch) -> Path:
    """An offline CPU machine with empty caches, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("ZEPHYRCTL_OFFLINE", "1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(environment, "installed_gpus", list)
    hub.answers.cache_clear()
    yield tmp_path
    hub.answers.cache_clear()


def call(capsys, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(args)
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


def test_plan_of_a_recipe_that_fits(capsys):
    code, out, _ = call(capsys, "plan", "--recipe", "tiny")
    assert code == 0
    assert "tiny" in out
    assert "1,186" in out  # rows counted in the wheel's file, less the held-out share


def test_plan_that_does_not_fit_prints_the_plan_and_ends_with_3(capsys):
    stated = ("--set", "sft.optimizer=adamw")
    arguments = ("plan", "--recipe", "zephyr-7b", "--gpu", "h100-80g", *stated)
    code, out, err = call(capsys, *arguments)
    assert code == 3
    assert "does not fit" in out
    assert "error[environment]" in err
    code, out, _ = call(capsys, *arguments, "--json")
    assert code == 3
    assert len(out.splitlines()) == 1
    assert json.loads(out)["fits"] is False


def test_plan_chooses_what_fits_and_says_what_it_takes(capsys):
    code, out, _ = call(capsys, "plan", "--recipe", "zephyr-7b", "--gpu", "h100-80g", "--gpus", "8")
    assert code == 0
    assert "trains 7.24 B weights with adamw by fsdp2" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    code, out, _ = call(capsys, "plan", "--recipe", "zephyr-7b", "--gpu", "h100-80g")
    assert code == 0
    assert "trains 7.24 B weights with flash_adamw" in out
    assert "pip install 'zephyrctl[cuda]'" in out


def test_plan_warns_of_a_changed_batch(capsys):
    changed = ("--set", "sft.global_batch_size=8", "--set", "sft.optimizer=adamw_8bit")
    _, out, _ = call(capsys, "plan", "--recipe", "smol-360m", "--gpu", "h100-80g", *changed)
    assert "! sft.global_batch_size is 8, recipe smol-360m says" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--gpu", "h200"), "did you mean 'h200-141g'"),
        (("--gpus", "4"), "this machine has 0"),
        (("--set", "model.base=./absent"), "sizes of"),
    ],
)
def test_plan_refuses_what_it_cannot_know(capsys, arguments, words):
    code, out, err = call(capsys, "plan", "--recipe", "tiny", *arguments)
    assert code in (2, 3)
    assert words in err
    assert out == ""


def test_doctor_without_a_recipe(capsys):
    code, out, _ = call(capsys, "doctor")
    assert code == 0
    assert "✓ python" in out
    assert "ZEPHYRCTL_OFFLINE=1" in out
    assert "name a recipe" in out


def test_doctor_says_that_tiny_can_run_offline(capsys):
    code, out, _ = call(capsys, "doctor", "--recipe", "tiny")
    assert code == 0
    assert "the recipe can run here" in out


def test_doctor_ends_with_3_where_the_recipe_cannot_run(capsys):
    code, out, _ = call(capsys, "doctor", "--recipe", "zephyr-7b", "--json")
    assert code == 3
    report = json.loads(out)
    assert report["ok"] is False
    problems = {row["name"] for row in report["findings"] if row["state"] == "problem"}
    assert {"base model", "data", "plan"} <= problems
    assert all(row["remedy"] for row in report["findings"] if row["state"] == "problem")


def test_the_value_of_a_key_is_never_shown(capsys, monkeypatch, box):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert "sk-very-secret" not in call(capsys, "doctor")[1]
    monkeypatch.delenv("OPENAI_API_KEY")
    (box / ".env").write_text("export OPENAI_API_KEY=sk-other-secret\n", encoding="utf-8")
    out = call(capsys, "doctor", "--json")[1]
    assert "sk-other-secret" not in out
    assert "OPENAI_API_KEY is in .env" in out


def states(name: str) -> list[str]:
    return [finding.state for finding in check_machine() if finding.name == name]


def test_a_gpu_under_a_cpu_build_of_torch_is_a_problem(monkeypatch):
    card = environment.Gpu(0, "GPU-a", "NVIDIA H100", 81559, 81000, "9.0")
    monkeypatch.setattr(environment, "installed_gpus", lambda: [card])
    monkeypatch.setattr(environment, "torch_cuda", lambda: None)
    assert states("gpu") == ["problem"]


def test_an_old_driver_and_a_busy_gpu_are_found(monkeypatch):
    card = environment.Gpu(0, "GPU-a", "NVIDIA H100", 81559, 20000, "9.0")
    monkeypatch.setattr(environment, "installed_gpus", lambda: [card])
    monkeypatch.setattr(environment, "torch_cuda", lambda: "13.0")
    monkeypatch.setattr(environment, "driver_version", lambda: "550.54.14")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert states("driver") == ["problem"]
    assert states("gpu 0") == ["warning"]
    monkeypatch.setattr(environment, "driver_version", lambda: "580.65.06")
    assert states("driver") == ["ok"]


def test_a_package_outside_its_range_is_a_problem(monkeypatch):
    real = environment.package_version
    old = {"trl": "0.7.0"}
    monkeypatch.setattr(environment, "package_version", lambda name: old.get(name) or real(name))
    found = [finding for finding in check_machine() if finding.name == "trl"]
    assert found[0].state == "problem"
    assert "pip install 'trl" in str(found[0].remedy)


def test_models_list_and_fetch(capsys):
    code, out, _ = call(capsys, "models", "list", "--json")
    assert code == 0
    assert {row["name"]: row["path"] for row in json.loads(out)["models"]} == {
        "smollm2-135m-instruct": None,
        "tiny": None,
    }
    code, out, err = call(capsys, "models", "fetch", "tiny", "--json")
    assert code == 0
    assert Path(json.loads(out)["path"], "model.safetensors").is_file()
    assert "toys" in err
    code, out, err = call(capsys, "models", "fetch", "smollm2-135m-instruct", "--json")
    assert code == 5
    assert json.loads(out)["error"]["kind"] == "network"


def test_the_plan_is_compared_with_the_nearest_packaged_recipe(cli):
    cli("init", "--recipe", "zephyr-7b-qlora")
    assert "recipe zephyr-7b" not in cli("plan", "--gpu", "h100-80g").out
    drifted = cli("plan", "--gpu", "h100-80g", "--set", "dpo.global_batch_size=16").out
    assert "dpo.global_batch_size is 16, recipe zephyr-7b-qlora says 32" in drifted
