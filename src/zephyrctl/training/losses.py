"""Which losses over preference pairs are computed here? (those that TRL 1.16's DPOTrainer lacks)

Each is a function of the pairs and the stage's settings; `catalogue.OWN_LOSSES` names them, and
`own_loss` trains with them.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from zephyrctl.config.schema.training import Dpo
from zephyrctl.training.pairs import Pairs


@dataclass(frozen=True)
class Scored:
    """Losses and rewards of B pairs, each `(B,)`."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def simpo(pairs: Pairs, settings: Dpo) -> Scored:
    """SimPO: a reward is beta times the mean log-prob of a token, and the loss
    −log σ(chosen reward − rejected reward − γ) with γ = simpo_gamma_ratio · beta
    (Meng, Xia, Chen 2024, arXiv 2405.14734, equation 6). No reference model takes part."""
    beta = settings.beta
    chosen = beta * pairs.chosen / pairs.chosen_tokens.clamp(min=1)
    rejected = beta * pairs.rejected / pairs.rejected_tokens.clamp(min=1)
    gamma = settings.simpo_gamma_ratio * beta
    return Scored(-logsigmoid(chosen - rejected - gamma), chosen, rejected)


def rdpo(pairs: Pairs, settings: Dpo) -> Scored:
    """R-DPO, length-regularised DPO: −log σ(chosen reward − rejected reward + α(|y_w| − |y_l|)),
    where a reward is DPO's beta times the log-ratio and |y| the tokens of a completion.

    It is DPO for the penalised reward r(x, y) − α|y|, whose optimal policy gives
    r = β log(π/π_ref) + α|y| + β log Z (Park, Rafailov, Ermon, Finn 2024, arXiv 2403.19159, the
    objective L_R-DPO). So the sign is plus: what length explains of a preference, the policy does
    not have to learn. Rewards are reported without the length term, comparable with DPO's.
    """
    chosen = settings.beta * (pairs.chosen - pairs.ref_chosen)
    rejected = settings.beta * (pairs.rejected - pairs.ref_rejected)
    longer = settings.rdpo_alpha * (pairs.chosen_tokens - pairs.rejected_tokens)
    return Scored(-logsigmoid(chosen - rejected + longer), chosen, rejected)
