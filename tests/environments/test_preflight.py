"""Preflight: GPUs and drivers as NVML names them, disk, memory, C library; all before any download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from admlops.catalog import Model, load_model
from admlops.core.errors import EnvError, StorageError
from admlops.core.paths import Layout, find_layout
from admlops.environments.install import preflight as checks
from admlops.environments.install.preflight import choose_device, choose_variant, estimate_bytes, preflight
from admlops.environments.spec.requirements import read_lock
from admlops.health.disks import find_file_system
from admlops.health.gpus import Gpu, detect_gpus, lost_gpus, missing_gpu, runs_on

CUDA_12_8 = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
CUDA_11_1 = ("sm_37", "sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86")


class RecordedNvml:
    """The driver's library as the project asks it: answers recorded for cards that pods offer."""

    class NVMLError(Exception):
        """NVML's own error."""

    def __init__(self, *cards: dict[str, Any], driver: str = "550.54.15", loads: bool = True) -> None:
        self._cards, self._driver, self._loads = cards, driver, loads

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if not self._loads:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self._cards[index]

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self._driver

    def nvmlDeviceGetName(self, handle: dict[str, Any]) -> str:  # noqa: N802
        return str(handle["name"])

    def nvmlDeviceGetCudaComputeCapability(self, handle: dict[str, Any]) -> tuple[int, int]:  # noqa: N802
        if handle.get("capability") is None:
            raise self.NVMLError("Not Supported")
        major, minor = handle["capability"]
        return major, minor

    def nvmlDeviceGetMemoryInfo(self, _: dict[str, Any]) -> Any:  # noqa: N802
        raise self.NVMLError("Insufficient Permissions")  # what a MIG slice's parent answers


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What preflight asks of a spec."""

    name: str = "MapTR-modern"
    arch: tuple[str, ...] = CUDA_12_8
    driver: str | None = ">=525"


@dataclass(frozen=True, kw_only=True)
class Sized:
    """What preflight asks of a conda package."""

    size_bytes: int | None = 1000
    depends: Sequence[str] = ()


def gpu(name: str, capability: tuple[int, int] | None, driver: str = "550.54.15") -> Gpu:
    return Gpu(name=name, compute_capability=capability, driver=driver, memory_mb=80_000)


read_file_system = find_file_system
H200 = gpu("NVIDIA H200", (9, 0))
L40S = gpu("NVIDIA L40S", (8, 9))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(root=find_layout().root, repository=tmp_path / "repository", environments=tmp_path / "environments")


@pytest.fixture(autouse=True)
def local_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tests themselves lie has no say."""
    monkeypatch.setattr(checks, "find_file_system", lambda folder: "ext4")


@pytest.fixture
def maptr() -> Model:
    return load_model(find_layout(), "MapTR")


def check(layout: Layout, asked: Asked, gpus: Sequence[Gpu] = (), **options: Any) -> list[str]:
    said: list[str] = []
    options = {"device": "cuda", "bytes_needed": 1000, **options}
    preflight(layout, asked, gpus=gpus, say=said.append, **options)
    return said


def test_without_a_driver_there_are_no_gpus() -> None:
    assert detect_gpus(RecordedNvml(loads=False)) == ()


def test_names_capabilities_and_the_driver_come_from_nvml() -> None:
    found = detect_gpus(RecordedNvml({"name": "NVIDIA H200", "capability": (9, 0)}))
    assert found == (Gpu(name="NVIDIA H200", compute_capability=(9, 0), driver="550.54.15", memory_mb=None),)
    assert found[0].arch == "sm_90"


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 2g.48gb", "sm_120"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "sm_90"),
        ("NVIDIA L40S", "sm_89"),
        ("NVIDIA L4", "sm_89"),
        ("NVIDIA RTX A5000", "sm_86"),
        ("NVIDIA RTX 4000 Ada Generation", "sm_89"),
        ("NVIDIA A100-SXM4-80GB", "sm_80"),
        ("NVIDIA GeForce RTX 5090", "sm_120"),
        ("Tesla V100-SXM2-32GB", "sm_70"),
        ("NVIDIA Something New", "sm_?"),
    ],
)
def test_a_slice_that_does_not_say_what_it_computes_is_known_by_name(name: str, arch: str) -> None:
    assert detect_gpus(RecordedNvml({"name": name, "capability": None}))[0].arch == arch


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (("sm_86",), (8, 9), True),
        (("sm_80",), (8, 6), True),
        (("sm_86",), (8, 0), False),
        (CUDA_11_1, (8, 9), True),
        (CUDA_11_1, (9, 0), False),
        (CUDA_12_8, (10, 3), True),
        (CUDA_12_8, (12, 0), True),
        (CUDA_12_8, (6, 1), False),
        (("sm_90a",), (9, 0), True),
        (("sm_100a",), (10, 3), False),
        (("sm_100f",), (10, 3), True),
        (("compute_86",), (12, 0), True),
        (("compute_90",), (8, 9), False),
        ((), (9, 0), True),
    ],
)
def test_binary_compatibility(archs: tuple[str, ...], capability: tuple[int, int], runs: bool) -> None:
    assert runs_on(archs, gpu("one", capability)) is runs


@pytest.mark.parametrize(
    ("gpus", "variant"),
    [
        ((), "modern"),
        ((H200,), "modern"),
        ((L40S, L40S), "modern"),
        ((gpu("NVIDIA B200", (10, 0)),), "modern"),
        ((gpu("Tesla P100-PCIE-16GB", (6, 0)),), "classic"),
        ((gpu("a slice", None),), "modern"),
    ],
)
def test_the_gpu_chooses_the_variant(maptr: Model, gpus: tuple[Gpu, ...], variant: str) -> None:
    assert choose_variant(maptr, gpus) == variant


def test_no_variant_for_these_gpus_names_gpus_variants_and_architectures(maptr: Model) -> None:
    with pytest.raises(EnvError) as caught:
        choose_variant(maptr, (gpu("Tesla P100-PCIE-16GB", (6, 0)), H200))
    said = str(caught.value)
    for part in ("Tesla P100-PCIE-16GB (sm_60)", "NVIDIA H200 (sm_90)", "classic: sm_37", "modern: sm_70", "→ admlops"):
        assert part in said


def test_kernels_for_another_gpu_are_refused_with_the_variant_that_fits(layout: Layout, maptr: Model) -> None:
    classic = Asked(name="MapTR-classic", arch=CUDA_11_1, driver=None)
    with pytest.raises(EnvError) as caught:
        check(layout, classic, [H200], model=maptr)
    assert "NVIDIA H200 is sm_90" in caught.value.message
    assert "modern: sm_70" in caught.value.message
    assert caught.value.hint == "admlops env install MapTR --variant modern"
    assert check(layout, classic, [L40S], model=maptr) == []
    assert check(layout, classic, [H200], device="cpu") == [], "the CPU's environment asks nothing of the GPU"


def test_an_old_driver_is_refused(layout: Layout) -> None:
    with pytest.raises(EnvError, match=r"needs an NVIDIA driver >=525; this machine has 470\.57\.02"):
        check(layout, Asked(), [gpu("NVIDIA A40", (8, 6), driver="470.57.02")])
    assert check(layout, Asked(), [gpu("NVIDIA A40", (8, 6), driver="525.60.13")]) == []


def test_cuda_without_a_gpu_is_said(layout: Layout) -> None:
    assert "no GPU here" in check(layout, Asked())[0]


def test_a_pod_that_lost_its_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_POD_ID", raising=False)
    assert choose_device(()) == "cpu"
    assert choose_device((H200,)) == "cuda"
    monkeypatch.setenv("RUNPOD_POD_ID", "abc")
    monkeypatch.setenv("RUNPOD_GPU_COUNT", "2")
    with pytest.raises(EnvError, match="rented with 2 GPUs, but its driver shows none"):
        choose_device(())
    monkeypatch.setenv("RUNPOD_GPU_COUNT", "0")
    assert choose_device(()) == "cpu"


class FailingNvml(RecordedNvml):
    """A driver that is there and does not work."""

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        raise self.NVMLError("Driver/library version mismatch")


class LosingNvml(RecordedNvml):
    """A driver that counts a GPU which does not answer."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        if index == 1:
            raise self.NVMLError("GPU is lost")
        return super().nvmlDeviceGetHandleByIndex(index)


def test_a_driver_that_fails_is_no_machine_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_POD_ID", raising=False)
    assert missing_gpu(RecordedNvml(loads=False)) is None
    reason = missing_gpu(FailingNvml())
    assert reason == "this machine has an NVIDIA driver, but it does not answer: Driver/library version mismatch"
    monkeypatch.setattr(checks, "missing_gpu", lambda: reason)
    with pytest.raises(EnvError, match="it fails: Driver/library version mismatch") as caught:
        choose_device(detect_gpus(FailingNvml()))
    assert "--device cpu" in caught.value.hint


def test_a_lost_gpu_hides_no_other_and_is_said(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = LosingNvml(*({"name": "NVIDIA H200", "capability": (9, 0)} for _ in range(4)))
    assert len(detect_gpus(nvml)) == 3
    lost = lost_gpus(nvml)
    assert lost == "1 of this machine's GPUs does not answer: GPU 1 (GPU is lost)"
    monkeypatch.setattr(checks, "detect_gpus", lambda: detect_gpus(nvml))
    monkeypatch.setattr(checks, "lost_gpus", lambda: lost)
    said: list[str] = []
    preflight(layout, Asked(), device="cuda", bytes_needed=1000, say=said.append)
    assert said == [f"{lost}; the others are used"]


def test_a_full_disk_is_refused(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"GB free; this needs about 1000000000\.5 GB"):
        check(layout, Asked(), [H200], bytes_needed=10**18)
    packages = [Sized(size_bytes=10**17)]
    assert check(layout, Asked(), [H200], packages=packages) == []
    with pytest.raises(StorageError, match="this needs about 100000000"):
        check(layout, Asked(), [H200], packages=packages, cache=tmp_path / "cache")


@pytest.mark.parametrize("kind", ["nfs4", "fuse.s3fs"])
def test_a_network_disk_is_said(layout: Layout, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(checks, "find_file_system", lambda folder: kind)
    (said,) = check(layout, Asked(), [H200])
    assert f"is on a network disk ({kind})" in said
    assert "ADMLOPS_ENVIRONMENTS=" in said


def test_the_file_system_of_a_folder_is_read_from_the_kernel() -> None:
    assert read_file_system(Path("/proc/self")) == "proc"


def test_too_little_memory_to_compile_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "COMPILE_BYTES", 10**15)
    with pytest.raises(EnvError, match=r"GB of memory are free; compiling mmcv-full takes"):
        check(layout, Asked(), [H200], compiles=["mmcv-full"])
    assert check(layout, Asked(), [H200]) == []


def test_a_newer_c_library_is_asked_for(layout: Layout) -> None:
    packages = [Sized(depends=["__glibc >=2.17,<3.0.a0", "python"]), Sized(depends=["__glibc >=9.9,<10"])]
    with pytest.raises(EnvError, match=r"needs glibc 9\.9 or newer; this system has 2\."):
        check(layout, Asked(), [H200], packages=packages)
    assert check(layout, Asked(), [H200]) == []


def test_the_estimate_knows_large_packages() -> None:
    lock = read_lock(find_layout().root / "envs" / "GroundPlane" / "modern" / "requirements.txt")
    assert estimate_bytes([], lock, device=None) > 216e6, "GroundPlane's environment was seen to take 216 MB"
    cuda = [replace(lock[0], requirement=Requirement(f"{name}==1")) for name in ("torch", "nvidia-nccl-cu12")]
    assert estimate_bytes([Sized(size_bytes=10**9)], cuda, device="cuda") > 6e9
