"""What is on this machine: GPUs, memory, disk, packages, and what the network settings allow.

Nothing here imports torch: GPUs come from `nvidia-smi`, versions from package metadata, the CUDA
build from torch's version file read as text. So the launcher and `doctor` answer in milliseconds,
and no CUDA context is opened in a process that will not compute.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from zephyrctl.errors import EnvironmentProblem

_TRUE = {"1", "true", "yes", "on"}
_SMI_FIELDS = ("index", "uuid", "name", "memory.total", "memory.free", "compute_cap")
_SMI_TIMEOUT_S = 20.0  # the first call after boot loads the driver and may take seconds
_MIG_USABLE = 0.95  # of a profile's size: 1g.10gb of an H100 has 9.75 GiB, 1g.5gb of an A100 4.75

PACKAGES = (
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers", "safetensors",
    "huggingface_hub", "pydantic", "typer", "rich", "httpx", "jinja2", "gguf", "bitsandbytes",
    "liger-kernel",
)  # fmt: skip
"""Packages whose versions decide results or which features work."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as `nvidia-smi` reports it; memory in MiB."""

    index: int
    uuid: str
    name: str
    memory_mib: int
    free_mib: int
    capability: str
    """Compute capability such as `9.0`; empty where the driver does not tell."""

    @property
    def cuda_name(self) -> str:
        """How CUDA_VISIBLE_DEVICES names it: by its number, and a part of a GPU (MIG) by its UUID,
        as it has no number."""
        return self.uuid if self.uuid.startswith("MIG-") else str(self.index)

    @property
    def bf16(self) -> bool:
        """Whether the GPU computes in bfloat16 (Ampere, capability 8.0, and later)."""
        major = self.capability.partition(".")[0]
        return major.isdigit() and int(major) >= 8


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes that this process may use, container limits included."""

    total: int
    available: int


# ------------------------------------------------------------------------------------------ GPUs


def installed_gpus() -> list[Gpu]:
    """Every NVIDIA GPU of this machine, in PCI order; empty without a driver."""
    return parse_nvidia_smi(
        _ask_smi(f"--query-gpu={','.join(_SMI_FIELDS)}", "--format=csv,noheader,nounits")
    )


def _ask_smi(*options: str) -> str:
    """What nvidia-smi prints; nothing without a driver or where it fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        done = subprocess.run(
            [command, *options], capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_nvidia_smi(csv: str) -> list[Gpu]:
    """The GPUs in `nvidia-smi --query-gpu` output without header and units."""
    gpus = []
    for line in csv.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(_SMI_FIELDS) or not cells[0].isdigit():
            continue
        index, uuid, name, total, free, capability = cells
        gpus.append(
            Gpu(
                index=int(index),
                uuid=uuid,
                name=name,
                memory_mib=_whole(total),
                free_mib=_whole(free),
                capability=capability if re.fullmatch(r"\d+\.\d+", capability) else "",
            )
        )
    return gpus


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else 0  # "[N/A]" on machines with unified memory


def gpu_parts(gpus: Sequence[Gpu], listing: str) -> list[Gpu]:
    """The MIG devices in the output of `nvidia-smi -L`, with the number of the GPU that they are a
    part of. Their memory is that of the profile's name (`1g.10gb`), less than which is usable."""
    parts: list[Gpu] = []
    whole: Gpu | None = None
    for line in listing.splitlines():
        if match := re.match(r"GPU (\d+):", line):
            whole = next((gpu for gpu in gpus if gpu.index == int(match.group(1))), None)
        match = re.match(r"\s+MIG (\S*?\.(\d+)gb\S*)\s.*\(UUID: (MIG-[^)\s]+)\)", line)
        if match and whole is not None:
            profile, size, uuid = match.groups()
            memory = round(int(size) * 1024 * _MIG_USABLE)
            name = f"{whole.name} MIG {profile}"
            parts.append(replace(whole, uuid=uuid, name=name, memory_mib=memory, free_mib=memory))
    return parts


def select_gpus(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in its order, by CUDA's own rules.

    Unset means all. An entry is an index, or a prefix of the UUID of a GPU or of a part of one
    (`MIG-…`); the list ends at the first entry that names nothing, so `-1` and the empty string
    hide every GPU.
    """
    whole = [gpu for gpu in gpus if not gpu.uuid.startswith("MIG-")]
    if visible is None:
        return whole
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry.isdigit():
            found = [gpu for gpu in whole if gpu.index == int(entry)]
        elif entry.startswith(("GPU-", "MIG-")):
            found = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
        else:
            found = []
        if len(found) != 1 or found[0] in chosen:
            break
        chosen.append(found[0])
    return chosen


def visible_gpus(env: Mapping[str, str] | None = None) -> list[Gpu]:
    """The GPUs that training here can use, in the order of CUDA's device numbers.

    Empty where torch is a CPU build. The order is that of PCI slots; the launcher sets
    CUDA_DEVICE_ORDER=PCI_BUS_ID so that CUDA counts in the same way.
    """
    if torch_cuda() is None:
        return []
    env = os.environ if env is None else env
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in {"", "-1"}:
        return []
    installed = installed_gpus()
    if visible is not None and "MIG-" in visible:
        installed += gpu_parts(installed, _ask_smi("-L"))
    return select_gpus(installed, visible)


def driver_version() -> str | None:
    """Version of the loaded NVIDIA driver, or None."""
    path = Path("/proc/driver/nvidia/version")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"\s(\d{3,}\.\d+(?:\.\d+)?)\s", text)
    return match.group(1) if match else None


def torch_cuda() -> str | None:
    """CUDA version that the installed torch was built for, or None for a CPU build or no torch."""
    spec = importlib.util.find_spec("torch")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        try:
            text = (Path(folder) / "version.py").read_text(encoding="utf-8")
        except OSError:
            continue
        match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
        return match.group(1) if match else None
    return None


# ------------------------------------------------------------------------------- CPU, RAM, disk


def cpu_cores() -> int:
    """CPU cores this process may use: affinity and a container's quota counted."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()[:2]
        limit = max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or "max"
        return cores
    return min(cores, limit)


def measure_cpu() -> float | None:
    """Float32 FLOP/s that torch reaches here in a matrix product of 1,536 rows, or None.

    Measured in a child process for about a second, with torch's own choice of threads.
    """
    code = (
        "import time, torch; a = torch.randn(1536, 1536); a @ a; best = 9e9\n"
        "for _ in range(8):\n"
        "    t = time.perf_counter(); a @ a; best = min(best, time.perf_counter() - t)\n"
        "print(2 * 1536**3 / best)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def cpu_name() -> str:
    """Model name of the processor, as well as the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1).strip() if match else platform.machine()


def memory() -> Memory:
    """Main memory; a cgroup limit below the machine's memory wins."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        kib = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
        total, available = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    except (OSError, KeyError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        available = total
    try:
        root = Path("/sys/fs/cgroup")
        limit = int((root / "memory.max").read_text(encoding="ascii"))
        used = int((root / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Memory(total, available)
    return Memory(min(total, limit), max(0, min(available, limit - used)))


def free_disk(path: Path) -> int:
    """Free bytes on the file system that holds `path`, which need not exist yet."""
    path = path.expanduser().absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


# --------------------------------------------------------------------------- packages, network


def package_version(name: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def package_versions() -> dict[str, str]:
    """Versions of the packages in `PACKAGES` that are installed, and of Python."""
    found = {name: package_version(name) for name in PACKAGES}
    versions = {name: version for name, version in found.items() if version is not None}
    return {"python": platform.python_version(), **versions}


def requirements() -> dict[str, str]:
    """The version range of each dependency as our own package declares it, extras included.

    `{"torch": ">=2.11", …}`; empty where the package metadata is not to be found.
    """
    try:
        lines = importlib.metadata.requires("zephyrctl") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    ranges = {}
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)\s*([^;\[]*)", line)
        if match:
            ranges[match.group(1).lower()] = match.group(2).strip(" ()")
    return ranges


def is_set(name: str, env: Mapping[str, str] | None = None) -> bool:
    """Whether an on/off environment variable is on (1, true, yes, on)."""
    env = os.environ if env is None else env
    return env.get(name, "").strip().lower() in _TRUE


def network_allowed(env: Mapping[str, str] | None = None) -> bool:
    """False under ZEPHYRCTL_OFFLINE=1, which forbids every network use."""
    return not is_set("ZEPHYRCTL_OFFLINE", env)


def hub_allowed(env: Mapping[str, str] | None = None) -> bool:
    """False under HF_HUB_OFFLINE=1 (or ZEPHYRCTL_OFFLINE=1): the Hub's cache may still be read."""
    offline = is_set("HF_HUB_OFFLINE", env) or is_set("TRANSFORMERS_OFFLINE", env)
    return network_allowed(env) and not offline


def cache_root(env: Mapping[str, str] | None = None) -> Path:
    """Folder for what is downloaded or built once: $ZEPHYRCTL_CACHE, else the user's cache."""
    env = os.environ if env is None else env
    if env.get("ZEPHYRCTL_CACHE"):
        return Path(env["ZEPHYRCTL_CACHE"]).expanduser().absolute()
    if env.get("XDG_CACHE_HOME"):
        return Path(env["XDG_CACHE_HOME"]).expanduser().absolute() / "zephyrctl"
    return Path("~/.cache/zephyrctl").expanduser()


def made_in_cache(name: str) -> Path:
    """The folder `name` of the cache, made where it is missing; it may be asked for at any time."""
    folder = cache_root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise EnvironmentProblem(
            f"the cache cannot be written: {error.strerror or error}",
            where=str(folder),
            hint="ZEPHYRCTL_CACHE=/a/folder/of/yours in front of the command",
        ) from error
    return folder


def benchmark_cache(benchmark: str, env: Mapping[str, str] | None = None) -> Path:
    """Folder for the public files of a benchmark, `mt-bench` or `alpaca-eval`."""
    return cache_root(env) / "benchmarks" / benchmark.replace("-", "_")


def hub_cache(env: Mapping[str, str] | None = None) -> Path:
    """Folder in which huggingface_hub keeps its snapshots."""
    env = os.environ if env is None else env
    if env.get("HF_HUB_CACHE"):
        return Path(env["HF_HUB_CACHE"]).expanduser()
    if env.get("HF_HOME"):
        return Path(env["HF_HOME"]).expanduser() / "hub"
    base = env.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def hardware() -> dict[str, Any]:
    """The machine as one JSON object, for manifests: no host name, no user name."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cpu_cores": cpu_cores(),
        "memory_bytes": memory().total,
        "gpus": [asdict(gpu) for gpu in visible_gpus()],
        "driver": driver_version(),
        "torch_cuda": torch_cuda(),
        "python": sys.version.split()[0],
    }
