"""Which positions does TRL's fused LM head score on a CPU, and in tiles of what size?

TRL 1.16 projects only the labelled positions where Triton runs, and every position elsewhere,
because a changing number of positions makes some accelerators compile anew. A CPU compiles
nothing: scoring the labelled third of a batch took 3.9 s of CPU instead of 6.3 s per step
(SmolLM2-135M, 8 × 96 tokens, last six layers), 7.8 s instead of 11.1 s with all weights.

TRL's tiles of logits are made for a GPU: 4,096 tokens by 32,768 entries, half a gigabyte that
twenty elementwise passes read from memory again. A tile of 2 MiB stays in a core's cache: 0.79 s of
CPU instead of 1.60 for 2,300 tokens by 8,192 entries, 1.90 instead of 2.88 for 600 by 49,152.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trl.kernels import chunked_logprob
from trl.trainer import utils as trl_utils

# Not exported by TRL; a test fails where a name is gone.
utils: Any = trl_utils
kernel: Any = chunked_logprob

TILE_TOKENS, TILE_ENTRIES = 512, 1024
"""float32: 2 MiB."""


@contextmanager
def labelled_positions_only(device: str) -> Iterator[None]:
    """Score only labelled positions on a CPU as well, in small tiles; on other devices TRL decides.

    The function replaced here answers nothing but which positions, in `add_fused_lm_head`; the
    kernel asks its own. Log-probs are the same either way but for the order of sums.
    """
    if device != "cpu":
        yield
        return
    replaced = [
        (utils, "_use_triton", _always),
        (utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", TILE_ENTRIES),
        (kernel, "TOKEN_CHUNK_SIZE", TILE_TOKENS),
    ]
    before = [getattr(module, name) for module, name, _ in replaced]
    for module, name, value in replaced:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(replaced, before, strict=True):
            setattr(module, name, value)


def _always(_: Any) -> bool:
    return True
