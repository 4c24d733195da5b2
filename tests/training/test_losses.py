"""Every loss over preference pairs, against its paper's formula in float64.

The formulas are written from the papers, on log-probs that a plain forward pass in float64 gives;
what is checked is what the trainer computes in float32 through its fused head.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from tests.training.pair_trainer import pairs, tiny_model, trainer_of

from zephyrctl.config.schema.training import DpoLoss
from zephyrctl.data.tokenizers import load_tokenizer
from zephyrctl.training.scoring import score_pairs

pytestmark = pytest.mark.train

BETA, SMOOTHING, TAU, GAMMA_RATIO, ALPHA = 0.3, 0.1, 0.05, 0.8, 0.02
Array = np.ndarray


class Known:
    """What is known of N pairs, `(N,)` each: log-ratios and lengths of both completions, and
    log-probs of their tokens."""

    def __init__(self, policy: list[list[Array]], other: list[list[Array]], *, ld: float = 1.0):
        chosen, rejected = policy
        self.tokens = chosen
        self.lengths = tuple(np.array([len(one) for one in side]) for side in policy)
        sums = [[], []], [[], []]
        for row in range(len(chosen)):
            shared = min(len(chosen[row]), len(rejected[row]))
            for model, sides in enumerate((policy, other)):
                for side in (0, 1):
                    values = sides[side][row]
                    sums[model][side].append(values[:shared].sum() + ld * values[shared:].sum())
        self.own = np.array(sums[0])
        self.ref = np.array(sums[1])
        self.w, self.l = self.own - self.ref


def minus_log_sigmoid(x: Array) -> Array:
    return np.log1p(np.exp(-x))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def exo(k: Known) -> Array:
    """Ji et al. 2024 (EXO, 2402.00856), eq. 16: KL from the policy's to the smoothed label."""
    p = sigmoid(BETA * (k.w - k.l))
    return p * np.log(p / (1 - SMOOTHING)) + (1 - p) * np.log((1 - p) / SMOOTHING)


def robust(k: Known) -> Array:
    """Chowdhury et al. 2024 (rDPO, 2403.00409), eq. 12: the unbiased estimate under flips."""
    right, wrong = BETA * (k.w - k.l), BETA * (k.l - k.w)
    clean = (1 - SMOOTHING) * minus_log_sigmoid(right) - SMOOTHING * minus_log_sigmoid(wrong)
    return clean / (1 - 2 * SMOOTHING)


def smoothed(x: Array) -> Array:
    return (1 - SMOOTHING) * minus_log_sigmoid(x) + SMOOTHING * minus_log_sigmoid(-x)


def aot(k: Known) -> Array:
    """Melnyk et al. 2024 (2406.05882): quantiles of the policy's margins against those of the
    reference's."""
    ours, theirs = k.own[0] - k.own[1], k.ref[0] - k.ref[1]
    return smoothed(BETA * (np.sort(ours) - np.sort(theirs)))


def discopop(k: Known) -> Array:
    """Lu et al. 2024 (2406.08414), eq. 5: log-ratio modulated loss."""
    rho = BETA * (k.w - k.l)
    gate = sigmoid(rho / TAU)
    return (1 - gate) * minus_log_sigmoid(rho) + gate * np.exp(-rho)


def per_token(k: Known) -> Array:
    return k.w / k.lengths[0] - k.l / k.lengths[1]


def simpo(k: Known) -> Array:
    """Meng et al. 2024 (2405.14734), eq. 6."""
    means = k.own / np.stack(k.lengths)
    return minus_log_sigmoid(BETA * (means[0] - means[1]) - GAMMA_RATIO * BETA)


def rdpo(k: Known) -> Array:
    """Park et al. 2024 (2403.19159): Bradley-Terry on the reward that the policy is optimal for
    when it is penalised by α|y|, r = β log(π/π_ref) + α|y|."""
    rewards = [
        BETA * ratio + ALPHA * length for ratio, length in zip((k.w, k.l), k.lengths, strict=True)
    ]
    return -np.log(np.exp(rewards[0]) / (np.exp(rewards[0]) + np.exp(rewards[1])))


PAPERS: dict[str, Callable[[Known], Any]] = {
    # Rafailov et al. 2023 (2305.18290), eq. 7
    "sigmoid": lambda k: minus_log_sigmoid(BETA * (k.w - k.l)),
    # Zhao et al. 2023 (SLiC-HF, 2305.10425), on DPO's rewards with a margin of 1
    "hinge": lambda k: np.maximum(0, 1 - BETA * (k.w - k.l)),
    # Azar et al. 2023 (2310.12036), eq. 17, per token as its authors advise
    "ipo": lambda k: (per_token(k) - 1 / (2 * BETA)) ** 2,
    "exo_pair": exo,
    # Chen et al. 2024 (NCA, 2402.05369), eq. 13 for two answers
    "nca_pair": lambda k: (
        minus_log_sigmoid(BETA * k.w)
        + (minus_log_sigmoid(-BETA * k.w) + minus_log_sigmoid(-BETA * k.l)) / 2
    ),
    "robust": robust,
    # Jung et al. 2024 (BCO, 2404.04656), eq. 6 without the reward shift
    "bco_pair": lambda k: minus_log_sigmoid(BETA * k.w) + minus_log_sigmoid(-BETA * k.l),
    # Wu et al. 2024 (SPPO, 2405.00675), eq. 4.7 with P = 1 and 0
    "sppo_hard": lambda k: (k.w - 1 / (2 * BETA)) ** 2 + (k.l + 1 / (2 * BETA)) ** 2,
    "aot": aot,
    "aot_unpaired": lambda k: smoothed(BETA * (np.sort(k.w) - np.sort(k.l))),
    # D'Oosterlinck et al. 2024 (APO, 2408.06266), eq. 7 and 8
    "apo_zero": lambda k: 1 - sigmoid(BETA * k.w) + sigmoid(BETA * k.l),
    "apo_down": lambda k: sigmoid(BETA * k.w) + 1 - sigmoid(BETA * (k.w - k.l)),
    "discopop": discopop,
    "sft": lambda k: -np.concatenate(k.tokens).mean(),
    "sigmoid_norm": lambda k: minus_log_sigmoid(BETA * per_token(k)),
    "simpo": simpo,
    "rdpo": rdpo,
}
SMOOTHED = {"exo_pair", "robust", "aot", "aot_unpaired"}
LENGTHENED = {"simpo": {"simpo_gamma_ratio": GAMMA_RATIO}, "rdpo": {"rdpo_alpha": ALPHA}}


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    return load_tokenizer(str(tiny_base), chat_template="zephyr")


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """Policy and reference, which are not the same."""
    return tiny_model(0), tiny_model(1)


@torch.no_grad()
def of_completions(model: Any, read: Callable[[Any, Any], Any]) -> list[list[Array]]:
    """What `read` makes of logits `(T-1, V)` and labels `(T-1,)` in float64, without padding: its
    values for the completion tokens, chosen and rejected."""
    exact = copy.deepcopy(model).double()
    sides: list[list[Array]] = []
    for name in ("chosen_ids", "rejected_ids"):
        side = []
        for row in pairs().to_list():
            ids = torch.tensor([row["prompt_ids"] + row[name]])
            found = read(exact(input_ids=ids).logits[0, :-1], ids[0, 1:])
            side.append(found[len(row["prompt_ids"]) - 1 :].numpy())
        sides.append(side)
    return sides


def token_log_probs(model: Any) -> list[list[Array]]:
    """Log-probs of each completion token."""
    return of_completions(
        model, lambda logits, ids: logits.log_softmax(dim=-1).gather(1, ids[:, None])[:, 0]
    )


def sums_of_squares(model: Any) -> list[list[Array]]:
    """log Σ_v π(v)² before each completion token."""
    return of_completions(
        model, lambda logits, _: logits.softmax(dim=-1).square().sum(dim=-1).log()
    )


def scored(
    folder: Path, tokenizer: Any, models: tuple[Any, Any], **settings: Any
) -> tuple[float, Any]:
    """Loss and table of the four pairs by the trainer that the settings ask for."""
    # The trainer changes the forward pass of what it is given.
    policy, other = (copy.deepcopy(model) for model in models)
    given = {"beta": BETA, "reference": "copy"} | settings
    if settings["loss"] == "simpo":
        given["reference"], other = "auto", None
    trainer = trainer_of(folder, tokenizer, model=policy, other=other, **given)
    batch = trainer.data_collator(pairs().to_list())
    loss, table, _ = trainer.prediction_step(policy, batch, True)
    return float(loss), table.numpy()


def settings_of(loss: str) -> dict[str, Any]:
    smoothing = {"label_smoothing": SMOOTHING} if loss in SMOOTHED else {}
    return {"loss": loss, **smoothing, **LENGTHENED.get(loss, {})}


def test_every_loss_has_a_formula_here() -> None:
    assert set(get_args(DpoLoss)) == set(PAPERS)


@pytest.mark.parametrize("loss", PAPERS)
def test_the_loss_is_that_of_its_paper(
    tmp_path: Path, tokenizer: Any, models: Any, loss: str
) -> None:
    known = Known(*(token_log_probs(model) for model in models))
    found, table = scored(tmp_path, tokenizer, models, **settings_of(loss))
    assert found == pytest.approx(np.mean(PAPERS[loss](known)), rel=1e-5, abs=2e-6)
    columns = [*known.own, *(known.ref * (loss != "simpo")), *known.lengths, [found] * 4]
    for column, expected in zip(table.T, columns, strict=True):
        assert column == pytest.approx(expected, rel=1e-5)


def test_losses_are_summed_by_their_weights(tmp_path: Path, tokenizer: Any, models: Any) -> None:
    known = Known(*(token_log_probs(model) for model in models))
    parts = {"sigmoid": 0.5, "ipo": 2.0, "sft": 0.25, "aot": 1.5}
    found, _ = scored(
        tmp_path, tokenizer, models,
        loss=list(parts), loss_weights=list(parts.values()), label_smoothing=SMOOTHING,
    )  # fmt: skip
    expected = sum(weight * np.mean(PAPERS[name](known)) for name, weight in parts.items())
    assert found == pytest.approx(expected, rel=1e-5)


def test_tokens_beyond_the_shorter_completion_count_less(
    tmp_path: Path, tokenizer: Any, models: Any
) -> None:
    """LD-DPO (Liu et al. 2024, 2409.06411): in the policy's log-probs and the reference's."""
    known = Known(*(token_log_probs(model) for model in models), ld=0.25)
    found, table = scored(
        tmp_path, tokenizer, models, loss="sigmoid", trainer_args={"ld_alpha": 0.25}
    )
    assert found == pytest.approx(np.mean(PAPERS["sigmoid"](known)), rel=1e-5)
    for column, expected in zip(table.T, [*known.own, *known.ref], strict=False):
        assert column == pytest.approx(expected, rel=1e-5)
    again = score_pairs(models[0], pairs().to_list(), ld_alpha=0.25)
    assert again == pytest.approx(known.own.T, rel=1e-5)


def test_pairs_are_weighed_by_how_likely_the_policy_makes_them(
    tmp_path: Path, tokenizer: Any, models: Any
) -> None:
    """WPO (Zhou et al. 2024, 2406.11827), eq. 2 with the sampled alignment of its section 3."""
    tokens = token_log_probs(models[0])
    known, squares = Known(tokens, token_log_probs(models[1])), sums_of_squares(models[0])
    weights = np.ones(len(pairs()))
    for side in (0, 1):
        weights *= [
            np.exp(np.mean(own - square))
            for own, square in zip(tokens[side], squares[side], strict=True)
        ]
    found, _ = scored(
        tmp_path, tokenizer, models, loss=["sigmoid", "ipo"], trainer_args={"use_weighting": True}
    )
    each = PAPERS["sigmoid"](known) + PAPERS["ipo"](known)
    assert found == pytest.approx(np.mean(weights * each), rel=1e-4)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo", "hinge"])
@pytest.mark.parametrize(
    ("arguments", "slope"),
    [
        # f'(t) of Wang et al. 2023 (f-DPO, 2309.16240), table 1, with t = π/π_ref
        ({"f_divergence_type": "forward_kl"}, lambda t: 1 - 1 / t),
        ({"f_divergence_type": "js_divergence"}, lambda t: np.log(2 * t / (1 + t))),
        (
            {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.7},
            lambda t: (t ** (0.7 - 1) - 1) / (0.7 - 1),
        ),
    ],
    ids=["forward_kl", "js_divergence", "alpha_divergence"],
)
def test_other_divergences_change_the_scores(
    tmp_path: Path, tokenizer: Any, models: Any, loss: str, arguments: Any, slope: Any
) -> None:
    known = Known(*(token_log_probs(model) for model in models))
    found, table = scored(tmp_path, tokenizer, models, loss=loss, trainer_args=arguments)
    rewards = BETA * (table[:, 0] - table[:, 2])
    assert rewards == pytest.approx(BETA * known.w, rel=1e-3, abs=1e-4)  # as TRL reports them
    known.w, known.l = slope(np.exp(known.w)), slope(np.exp(known.l))
    assert found == pytest.approx(np.mean(PAPERS[loss](known)), rel=1e-4)


STEPS = 20
GOALS: dict[str, Callable[[Array, Array], bool]] = {
    "sft": lambda before, after: after[0] > before[0],
    # When the chosen answer is worse than what the model gives by itself, both become less likely.
    "apo_down": lambda before, after: after[0] - after[1] > before[0] - before[1],
}
"""What a loss intends for the mean log-probs of (chosen, rejected); else that the margin rises."""


@pytest.mark.parametrize("loss", PAPERS)
def test_twenty_steps_do_what_the_loss_intends(tmp_path: Path, tokenizer: Any, loss: str) -> None:
    model = tiny_model()
    trainer = trainer_of(tmp_path, tokenizer, model=model, beta=BETA, **settings_of(loss))
    batch = trainer.data_collator(pairs().to_list())
    if loss != "simpo":
        chosen, rejected = trainer.compute_ref_log_probs(model, batch)
        batch |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    course = []
    for _ in range(STEPS):
        value, _, known = trainer._score(model, batch)
        course.append((float(value), known.table()[:, :2].mean(dim=0).numpy()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    (first, before), (last, after) = course[0], course[-1]
    rises = GOALS.get(loss, lambda before, after: after[0] - after[1] > before[0] - before[1])
    assert last < first
    assert rises(before, after)
