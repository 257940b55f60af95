"""Which devices a run may use: what the driver names, what CUDA_VISIBLE_DEVICES shows, what a person asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admlops.core.errors import AdmlopsError, EnvError, UsageError
from admlops.health.devices import choose_devices, visible_devices
from admlops.health.gpus import detect_gpus
from admlops.health.machine import Gpus


def machine(*names: str, uuids: str = "GPU-{}", **more: Any) -> dict[str, Any]:
    devices = [
        {"index": index, "name": name, "memory_mb": 8e4, "uuid": uuids.format(f"{index}abc")}
        for index, name in enumerate(names)
    ]
    return {"cpu": "a processor", "gpus": {"driver": "570", "devices": devices, "problem": None, "lost": [], **more}}


H200 = "NVIDIA H200"
TWO = machine(H200, H200)
NONE = machine()


@pytest.fixture(autouse=True)
def plain_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "RUNPOD_POD_ID", "RUNPOD_GPU_COUNT"):
        monkeypatch.delenv(name, raising=False)


def ids(asked: str, there: dict[str, Any]) -> list[str]:
    return [device.id for device in choose_devices(asked, there)]


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [
        ("auto", NONE, ["cpu"]),
        ("auto", TWO, ["cuda:0", "cuda:1"]),
        ("all", TWO, ["cuda:0", "cuda:1"]),
        ("cuda", TWO, ["cuda:0", "cuda:1"]),
        ("cpu", TWO, ["cpu"]),
        ("CPU", NONE, ["cpu"]),
        ("cuda:1", TWO, ["cuda:1"]),
        ("cuda:1, cuda:0", TWO, ["cuda:1", "cuda:0"]),
        ("auto", machine(H200, "NVIDIA A100", H200), ["cuda:0", "cuda:2"]),
    ],
)
def test_what_is_asked_for_is_chosen(asked: str, there: dict[str, Any], expected: list[str]) -> None:
    assert ids(asked, there) == expected


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [
        ("banana", NONE, "there is no device 'banana' on this machine; it has cpu, and no GPU"),
        ("gpu", TWO, r"there is no device 'gpu' .* it has cuda:0 \(NVIDIA H200\), cuda:1 \(NVIDIA H200\), and cpu"),
        ("cuda:0", NONE, "there is no device 'cuda:0'"),
        ("cuda:7", TWO, "there is no device 'cuda:7'"),
        ("cuda:-1", TWO, "there is no device 'cuda:-1'"),
        ("cuda:01", TWO, "there is no device 'cuda:01'"),
        ("all", NONE, "there is no device 'all'"),
        ("", TWO, "there is no device ''"),
        ("cuda:0,", TWO, "there is no device ''"),
        ("cpu,cuda:0", TWO, "mixes devices"),
        ("cuda:0,cuda:0", TWO, "names cuda:0 twice"),
        ("all", machine(H200, "NVIDIA A100"), "belong to one model of GPU"),
    ],
)
def test_anything_else_is_refused_with_what_there_is(asked: str, there: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        choose_devices(asked, there)
    assert caught.value.exit_code == 2
    assert caught.value.hint


@given(asked=st.text(max_size=20))
def test_any_text_is_a_device_or_a_clear_error(asked: str) -> None:
    try:
        hint = "".join(device.id for device in choose_devices(asked, TWO))
    except AdmlopsError as error:
        hint = error.hint
    assert hint


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        ("", []),
        ("-1", []),
        ("1,-1,0", [1]),
        ("0,9,1", [0]),
        ("GPU-1abc", [1]),
        ("GPU-1", [1]),
        ("GPU-2abc,GPU-0abc", [2, 0]),
        ("0,0", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(visible: str | None, expected: list[int]) -> None:
    three = machine(H200, H200, H200)
    if visible == "0,0":
        with pytest.raises(UsageError, match="names no GPU of this machine"):
            visible_devices(three, visible)
        return
    found = visible_devices(three, visible)
    assert [device.uuid for device in found] == [f"GPU-{index}abc" for index in expected]
    assert [device.id for device in found] == [f"cuda:{place}" for place in range(len(expected))]
    for device in found:
        assert device.variables["CUDA_VISIBLE_DEVICES"] == ",".join(f"GPU-{index}abc" for index in expected)
        assert device.variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_hidden_gpu_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [device.uuid for device in choose_devices("auto", TWO)] == ["GPU-1abc"]
    with pytest.raises(UsageError, match="no device 'cuda:1'"):
        choose_devices("cuda:1", TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert ids("auto", TWO) == ["cpu"]
    with pytest.raises(UsageError, match="hides its GPUs"):
        choose_devices("cuda:0", TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES=7 names no GPU"):
        choose_devices("auto", TWO)
    assert ids("cpu", TWO) == ["cpu"]


def test_a_slice_is_all_that_its_worker_sees() -> None:
    slices = choose_devices("all", machine(f"{H200} MIG 1g.18gb", f"{H200} MIG 1g.18gb", uuids="MIG-{}"))
    assert [(one.id, one.id_in_worker) for one in slices] == [("cuda:0", "cuda:0"), ("cuda:1", "cuda:0")]
    assert [one.variables["CUDA_VISIBLE_DEVICES"] for one in slices] == ["MIG-0abc", "MIG-1abc"]


def test_a_rented_gpu_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "pod")
    monkeypatch.setenv("RUNPOD_GPU_COUNT", "1")
    with pytest.raises(UsageError, match="rented with 1 GPU"):
        choose_devices("auto", NONE)
    assert ids("cpu", NONE) == ["cpu"]


class Driver:
    """The driver's library where starting it fails, or some of its GPUs do not answer, or are divided."""

    class NVMLError(Exception):
        """NVML's own error."""

    def __init__(self, *, starts: str = "", lost: tuple[int, ...] = (), count: int = 2, slices: int = 0) -> None:
        self._starts, self._lost, self._count, self._slices = starts, lost, count, slices

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names
        if self._starts:
            raise self.NVMLError(self._starts)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self._count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index in self._lost:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return f"{H200} {handle}".encode()

    def nvmlDeviceGetMigMode(self, _: int) -> tuple[int, int]:  # noqa: N802
        return (1, 1) if self._slices else (0, 0)

    def nvmlDeviceGetMaxMigDeviceCount(self, _: int) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, index: int) -> int:  # noqa: N802
        if index >= self._slices:
            raise self.NVMLError("Not Found")
        return 10 * handle + index

    def nvmlDeviceGetMemoryInfo(self, _: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=8e10, used=0)


@pytest.mark.parametrize(
    "words", ["RM has detected an NVML/RM version mismatch.", "Unknown Error", "Insufficient Permissions"]
)
def test_a_driver_that_fails_is_an_error_and_not_no_gpu(words: str) -> None:
    with pytest.raises(EnvError, match=words) as caught:
        detect_gpus(Driver(starts=words))
    assert "--device cpu" in caught.value.hint
    there = {"cpu": "x", "gpus": Gpus(Driver(starts=words)).describe()}
    with pytest.raises(EnvError, match=words):
        choose_devices("auto", there)
    assert ids("cpu", there) == ["cpu"]


@pytest.mark.parametrize("words", ["NVML Shared Library Not Found", "Driver Not Loaded"])
def test_no_driver_is_no_gpu(words: str) -> None:
    assert detect_gpus(Driver(starts=words)) == ()


def test_a_lost_gpu_hides_no_other_and_is_said(caplog: pytest.LogCaptureFixture) -> None:
    found = detect_gpus(Driver(lost=(0,), count=3))
    assert [gpu.name for gpu in found] == [f"{H200} 1", f"{H200} 2"]
    assert "GPU 0: GPU is lost" in caplog.text
    described = Gpus(Driver(lost=(0,), count=3)).describe()
    assert described["lost"] == ["GPU 0: GPU is lost"]
    assert [device["index"] for device in described["devices"]] == [1, 2]
    with pytest.raises(EnvError, match="GPU is lost"):
        detect_gpus(Driver(lost=(0, 1)))


def test_the_slices_of_a_divided_gpu_are_devices() -> None:
    described = Gpus(Driver(count=1, slices=3)).describe()
    assert [device["name"] for device in described["devices"]] == [f"{H200} {number}" for number in range(3)]
