"""The races of SFT and DPO steps: figures, arguments, and one small run of each script."""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KEYS = {
    "tokens_per_s", "padded_slots", "real_tokens", "peak_rss_mb", "step1_loss", "step_s",
    "matmul_gflops", "model_tflops",
}  # fmt: skip
SMALL = ["--model", "toy", "--lengths", "short", "--warmup", "1", "--steps", "1", "--repeats", "1",
         "--batch", "4", "--json"]  # fmt: skip


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts import each other as they do when started; what they set is taken back."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from steps.race import ENVIRONMENT

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def raced(script: Any, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    from steps import command

    code = command.main(script.BENCHMARK, script.__doc__, [*SMALL, *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err + out
    return json.loads(out.splitlines()[-1])


@pytest.mark.train
def test_dpo_is_raced_against_trl_on_the_same_pairs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import dpo_step

    out = ["--out", str(tmp_path), "--out-name", "race"]
    found = raced(dpo_step, capsys, "--contenders", "ours", "trl", "unpadded", *out)
    assert found["speedup_over_trl_padded"] > 0
    assert found["speedup_over_unpadded"] > 0
    assert set(found["contenders"]) == {"ours", "trl", "unpadded"}
    for figures in found["contenders"].values():
        assert figures.keys() > {"pairs_per_s", "reference_s_per_pair", *KEYS}
        assert figures["step1_loss"] == pytest.approx(0.6931, abs=1e-4)
        assert figures["real_tokens"] == found["contenders"]["trl"]["real_tokens"]
    assert found["contenders"]["trl"]["reference_s_per_pair"] == 0  # it is part of its steps
    assert found["contenders"]["ours"]["reference_s_per_pair"] > 0
    assert all(parity["same"] for parity in found["parity"].values())
    assert found["machine"]["versions"].keys() > {"torch", "trl", "transformers"}
    assert json.loads((tmp_path / "race.json").read_text()) == found
    assert "speedup_over_trl_padded" in (tmp_path / "race.md").read_text()


@pytest.mark.train
def test_sft_is_raced_against_trl_on_the_same_dialogues(capsys: pytest.CaptureFixture[str]) -> None:
    import sft_step

    found = raced(sft_step, capsys, "--contenders", "ours", "trl", "ours-packed", "trl-packed")
    assert found["speedup_over_trl_padded"] > 0
    assert found["speedup_over_unpadded"] > 0
    for figures in found["contenders"].values():
        assert figures.keys() > KEYS
        assert figures["step1_loss"] == pytest.approx(6.24, abs=0.1)  # ln 512
    padded = found["contenders"]["trl"]
    assert padded["padded_slots"] > padded["real_tokens"]
    assert len(found["parity"]) == 2
    assert all(parity["same"] for parity in found["parity"].values())


@pytest.mark.train
def test_a_contender_that_breaks_is_a_result(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import dpo_step
    from steps import command

    arguments = [*SMALL, "--contenders", "ours", "--time-limit", "0", "--out", str(tmp_path)]
    assert command.main(dpo_step.BENCHMARK, "", arguments) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["contenders"]["ours"] == {"error": "still running after 0 s"}
    assert found["speedup_over_trl_padded"] is None
    assert "ours broke: still running" in next(tmp_path.glob("*.md")).read_text()


def test_lengths_have_the_published_medians() -> None:
    from steps.rows import draw_dialogues, draw_pairs

    pairs = draw_pairs("ultrafeedback", 2000, vocabulary=8192)
    assert statistics.median(len(row.prompt) for row in pairs) == pytest.approx(121, rel=0.05)
    assert statistics.median(len(row.chosen) for row in pairs) == pytest.approx(288, rel=0.05)
    assert max(row.longest for row in pairs) <= 1024
    several = draw_pairs("multi-turn", 2000, vocabulary=8192)
    prompts = statistics.median(len(row.prompt) for row in several)
    assert prompts / statistics.median(len(r.rejected) for r in several) == pytest.approx(1.6, 0.05)
    dialogues = draw_dialogues("ultrachat", 2000, vocabulary=8192)
    assert statistics.fmean(row.tokens for row in dialogues) == pytest.approx(1335, rel=0.05)
    assert draw_pairs("short", 3, vocabulary=64) == draw_pairs("short", 3, vocabulary=64)


def test_a_reference_that_was_computed_before_counts() -> None:
    from steps import figures

    steps = [{"examples": 4, "tokens": 40, "context": 1.0}] * 3
    record = {"wall": [9.0, 2.0, 2.0], "cpu": [9.0, 2.0, 2.0], "steps": steps, "logs": []}
    without = record | {"reference_pairs": 0, "reference_wall": 0.0, "reference_cpu": 0.0}
    before = record | {"reference_pairs": 12, "reference_wall": 6.0, "reference_cpu": 3.0}
    checked = record | {"reference_pairs": 4, "reference_wall": 6.0, "reference_cpu": 3.0}
    assert figures.speed(without, warmup=1, clock="wall") == pytest.approx(8 / 4)
    assert figures.speed(before, warmup=1, clock="wall") == pytest.approx(8 / (4 + 8 * 0.5))
    assert figures.speed(before, warmup=1, clock="cpu") == pytest.approx(8 / (4 + 8 * 0.25))
    assert figures.speed(checked, warmup=1, clock="wall") == pytest.approx(8 / 4)
    ratios = figures.ratios([without, without], [before, {"error": "broke"}], warmup=1)
    assert ratios == pytest.approx({"median": 2.0, "least": 2.0, "most": 2.0, "by_cpu_time": 1.5})
    assert figures.ratios([without], [{"error": "broke"}], warmup=1) is None


@pytest.mark.parametrize("name", ["loss", "grad_norm", "logps/chosen"])
def test_another_computation_is_seen(name: str) -> None:
    from steps import figures

    logs = {"loss": 0.6931, "grad_norm": 2.0, "logps/chosen": -300.0, "logps/rejected": -310.0}
    other = logs | {name: logs[name] * 1.01}
    assert figures.parity({"logs": [logs]}, {"logs": [logs]}, device="cpu")["same"]
    assert not figures.parity({"logs": [logs]}, {"logs": [other]}, device="cpu")["same"]


def course_of(stage: Any, device: str, adapter: str = "none") -> Any:
    from steps.contenders import Course

    return Course(stage, "/base", device, adapter, 4, 16, 8, 1024, 512, 1)


def test_trl_runs_with_its_defaults_but_for_what_all_share() -> None:
    from steps.contenders import parse, trl_arguments

    def line(label: str, course: Any) -> str:
        who = parse(label, course.stage)
        return " ".join(trl_arguments(who, course, data=Path("/data"), output=Path("/out")))

    on_cpu, on_gpu = course_of("dpo", "cpu"), course_of("dpo", "cuda", "lora")
    assert "--per_device_train_batch_size 8 --gradient_accumulation_steps 2" in line("trl", on_cpu)
    assert "--use_cpu True --bf16 False" in line("trl", on_cpu)
    assert "gradient_checkpointing" not in line("trl", on_cpu)
    assert "dtype" not in line("trl", on_cpu)
    assert "--dtype bfloat16 --use_peft True --lora_r 16" in line("trl", on_gpu)
    assert "use_cpu" not in line("trl", on_gpu)
    best = line("trl-best+compile@16", on_gpu)
    assert "--gradient_checkpointing False --precompute_ref_log_probs True" in best
    assert "--per_device_train_batch_size 16 --gradient_accumulation_steps 1" in best
    assert best.endswith("--torch_compile True")
    packed = line("trl-packed", course_of("sft", "cuda"))
    assert "--packing True" in packed
    assert "--per_device_train_batch_size 8 --gradient_accumulation_steps 1" in packed
    with pytest.raises(ValueError, match="do not divide"):
        line("trl@3", on_cpu)
    with pytest.raises(ValueError, match="unknown contender"):
        parse("trl-padded", "dpo")


def test_ours_runs_with_the_defaults_of_the_product() -> None:
    from steps.contenders import parse, recipe

    from zephyrctl.config.schema import Recipe

    def settings(label: str, course: Any) -> Recipe:
        who = parse(label, course.stage)
        return Recipe.model_validate(recipe(who, course, run=Path("/runs/one")))

    ours = settings("ours", course_of("dpo", "cpu")).dpo
    assert (ours.prefix_sharing, ours.padding_free, ours.micro_batch_tokens) == ("auto",) * 3
    assert (ours.compile, ours.gradient_checkpointing, ours.reference) == ("auto",) * 3
    rival = settings("unpadded", course_of("dpo", "cuda", "lora")).dpo
    assert (rival.prefix_sharing, rival.padding_free) == (False, True)
    assert (rival.adapter.r, rival.adapter.alpha, rival.adapter.dropout) == (16, 32, 0.0)
    packed = settings("ours-packed@2", course_of("sft", "cuda"))
    assert (packed.sft.packing, packed.sft.global_batch_size) == ("bfd", 8)
    assert packed.sft.micro_batch_size == 2
    assert packed.launch.gpus == "all"
    # What TRL's rival takes, in the same steps.
    assert settings("trl-packed", course_of("sft", "cpu")).sft.packing == "bfd"


def test_a_gpu_that_does_not_say_everything_is_summarised() -> None:
    from steps.machine import summarise

    found = summarise("1980, 650.5, 60, 99\n1500, [N/A], 62, 97\n19")
    assert found["clocks.sm"] == {"least": 19.0, "mean": 1166.3, "most": 1980.0}
    assert found["power.draw"]["mean"] == 650.5
    assert summarise("") == {}


def test_the_time_limit_of_a_gpu_command_is_under_ten_minutes() -> None:
    import dpo_step
    from steps import command

    options = command._options(dpo_step.BENCHMARK, "", ["--device", "cuda", "--adapter", "lora"])
    assert options.time_limit < 600
    assert (options.model, options.warmup, options.finish) == ("mistral-7b", 5, False)
    assert "steps" in sys.modules
