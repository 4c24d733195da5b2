"""Which positions does TRL's fused LM head score on a CPU?

TRL 1.16 projects only the labelled positions where Triton runs, and every position elsewhere,
because a changing number of positions makes some accelerators compile anew. A CPU compiles
nothing: scoring the labelled third of a batch took 3.9 s of CPU instead of 6.3 s per step
(SmolLM2-135M, 8 × 96 tokens, last six layers), 7.8 s instead of 11.1 s with all weights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trl.trainer import utils as trl_utils

# Not exported by TRL; a test fails where the name is gone.
utils: Any = trl_utils


@contextmanager
def labelled_positions_only(device: str) -> Iterator[None]:
    """Score only labelled positions on a CPU as well; on other devices TRL decides.

    The name replaced here answers nothing but that question in `add_fused_lm_head`; the kernel
    asks its own. The log-probs of the labelled positions are the same either way.
    """
    if device != "cpu":
        yield
        return
    before = utils._use_triton

    def always(_: Any) -> bool:
        return True

    utils._use_triton = always
    try:
        yield
    finally:
        utils._use_triton = before
