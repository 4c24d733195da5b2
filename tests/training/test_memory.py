"""Memory that ran out is recognised, however it is said, and the pass is noted."""

import errno
import json
from pathlib import Path

import pytest
import torch

from zephyrctl.errors import Interrupted, OutOfMemory
from zephyrctl.runs import adjustments
from zephyrctl.runs.store import StageDir
from zephyrctl.training import memory
from zephyrctl.training.memory import Room


def room(folder: Path, *, limit: int | None = 1200) -> Room:
    (folder / "dpo").mkdir(exist_ok=True)
    return Room(StageDir(folder / "dpo"), limit)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't "
                     "allocate memory: you tried to allocate 4000000000000 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
        RuntimeError("CUDA driver error: out of memory"),
        torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"),
        RuntimeError("HIP error: out of memory\nHIP kernel errors might be ..."),
        RuntimeError("CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("miopenStatusAllocFailed"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        torch.distributed.DistBackendError(
            "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error (run with "
            "NCCL_DEBUG=INFO for details), NCCL version 2.28.9\nncclUnhandledCudaError: Call to "
            "CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'"),
        RuntimeError("Last error:\nCuda failure 'out of memory'"),
        RuntimeError("Last error:\nFailed to CUDA calloc async 6291456 bytes"),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_recognised(error: Exception) -> None:
    assert memory.is_shortage(error)
    wrapped = ValueError("in the model")
    wrapped.__cause__ = error
    assert memory.is_shortage(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"),
        RuntimeError("shape mismatch"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("NCCL error: unhandled cuda error\nCuda failure 999 'unknown error'"),
        RuntimeError("the shared store is out of memory"),
        Interrupted("stopped"),
    ],
)
def test_other_errors_are_not(error: Exception) -> None:
    assert not memory.is_shortage(error)


def test_the_cpu_allocator_itself_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.is_shortage(caught.value)


def test_the_pass_is_noted_and_named(tmp_path: Path) -> None:
    place = room(tmp_path)
    with pytest.raises(OutOfMemory) as caught, place.needed_for("step 7", examples=3, tokens=900):
        raise torch.OutOfMemoryError

    assert caught.value.message == (
        "memory ran out at step 7, in a forward pass of 3 examples (900 tokens)"
    )
    assert caught.value.where == "dpo.micro_batch_tokens"
    assert caught.value.hint is not None
    assert "--set dpo.micro_batch_tokens=450" in caught.value.hint
    assert json.loads((place.stage.path / adjustments.SHORTAGE).read_text()) == {
        "doing": "step 7", "examples": 3, "tokens": 900, "limit": 1200,
    }  # fmt: skip


def test_where_nothing_can_be_split_the_hint_names_another_way(tmp_path: Path) -> None:
    error = room(tmp_path).error("step 1", examples=1, tokens=900)
    assert error.hint is not None
    assert "gradient_checkpointing" in error.hint
    assert "1 example (900 tokens)" in error.message


def test_passes_by_number_are_halved_by_number(tmp_path: Path) -> None:
    error = room(tmp_path, limit=None).error("step 1", examples=8, tokens=900)
    assert error.where == "dpo.micro_batch_size"
    assert error.hint is not None
    assert "micro_batch_size=4" in error.hint


def test_another_error_passes_through(tmp_path: Path) -> None:
    place = room(tmp_path)
    with pytest.raises(ValueError, match="other"), place.needed_for("x", examples=1, tokens=1):
        raise ValueError("other")
    assert not (place.stage.path / adjustments.SHORTAGE).exists()
