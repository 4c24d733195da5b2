"""Which settings of preference training contradict each other?

What TRL 1.16 would refuse after the model is loaded, or take and not use, is refused here.
"""

import math
from collections.abc import Iterator

from zephyrctl import catalogue
from zephyrctl.config.finding import Finding
from zephyrctl.config.schema import Recipe
from zephyrctl.config.schema.training import Dpo
from zephyrctl.registry import did_you_mean

_SMOOTHED = frozenset({"exo_pair", "robust", "aot", "aot_unpaired"})
"""Losses of TRL 1.16 that read `label_smoothing`."""
_SORTED = frozenset({"aot", "aot_unpaired"})
_DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
_OF_DIFFERENCES = frozenset(
    {"sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop", "sft"}
)
"""Losses in which an f-divergence's unknown term cancels."""
_CHANGES_TRLS_LOSS = frozenset(
    {"discopop_tau", "f_alpha_divergence_coef", "f_divergence_type", "use_weighting"}
)
_CHANGES_LOG_PROBS = "ld_alpha"


def losses(recipe: Recipe) -> Iterator[Finding]:
    """Contradictions between the losses and what belongs to them."""
    dpo = recipe.dpo
    names = dpo.losses
    if not names:
        yield Finding(("dpo.loss",), "dpo.loss is an empty list", "--set dpo.loss=sigmoid")
    if len(set(names)) < len(names):
        yield Finding(
            ("dpo.loss",), "dpo.loss names a loss twice", "use dpo.loss_weights to weigh a loss"
        )
    if "exo_pair" in names and dpo.label_smoothing == 0:
        yield Finding(
            ("dpo.label_smoothing", "dpo.loss"),
            "the loss exo_pair needs a label_smoothing above 0",
            "--set dpo.label_smoothing=0.001",
        )
    own = [name for name in names if name in catalogue.OWN_LOSSES]
    if dpo.label_smoothing and not own and not _SMOOTHED & set(names):
        yield Finding(
            ("dpo.label_smoothing", "dpo.loss"),
            f"the loss {' + '.join(names)} does not use dpo.label_smoothing",
            "--set dpo.loss=robust, which expects swapped labels, or --set dpo.label_smoothing=0",
        )
    weights = dpo.loss_weights
    if weights is not None and len(weights) != len(names):
        yield Finding(
            ("dpo.loss_weights", "dpo.loss"),
            f"dpo.loss_weights has {len(weights)} values for {len(names)} in dpo.loss",
            f"--set 'dpo.loss_weights=[{', '.join(['1.0'] * max(1, len(names)))}]'",
        )
    elif weights is not None and not all(0 < weight < math.inf for weight in weights):
        yield Finding(
            ("dpo.loss_weights",),
            "a weight in dpo.loss_weights is not above 0: that loss would do nothing, or teach the "
            "opposite",
            f"--set 'dpo.loss_weights=[{', '.join(['1.0'] * len(weights))}]'",
        )
    for name in own:
        yield from _own_loss(dpo, name)


def _own_loss(dpo: Dpo, name: str) -> Iterator[Finding]:
    """What a loss that TRL lacks does not use."""
    if len(dpo.losses) > 1:
        yield Finding(
            ("dpo.loss",),
            f"the loss {name} cannot be summed with others",
            f"--set dpo.loss={name}",
        )
    unused = [
        ("dpo.label_smoothing", dpo.label_smoothing != 0, "0"),
        ("dpo.loss_weights", dpo.loss_weights is not None, "null"),
    ]
    arguments = _CHANGES_TRLS_LOSS
    if not dpo.has_reference:
        unused.append(("dpo.reference", dpo.reference != "auto", "auto"))
        arguments = arguments | {_CHANGES_LOG_PROBS}
    for path, is_set, neutral in unused:
        if is_set:
            yield Finding(
                (path, "dpo.loss"),
                f"the loss {name} does not use {path}",
                f"--set {path}={neutral}",
            )
    for key in sorted(arguments & dpo.trainer_args.keys()):
        yield Finding(
            (f"dpo.trainer_args.{key}", "dpo.loss"),
            f"the loss {name} does not use dpo.trainer_args.{key}",
            f"remove {key}",
        )


def trainer_args(recipe: Recipe) -> Iterator[Finding]:
    """Contradictions between the losses of TRL and the arguments that change them."""
    given, names = recipe.dpo.trainer_args, set(recipe.dpo.losses)
    if names & set(catalogue.OWN_LOSSES.names()):
        return
    divergence = given.get("f_divergence_type", "reverse_kl")
    path = "dpo.trainer_args.f_divergence_type"
    if divergence not in _DIVERGENCES:
        yield Finding(
            (path,),
            f"unknown f-divergence '{divergence}'{did_you_mean(str(divergence), _DIVERGENCES)}",
            f"known: {', '.join(_DIVERGENCES)}",
        )
    elif divergence != "reverse_kl" and not names <= _OF_DIFFERENCES:
        yield Finding(
            (path, "dpo.loss"),
            f"the loss {', '.join(sorted(names - _OF_DIFFERENCES))} has no form for {divergence}: "
            "only a difference of rewards has",
            f"known: {', '.join(sorted(_OF_DIFFERENCES))}",
        )
    if given.get("use_weighting") and names & _SORTED:
        yield Finding(
            ("dpo.trainer_args.use_weighting", "dpo.loss"),
            f"the loss {', '.join(sorted(names & _SORTED))} sorts its pairs and cannot weigh them",
            "remove use_weighting",
        )
    if given.get("use_weighting") and "sft" in names:
        yield Finding(
            ("dpo.trainer_args.use_weighting", "dpo.loss"),
            "the loss sft is a mean over tokens and cannot weigh pairs",
            "remove use_weighting, or sft from dpo.loss",
        )
    ld_alpha = given.get(_CHANGES_LOG_PROBS)
    if ld_alpha is not None and not (isinstance(ld_alpha, int | float) and 0 <= ld_alpha <= 1):
        yield Finding(
            (f"dpo.trainer_args.{_CHANGES_LOG_PROBS}",),
            f"ld_alpha is a number from 0 to 1, not {ld_alpha!r}",
            "1 counts every token, 0 none beyond the shorter completion",
        )


def reference(recipe: Recipe) -> Iterator[Finding]:
    """A reference that cannot be had."""
    dpo = recipe.dpo
    if dpo.reference == "adapter" and dpo.adapter.type == "none":
        yield Finding(
            ("dpo.reference", "dpo.adapter.type"),
            "dpo.reference = adapter needs an adapter: without one, training overwrites the "
            "weights that are the reference",
            "--set dpo.reference=precompute, or --set dpo.adapter.type=lora",
        )
