"""Number formats and optimizers: what loses updates is refused, what does not is exact."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from zephyrctl.errors import ConfigError, EnvironmentProblem, JobFailed
from zephyrctl.training import optimizers
from zephyrctl.training.adamw_bf16 import AdamWBf16, random_bits, round_stochastically

RATE = 5e-7  # of Zephyr's DPO


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rounded(value: torch.Tensor, seed: int = 0) -> torch.Tensor:
    out = torch.empty(value.shape, dtype=torch.bfloat16)
    round_stochastically(value.clone(), random_bits(value, noise(seed)), out=out)
    return out


def realised(optimizer: str, *, steps: int) -> float:
    """The part of float32 AdamW's update that bfloat16 weights have made after some steps."""
    rng = noise()
    start = (torch.randn(20_000, generator=rng) * 0.02).bfloat16()
    drift = 0.3 * torch.randn(len(start), generator=rng)
    exact, held = nn.Parameter(start.float()), nn.Parameter(start.clone())
    reference = torch.optim.AdamW([exact], lr=RATE, weight_decay=0.0)
    candidate: Any = (
        AdamWBf16([held], lr=RATE, seed=0)
        if optimizer == "stochastic"
        else torch.optim.AdamW([held], lr=RATE, weight_decay=0.0)
    )
    for _ in range(steps):
        exact.grad = drift + torch.randn(len(start), generator=rng)
        held.grad = exact.grad.bfloat16()
        reference.step()
        candidate.step()
    update, made = (p.detach().double() - start.double() for p in (exact, held))
    return float(made @ update / (update @ update))


def test_rounding_to_nearest_loses_the_updates_of_dpo_and_stochastic_rounding_makes_them() -> None:
    assert 0 <= realised("nearest", steps=200) < 0.02
    assert 0.95 < realised("stochastic", steps=200) < 1.05


def test_rounding_is_unbiased_and_takes_one_of_the_two_neighbours() -> None:
    rng = noise(1)
    value = torch.cat([torch.randn(4000, generator=rng) * 10.0**e for e in (-30, -3, 0, 5)])
    down = (value.view(torch.int32) & ~0xFFFF).view(torch.float32).double()
    up = ((value.view(torch.int32) & ~0xFFFF) + (1 << 16)).view(torch.float32).double()
    draws = 400
    mean = torch.zeros(len(value), dtype=torch.float64)
    for seed in range(draws):
        found = rounded(value, seed).double()
        assert ((found == down) | (found == up)).all()
        mean += found / draws
    # In units of the gap the deviation of a mean of 400 draws is at most 0.5 / 20.
    error = (mean - value.double()) / (up - down)
    assert error.abs().max() < 0.025 * 6
    assert abs(float(error.mean())) < 0.025 * 6 / len(value) ** 0.5


def test_what_bfloat16_holds_exactly_is_never_changed() -> None:
    exact = torch.tensor([0.0, -0.0, 1.0, -2.5, 2.0**-130, 3e38, float("inf"), -float("inf")])
    exact = exact.bfloat16().float()
    for seed in range(20):
        assert torch.equal(rounded(exact, seed).float(), exact)
    assert rounded(torch.full((9,), float("nan"))).isnan().all()


def test_float32_weights_get_the_steps_of_adamw() -> None:
    model, twin = (nn.Linear(7, 5).double().float() for _ in range(2))
    twin.load_state_dict(model.state_dict())
    ours = AdamWBf16(model.parameters(), lr=1e-2, weight_decay=0.1, seed=3)
    theirs = torch.optim.AdamW(twin.double().parameters(), lr=1e-2, weight_decay=0.1)
    rng = noise()
    for _ in range(20):
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=rng)
            q.grad = p.grad.double()
        ours.step()
        theirs.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p.double(), q, atol=1e-6, rtol=0)


def test_the_second_moment_follows_a_falling_gradient() -> None:
    # To nearest, a bfloat16 moment that decays by a thousandth per step never moves.
    weight = nn.Parameter(torch.ones(2000, dtype=torch.bfloat16))
    optimizer = AdamWBf16([weight], lr=1e-6, seed=0)
    steps = [1.0] + [0.0] * 2000
    for gradient in steps:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    second = optimizer.state[weight]["exp_avg_sq"]
    assert second.dtype == torch.bfloat16
    expected = 0.001 * 0.999 ** (len(steps) - 1)
    assert float(second.double().mean()) == pytest.approx(expected, rel=0.05)


def test_the_split_into_chunks_is_no_matter_of_correctness(monkeypatch: Any) -> None:
    monkeypatch.setattr("zephyrctl.training.adamw_bf16._CHUNK_ON_CPU", 12)
    assert 0.9 < realised_of_matrix((30, 7)) < 1.1
    assert 0.9 < realised_of_matrix((3, 50)) < 1.1
    scalar = nn.Parameter(torch.tensor(1.0, dtype=torch.bfloat16))
    scalar.grad = torch.tensor(1.0, dtype=torch.bfloat16)
    AdamWBf16([scalar], lr=0.5, seed=0).step()
    assert float(scalar.detach()) == pytest.approx(0.5, abs=0.01)


def realised_of_matrix(shape: tuple[int, int]) -> float:
    weight = nn.Parameter(torch.ones(shape, dtype=torch.bfloat16))
    optimizer = AdamWBf16([weight], lr=1e-3, seed=0)
    for _ in range(100):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    return float((1 - weight.detach().double()).mean()) / 0.1


def test_two_processes_with_equal_gradients_stay_equal_and_global_randomness_is_untouched() -> None:
    before = torch.get_rng_state()
    results = []
    for _ in range(2):
        weight = nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
        optimizer = AdamWBf16([weight], lr=1e-4, seed=5)
        for step in range(10):
            weight.grad = torch.full_like(weight, 1.0 + step)
            optimizer.step()
        results.append(weight.detach())
    assert torch.equal(*results)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(set(results[0].tolist())) > 1  # rounded each for itself


def test_state_saved_and_loaded_goes_on_bit_by_bit(tmp_path: Path) -> None:
    def trained(steps: range, model: nn.Module, optimizer: AdamWBf16) -> list[torch.Tensor]:
        for step in steps:
            rng = noise(step)
            for weight in model.parameters():
                weight.grad = torch.randn(weight.shape, generator=rng).to(weight.dtype)
            optimizer.step()
        return [weight.detach().clone() for weight in model.parameters()]

    def fresh() -> tuple[nn.Module, AdamWBf16]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(9, 9).bfloat16(), nn.LayerNorm(9))
        return model, AdamWBf16(model.parameters(), lr=1e-3, seed=1)

    straight = trained(range(10), *fresh())
    model, optimizer = fresh()
    trained(range(6), model, optimizer)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    again, other = fresh()
    again.load_state_dict(model.state_dict())
    other.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    resumed = trained(range(6, 10), again, other)
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["auto", "adamw", "adamw_8bit", "paged_adamw_32bit", "rmsprop"])
def test_half_precision_weights_rounded_to_nearest_are_refused(name: str, dtype: str) -> None:
    with pytest.raises(ConfigError, match=r"0\.4 %") as caught:
        optimizers.check_setting(name, dtype=dtype, adapter=False, rate=RATE, where="dpo")
    assert "5e-07" in caught.value.message
    for way in ("model.dtype=auto", "dpo.optimizer=flash_adamw", "dpo.optimizer=adamw_bf16"):
        assert way in str(caught.value.hint)


@pytest.mark.parametrize("name", optimizers.OF_BF16_WEIGHTS)
@pytest.mark.parametrize(
    ("dtype", "adapter", "message"),
    [
        ("float16", False, "rounding"),
        ("float32", False, "keeps bfloat16 weights"),
        ("auto", True, "weights of an adapter are float32"),
    ],
)
def test_a_bf16_optimizer_is_refused_where_it_makes_no_sense(
    name: str, dtype: str, adapter: bool, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        optimizers.check_setting(name, dtype=dtype, adapter=adapter, rate=RATE, where="sft")


@pytest.mark.parametrize("dtype", ["auto", "bfloat16"])
@pytest.mark.parametrize("name", optimizers.OF_BF16_WEIGHTS)
def test_a_bf16_optimizer_trains_bf16_weights(name: str, dtype: str) -> None:
    optimizers.check_setting(name, dtype=dtype, adapter=False, rate=RATE, where="sft")


def test_the_last_guard_looks_at_the_weights_themselves() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).bfloat16())
    with pytest.raises(JobFailed, match=r"1\.weight is bfloat16, and adamw would lose"):
        optimizers.check_weights(model, "adamw")
    optimizers.check_weights(model, "adamw_bf16")
    model[1].requires_grad_(False)
    optimizers.check_weights(model, "adamw")
    model[0].half()
    with pytest.raises(JobFailed, match="float16"):
        optimizers.check_weights(model, "adamw_bf16")


@pytest.mark.parametrize("name", ["flash_adamw", "adamw_8bit", "paged_adamw_32bit"])
def test_optimizers_of_a_package_need_a_gpu_and_the_package(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentProblem, match="needs a GPU") as caught:
        optimizers.check_installed(name, device="cpu", where="sft.optimizer")
    assert str(caught.value.hint).startswith("--set sft.optimizer=adamw")
    monkeypatch.setattr(optimizers, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match="needs the package") as caught:
        optimizers.check_installed(name, device="cuda", where="sft.optimizer")
    assert "zephyrctl[cuda]" in str(caught.value.hint)
    monkeypatch.setattr(optimizers, "find_spec", lambda name: name)
    optimizers.check_installed(name, device="cuda", where="sft.optimizer")


def test_optimizers_of_torch_need_nothing() -> None:
    for name in ("auto", "adamw", "adamw_bf16"):
        optimizers.check_installed(name, device="cpu", where="sft.optimizer")


ARGUMENTS = SimpleNamespace(
    learning_rate=1e-5, adam_beta1=0.9, adam_beta2=0.95, adam_epsilon=1e-7, seed=4
)


def test_optimizers_of_transformers_are_left_to_it() -> None:
    for name in ("auto", "adamw", "adamw_8bit", "paged_adamw_32bit", "rmsprop"):
        assert optimizers.build(name, ARGUMENTS, device="cpu") is None


def test_adamw_bf16_takes_the_trainers_settings() -> None:
    built = optimizers.build("adamw_bf16", ARGUMENTS, device="cpu")
    assert built == (AdamWBf16, {"lr": 1e-5, "betas": (0.9, 0.95), "eps": 1e-7, "seed": 4})


def test_flash_adamw_is_called_with_24_bit_master_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A package of the same name and signature (flashoptim 0.1.4); the real one needs CUDA.
    (tmp_path / "flashoptim.py").write_text(
        "class FlashAdamW:\n"
        "    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8,\n"
        "                 weight_decay=1e-2, decouple_lr=False, quantize=True,\n"
        "                 compress_state_dict=True, master_weight_bits=24,\n"
        "                 check_numerics=False, fused=True): self.bits = master_weight_bits\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    built = optimizers.build("flash_adamw", ARGUMENTS, device="cuda")
    monkeypatch.delitem(sys.modules, "flashoptim")
    assert built is not None
    constructor, keywords = built
    assert keywords == {
        "lr": 1e-5, "betas": (0.9, 0.95), "eps": 1e-7, "master_weight_bits": 24,
    }  # fmt: skip
    assert constructor([], **keywords).bits == 24  # type: ignore[attr-defined]
