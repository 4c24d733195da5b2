"""Which losses over preference pairs are computed here? (those that TRL 1.16's DPOTrainer lacks)"""

from torch import Tensor
from torch.nn.functional import logsigmoid


def simpo(
    chosen_logps: Tensor,
    rejected_logps: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    *,
    beta: float,
    gamma_ratio: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, rewards of the chosen and rewards of the rejected completions, each `(B,)`.

    From each completion's summed log-prob and number of tokens, each `(B,)`. A reward is beta times
    the mean log-prob of a token, and the loss −log σ(chosen reward − rejected reward − γ) with
    γ = gamma_ratio · beta (Meng, Xia, Chen 2024, arXiv 2405.14734, equation 6). No reference
    model takes part.
    """
    chosen_rewards = beta * chosen_logps / chosen_tokens.clamp(min=1)
    rejected_rewards = beta * rejected_logps / rejected_tokens.clamp(min=1)
    losses = -logsigmoid(chosen_rewards - rejected_rewards - gamma_ratio * beta)
    return losses, chosen_rewards, rejected_rewards
