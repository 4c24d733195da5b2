"""environment: GPUs as CUDA counts them, network switches, folders."""

from pathlib import Path

import pytest

from zephyrctl import environment
from zephyrctl.errors import EnvironmentProblem

SMI = """\
0, GPU-aaaa-1, NVIDIA H100 80GB HBM3, 81559, 81000, 9.0
1, GPU-bbbb-2, NVIDIA H100 80GB HBM3, 81559, 40000, 9.0
2, GPU-cccc-3, Tesla T4, 15360, [N/A], 7.5
No devices were found
"""


@pytest.fixture
def gpus() -> list[environment.Gpu]:
    return environment.parse_nvidia_smi(SMI)


def test_nvidia_smi_lines_become_gpus_and_other_lines_are_left_out(gpus):
    assert [gpu.index for gpu in gpus] == [0, 1, 2]
    assert gpus[0].memory_mib == 81559
    assert gpus[2].free_mib == 0  # "[N/A]"
    assert [gpu.bf16 for gpu in gpus] == [True, True, False]


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, [0, 1, 2]),
        ("1", [1]),
        ("2,0", [2, 0]),
        ("GPU-bbbb", [1]),
        ("GPU-bbbb-2, 0", [1, 0]),
        ("-1", []),
        ("", []),
        ("0,-1,1", [0]),  # CUDA stops at the first entry that names nothing
        ("0,7,1", [0]),
        ("0,0", [0]),
        ("nonsense", []),
    ],
)
def test_cuda_visible_devices_selects_and_orders(gpus, visible, indices):
    assert [gpu.index for gpu in environment.select_gpus(gpus, visible)] == indices


MIG = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111-a)
  MIG 1g.10gb+me  Device  1: (UUID: MIG-2222-b)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)
  MIG 1g.10gb     Device  0: (UUID: MIG-3333-c)
GPU 9: a GPU that the other question did not name (UUID: GPU-cccc)
  MIG 1g.10gb     Device  0: (UUID: MIG-4444-d)
"""


def test_parts_of_a_gpu_are_found_with_their_memory_and_named_by_their_uuid(gpus):
    parts = environment.gpu_parts(gpus, MIG)
    assert [(part.index, part.uuid) for part in parts] == [
        (0, "MIG-1111-a"), (0, "MIG-2222-b"), (1, "MIG-3333-c"),
    ]  # fmt: skip
    assert [part.memory_mib for part in parts] == [38912, 9728, 9728]
    assert parts[0].name.endswith("MIG 3g.40gb")
    assert [gpu.cuda_name for gpu in (gpus[1], parts[0])] == ["1", "MIG-1111-a"]
    assert environment.gpu_parts(gpus, "") == []


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["0", "1", "2"]),
        ("MIG-2222-b", ["MIG-2222-b"]),
        ("MIG-3333, MIG-1111-a", ["MIG-3333-c", "MIG-1111-a"]),
        ("MIG-9999", []),
    ],
)
def test_cuda_visible_devices_may_name_parts_of_a_gpu(gpus, visible, names):
    known = [*gpus, *environment.gpu_parts(gpus, MIG)]
    assert [gpu.cuda_name for gpu in environment.select_gpus(known, visible)] == names


def test_a_cpu_build_of_torch_sees_no_gpu(monkeypatch, gpus):
    monkeypatch.setattr(environment, "installed_gpus", lambda: gpus)
    monkeypatch.setattr(environment, "torch_cuda", lambda: None)
    assert environment.visible_gpus({}) == []
    monkeypatch.setattr(environment, "torch_cuda", lambda: "12.8")
    assert len(environment.visible_gpus({})) == 3
    assert environment.visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_nvidia_smi_is_asked_as_a_command(tmp_path: Path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f"#!/bin/sh\ncat <<'END'\n{SMI}END\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert len(environment.installed_gpus()) == 3
    fake.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert environment.installed_gpus() == []


@pytest.mark.parametrize(
    ("env", "network", "hub"),
    [
        ({}, True, True),
        ({"HF_HUB_OFFLINE": "1"}, True, False),
        ({"TRANSFORMERS_OFFLINE": "true"}, True, False),
        ({"ZEPHYRCTL_OFFLINE": "1"}, False, False),
        ({"ZEPHYRCTL_OFFLINE": "0", "HF_HUB_OFFLINE": "no"}, True, True),
    ],
)
def test_offline_switches(env, network, hub):
    assert environment.network_allowed(env) is network
    assert environment.hub_allowed(env) is hub


def test_folders_follow_their_variables():
    assert environment.cache_root({"ZEPHYRCTL_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert environment.cache_root({"XDG_CACHE_HOME": "/b"}) == Path("/b/zephyrctl")
    assert environment.cache_root({}) == Path.home() / ".cache/zephyrctl"
    assert environment.hub_cache({"HF_HOME": "/h"}) == Path("/h/hub")
    assert environment.hub_cache({"HF_HOME": "/h", "HF_HUB_CACHE": "/c"}) == Path("/c")


def test_free_disk_of_a_folder_that_does_not_exist_yet(tmp_path: Path):
    assert environment.free_disk(tmp_path / "a" / "b") > 0


def test_our_own_ranges_are_known_and_hold_for_what_is_installed():
    from packaging.specifiers import SpecifierSet

    ranges = environment.requirements()
    for name in ("torch", "transformers", "trl", "gguf"):
        version = environment.package_version(name)
        if version is not None:
            assert SpecifierSet(ranges[name]).contains(version, prereleases=True), name


def test_hardware_names_no_host_and_no_user(monkeypatch):
    monkeypatch.setenv("USER", "somebody-secret")
    assert "somebody-secret" not in str(environment.hardware())
    assert environment.hardware()["cpu_cores"] >= 1


def test_a_cache_that_cannot_be_written_is_a_problem_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentProblem, match="the cache cannot be written") as caught:
        environment.made_in_cache("data")
    assert caught.value.where == str(tmp_path / "file" / "cache" / "data")
    monkeypatch.setenv("ZEPHYRCTL_CACHE", str(tmp_path / "cache"))
    assert environment.made_in_cache("data").is_dir()
