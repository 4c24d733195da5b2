"""How fast is this machine at this moment, what is it, and what does its GPU draw?"""

import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

PACKAGES = (
    "zephyrctl", "torch", "transformers", "trl", "peft", "accelerate", "flashoptim", "liger-kernel",
    "flash-attn", "flash-attn-4",
)  # fmt: skip
PROBE_S = 0.2
FIELDS = ("clocks.sm", "power.draw", "temperature.gpu", "utilization.gpu")


def facts() -> dict[str, Any]:
    """Machine, device and versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "versions": versions,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "gpu_memory_mb": properties.total_memory // 2**20,
            "cuda": torch.version.cuda,
        }
    return found


def matmul_rate(device: str) -> float:
    """FLOP/s of a large matrix product: float32 per CPU second on a CPU, bfloat16 on a GPU."""
    on_gpu = device == "cuda"
    size = 8192 if on_gpu else 1024
    dtype = torch.bfloat16 if on_gpu else torch.float32
    # Not zeros: a GPU draws less power on them and runs faster.
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    if on_gpu:
        torch.cuda.synchronize()
    clock = time.perf_counter if on_gpu else time.process_time
    start, rounds = clock(), 0
    while clock() - start < PROBE_S:
        for _ in range(10 if on_gpu else 1):
            a @ b
            rounds += 1
        if on_gpu:
            torch.cuda.synchronize()
    rate = 2 * size**3 * rounds / (clock() - start)
    del a, b
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return rate


class GpuLog:
    """Clocks, power and temperature of the first GPU, once a second, while the block runs."""

    def __init__(self, device: str) -> None:
        self.summary: dict[str, dict[str, float]] = {}
        self._device = device
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "GpuLog":
        if self._device == "cuda":
            command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "-i", "0",
                       "--format=csv,noheader,nounits", "-lms", "1000"]  # fmt: skip
            try:
                self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            except FileNotFoundError:  # a container without the tool
                self._process = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self.summary = summarise(self._process.communicate()[0])


def summarise(lines: str) -> dict[str, dict[str, float]]:
    """Least, mean and most of each field of nvidia-smi's lines; unreadable values are left out."""
    columns: dict[str, list[float]] = {name: [] for name in FIELDS}
    for line in lines.splitlines():
        for name, text in zip(FIELDS, line.split(","), strict=False):
            try:
                columns[name].append(float(text))
            except ValueError:  # "[N/A]", or a line cut by the end of the process
                continue
    return {
        name: {
            "least": min(values),
            "mean": round(sum(values) / len(values), 1),
            "most": max(values),
        }
        for name, values in columns.items()
        if values
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        return platform.processor()
    return f"{len(names)} x {names[0]}" if names else platform.processor()
