"""Was that error a memory that is too small, and for which forward pass?

The pass is noted for whoever starts the stage again (`runs.adjustments`), which halves it.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from zephyrctl.errors import OutOfMemory, ZephyrctlError
from zephyrctl.runs import adjustments
from zephyrctl.runs.adjustments import Shortage
from zephyrctl.runs.store import StageDir

_TEXTS = re.compile(
    # torch: the allocator, the runtime, and the driver under expandable segments.
    r"\b(CUDA|HIP|XPU|MPS)( driver error:| error:| backend)? out of memory"
    # cuBLAS, hipBLAS and cuDNN, which has longer names since 9.0.
    r"|_STATUS_(INTERNAL_ERROR_(HOST|DEVICE)_)?ALLOC(ATION)?_FAILED"
    r"|\bmiopenStatusAllocFailed\b"
    r"|Triton Error \[\w+\]: out of memory"
    # NCCL and RCCL, which take their buffers past torch's allocator.
    r"|\b(Cuda|HIP) failure( \d+)? 'out of memory'|Failed to CUDA (calloc|malloc)"
    # torch's allocator on a CPU: c10/core/impl/alloc_cpu.cpp, of Linux and of other systems.
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory"
)
"""What is said of memory in errors that are no torch.OutOfMemoryError (torch 2.13). Of these texts
only the last ones were met here; the others are from the libraries' sources and users' reports."""


@dataclass(frozen=True)
class Room:
    """Where a stage's shortages are noted, and by which setting its passes are limited."""

    stage: StageDir
    limit: int | None
    """Most tokens of a pass; None where passes are made by number of examples."""

    @property
    def setting(self) -> str:
        """The setting that makes passes smaller."""
        name = "micro_batch_size" if self.limit is None else "micro_batch_tokens"
        return f"{self.stage.name}.{name}"

    @contextmanager
    def needed_for(self, doing: str, *, examples: int, tokens: int) -> Iterator[None]:
        """Note the pass, and raise OutOfMemory, where the memory is too small for this block.

        `doing` says when it was: `step 7`. An error that was noted already passes through.
        """
        try:
            yield
        except Exception as error:
            if not is_shortage(error):
                raise
            raise self.error(doing, examples=examples, tokens=tokens) from error

    def error(self, doing: str, *, examples: int, tokens: int) -> OutOfMemory:
        """The error for a pass that did not fit, which is noted."""
        shortage = Shortage(doing, examples=examples, tokens=tokens, limit=self.limit)
        adjustments.note(self.stage, shortage)
        hint = f"--set {self.stage.name}.gradient_checkpointing=true, or a smaller max_length"
        if examples > 1:
            smaller = max(1, examples // 2) if self.limit is None else max(8, tokens // 2)
            hint = f"--set {self.setting}={smaller}   (the same examples in each step)"
        word = "example" if examples == 1 else "examples"
        return OutOfMemory(
            f"memory ran out at {doing}, in a forward pass of {examples} {word} ({tokens} tokens)",
            where=self.setting,
            hint=hint,
        )


def is_shortage(error: BaseException | None) -> bool:
    """Whether memory that ran out is behind an error, by its class or by what torch says."""
    while error is not None:
        if isinstance(error, ZephyrctlError):
            return False  # it was understood where it happened
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and _TEXTS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


_breaks_next: list[bool] = []


def break_next_pass() -> None:
    """Let the next forward pass run out of memory, for drills (`runs.faults`)."""
    _breaks_next.append(True)


def break_if_planned() -> None:
    """Run out of memory where a drill asks for it."""
    if _breaks_next:
        _breaks_next.clear()
        raise torch.OutOfMemoryError("CUDA out of memory. A drill asked for it.")
