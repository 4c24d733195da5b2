"""Settings of the two training stages."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from zephyrctl.config.schema.model import Adapter
from zephyrctl.config.schema.section import Section

DpoLoss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm", "simpo", "rdpo",
]  # fmt: skip
Optimizer = Literal[
    "auto", "adamw", "flash_adamw", "adamw_bf16", "adamw_8bit", "paged_adamw_32bit", "rmsprop",
]  # fmt: skip


class Expected(Section):
    """A published value of a metric, against which the finished stage is compared."""

    value: float
    """The published value."""
    tolerance: float = Field(ge=0)
    """Largest difference that still counts as a reproduction."""
    source: str = ""
    """Where the value was published."""


class Canary(Section):
    """A metric with a range in which it should be, looked at while the stage runs."""

    metric: Literal[
        "loss", "eval_loss", "reward_accuracy", "reward_margin", "chosen_logps", "rejected_logps"
    ]
    """The metric: `loss` of the training records, the others of the held-out split."""
    at: float | None = Field(default=None, ge=0, le=1)
    """Share of the steps at which it is looked at (0 is before the first, 1 the end); null looks at
    every record or evaluation."""
    above: float | None = None
    """The metric should be above this."""
    below: float | None = None
    """The metric should be below this."""
    source: str = ""
    """Where the range comes from."""

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("a canary needs `above`, `below` or both")
        return self


class Training(Section):
    """What supervised fine-tuning and DPO have in common."""

    learning_rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate."""
    lr_scheduler: Literal["cosine", "linear", "constant", "cosine_with_min_lr"] = "cosine"
    """Shape of the learning rate after warm-up."""
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps over which the learning rate rises to its peak."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the training split; unused where `max_steps` is set."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; null derives them from `epochs`."""
    global_batch_size: int = Field(default=128, ge=1)
    """Examples per optimizer step over all processes. Accumulation is derived from it, so the
    same recipe takes the same steps on any number of GPUs."""
    micro_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Examples per forward pass and process; `auto` takes as many as `micro_batch_tokens`
    allows, so that every forward pass is about equally large."""
    micro_batch_tokens: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Most tokens per forward pass and process, padding included; `auto` is what the memory plan
    leaves room for. One example is never split. Unused where `micro_batch_size` is a number."""
    max_length: int = Field(default=2048, ge=8)
    """Longest example in tokens; what is longer is cut or dropped in data preparation and
    counted."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    optimizer: Optimizer = "auto"
    """Optimizer. `adamw` keeps float32 weights; `flash_adamw` and `adamw_bf16` keep bfloat16
    weights and lose no update to rounding (by 24-bit master weights, or by stochastic rounding).
    `auto` is `adamw` where the memory plan has room for it, else the next that fits.
    `flash_adamw`, the 8-bit and the paged one need the `cuda` extra."""
    gradient_checkpointing: bool | Literal["auto", "selective"] = "auto"
    """Recompute activations in the backward pass: less memory, a third to a half more work.
    `selective` keeps the outputs of attention and recomputes the rest. `auto` is the least
    recomputation that the memory plan has room for."""
    padding_free: bool | Literal["auto"] = "auto"
    """Compute no padding: the examples of a forward pass stand in one row, and attention keeps
    them apart. `auto` does so where the model's attention can, and says why where it cannot."""
    compile: bool | Literal["auto"] = "auto"
    """Compile each decoder layer with `torch.compile`. `auto` is off: on a CPU a step became 7 to
    10 % faster after a first one of half a minute, and on a GPU nothing was measured yet."""
    adapter: Adapter = Adapter()
    """Train an adapter in place of the weights."""
    trainable_layers: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """Train only the last so many decoder layers and the final norm; every other weight stays
    frozen. Not together with an adapter."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two records of the training metrics."""
    eval_every: int | None = Field(default=None, ge=1)
    """Steps between two evaluations on the held-out split; null evaluates at the end only."""
    save_every: int = Field(default=100, ge=1)
    """Steps between two checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Verified checkpoints kept while training, the newest ones; with `eval_every` also the one of
    the lowest held-out loss."""
    sample_every: int | None = Field(default=None, ge=1)
    """Steps between two sets of sample generations; null samples at the start, with every
    evaluation of `eval_every`, and at the end."""
    sample_prompts: int = Field(default=4, ge=0)
    """Held-out prompts answered in each set of samples."""
    trainer_args: dict[str, Any] = {}
    """Further fields of TRL's SFTConfig or DPOConfig, passed on as they are. A field that has a
    name of its own here is refused."""
    expected: dict[str, Expected] = {}
    """Published values of final metrics; the stage reports how far it is from them."""
    canaries: list[Canary] = []
    """Ranges of metrics from published runs; the stage warns where it leaves them."""

    @property
    def most_checkpoints(self) -> int:
        """Checkpoints that stand between two saves, at most."""
        return self.keep_checkpoints + (self.eval_every is not None)


class Sft(Training):
    """Supervised fine-tuning on distilled dialogues (dSFT)."""

    packing: Literal["none", "bfd", "wrapped"] = "none"
    """Several dialogues in one row: `bfd` packs whole dialogues that do not see each other,
    `wrapped` joins and cuts the stream of tokens as the 2024 recipe did."""
    loss_on: Literal["assistant", "all"] = "assistant"
    """Tokens that are trained: the assistant's turns with their end token, or every token."""
    neftune_alpha: float | None = Field(default=None, gt=0)
    """Strength of NEFTune's noise on the embeddings; null adds none."""


class Dpo(Training):
    """Direct preference optimisation (dDPO)."""

    learning_rate: float = Field(default=5e-7, gt=0)
    """Peak learning rate."""
    max_length: int = Field(default=1024, ge=8)
    """Longest prompt plus completion in tokens; completions are cut to it and counted."""
    max_prompt_length: int = Field(default=512, ge=4)
    """Longest prompt in tokens; longer ones are cut from the left and counted."""
    beta: float = Field(default=0.01, gt=0)
    """Strength of the pull towards the reference model. For `simpo`, which has none, the scale of
    the rewards; its paper takes 2.0 to 2.5."""
    loss: DpoLoss | list[DpoLoss] = "sigmoid"
    """Loss over the pair of log-ratios, or a list of losses that are summed. `simpo` compares mean
    log-probs per token instead, without a reference model; `rdpo` is `sigmoid` with a penalty on
    length. These two stand alone."""
    prefix_sharing: bool | Literal["auto"] = "auto"
    """Compute the prompt of a pair once for both completions; exact, checked against the plain
    path before the first step. `auto` does so wherever `padding_free` holds."""
    simpo_gamma_ratio: float = Field(default=0.5, ge=0)
    """γ/β of the loss `simpo`: the lead, in log-prob per token, that the chosen answer is to have
    over the rejected one."""
    rdpo_alpha: float = Field(default=0.01, ge=0)
    """Strength of the length penalty of the loss `rdpo`, per token of difference."""
    loss_weights: list[float] | None = None
    """Weight of each loss in the list; null weighs all by 1."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of swapped labels, for the losses that use it."""
    init_from: str = "@sft"
    """Where the policy starts: `@sft` (this run's SFT model), `base`, another run's stage such
    as `runs/mine/sft`, a folder, or a Hub id."""
    reference: Literal["auto", "copy", "precompute", "adapter"] = "auto"
    """How the reference log-probabilities are had: from a frozen copy of the starting model at
    every step, computed once before training and kept for other runs (`precompute`), or at every
    step from the model under the adapter that is trained, a frozen adapter of the starting point
    included (`adapter`). `auto` precomputes. The loss `simpo` has no reference."""

    @property
    def losses(self) -> list[str]:
        """The losses as a list, also where there is one."""
        return [self.loss] if isinstance(self.loss, str) else list(self.loss)

    @property
    def has_reference(self) -> bool:
        """Whether the loss compares the policy with the model it starts from."""
        return self.losses != ["simpo"]
