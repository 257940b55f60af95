"""Runtimes are loaded by file, and torch's asks nothing of a model that does not use torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.execution.execution_bench import Bench
from tests.interpreters import INTERPRETERS

import worker
from admlops.catalog.registries import RUNTIMES
from admlops.execution.process_cleanup import end_processes
from worker.measure import Step, run_sample
from worker.runtimes.base import Runtime, load_runtime
from worker.runtimes.onnxruntime import count_threads
from worker.samples.form import make_paths_absolute, make_paths_relative

OWN = """
from worker.runtimes.base import Runtime

class Own(Runtime):
    name = "own"
    def use_device(self, device): print("using", device)
    def peak_mb(self): return 12.5
    def device_name(self, device): return "a device of my own"

RUNTIME = Own
"""


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A pretended torch with CUDA; the calls that it got."""
    calls: dict[str, Any] = {}
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_initialized=lambda: True,
        set_device=lambda device: calls.update(device=device),
        synchronize=lambda: calls.update(synchronized=calls.get("synchronized", 0) + 1),
        max_memory_reserved=lambda: 4_000_000,
        reset_peak_memory_stats=lambda: calls.update(reset=True),
        max_memory_allocated=lambda: 2_500_000,
        get_device_name=lambda device: f"GPU {device}",
        get_device_properties=lambda _device: SimpleNamespace(total_memory=1e10),
        set_per_process_memory_fraction=lambda share, device: calls.update(limit=(share, device)),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    return calls


def test_torch_speaks_of_its_current_device(cuda: dict[str, Any]) -> None:
    runtime = load_runtime(None)
    assert runtime.name == "torch"
    runtime.use_device("cuda:0")
    assert "device" not in cuda, "the first one is torch's own choice"
    runtime.use_device("cuda:1")
    assert cuda["device"] == "cuda:1"
    runtime.limit_memory("cuda:1", 5000)
    assert cuda["limit"] == (0.5, "cuda:1")
    runtime.reset_peak()
    assert (runtime.peak_mb(), runtime.device_name("cuda:1"), cuda["reset"]) == (2.5, "GPU cuda:1", True)
    assert runtime.reserved_peak_mb() == 4.0


@pytest.mark.parametrize(
    ("said", "threads"),
    [("", 0), ("3", 3), ("2,1", 2), (" 4 , 2 ", 4), ("many", 0), ("-1", 0), (",2", 0), ("²", 0)],
)
def test_onnx_runtime_has_as_many_threads_as_openmp_would(said: str, threads: int) -> None:
    assert count_threads(said) == threads


def test_a_model_without_torch_has_no_peak_and_its_device_as_it_was_asked_for() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(worker.__file__).parents[1])!r})\n"
        "from worker.runtimes.base import load_runtime\n"
        "runtime = load_runtime(None)\n"
        "runtime.use_device('cuda:1'); runtime.limit_memory('cuda:1', 5.0)\n"
        "runtime.reset_peak(); runtime.synchronize()\n"
        "assert (runtime.peak_mb(), runtime.device_name('cuda:1')) == (None, 'cuda:1')\n"
        "assert 'torch' not in sys.modules\n"
    )
    for python in INTERPRETERS:
        subprocess.run([str(python.values[0]), "-c", code], check=True)


def test_a_runtime_of_an_extension_is_loaded_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    bench = Bench(tmp_path)
    bench.shape = {"a": 1}
    assert bench.go(runtime={"id": "own", "file": str(file)}).ok == 1
    end_processes(frozenset(event["mark"] for event in bench.events("worker_started")))
    assert bench.events("worker_ready")[0]["device_name"] == "a device of my own"
    assert bench.records()[0].metadata.gpu_memory_used == 12.5
    assert "using cpu" in bench.log()


@pytest.mark.parametrize("content", [None, "RUNTIME = 1 +", "x = 1"])
def test_a_runtime_that_cannot_be_loaded_stops_the_run_and_names_the_file(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "own.py"
    if content is not None:
        file.write_text(content)
    bench = Bench(tmp_path)
    summary = bench.go(runtime={"id": "own", "file": str(file)})
    assert bench.failures() == [("model", "stop")]
    assert summary.stopped_by
    assert "own.py" in summary.stopped_by.message


def test_the_host_names_the_file_of_torchs() -> None:
    assert RUNTIMES.ids()[0] == "torch"
    described = RUNTIMES.get("torch")
    assert load_runtime({"id": described.id, "file": str(described.file)}).name == "torch"


def test_our_own_runtimes_load_from_another_copy_of_the_package(tmp_path: Path) -> None:
    """An installed host names its own file; the worker is the checkout's."""
    file = tmp_path / "torch.py"
    file.write_bytes(RUNTIMES.get("torch").file.read_bytes())
    loaded = load_runtime({"id": "torch", "file": str(file)})
    assert loaded.name == "torch"
    assert isinstance(loaded, Runtime)


def test_a_sample_waits_for_the_device_on_both_sides_of_the_call() -> None:
    order: list[str] = []

    class Ordered(Runtime):
        def synchronize(self) -> None:
            order.append("synchronize")

    adapter: Any = SimpleNamespace(
        prepare=lambda sample: order.append("prepare"),
        synchronize=lambda: None,
        forward=lambda inputs: order.append("forward"),
        convert=lambda raw, sample: {},
    )
    run_sample(adapter, {"sample_token": "t"}, Step(), Ordered())
    assert order == ["prepare", "synchronize", "forward", "synchronize"]


def test_paths_travel_relative_to_the_data_set() -> None:
    sample = {
        "sample_token": "t",
        "cameras": {"CAM_FRONT": {"path": "/data/one/samples/a.jpg", "intrinsic": [[1.0], [2.0]]}},
        "lidar": {"path": "/elsewhere/b.bin"},
        "context": {"camera_sweeps": {"CAM_FRONT": [{"path": "/data/one/sweeps/c.jpg"}]}, "lidar_sweeps": []},
    }
    sent = make_paths_relative(sample, "/data/one")
    assert sent["cameras"]["CAM_FRONT"]["path"] == "samples/a.jpg"
    assert sent["context"]["camera_sweeps"]["CAM_FRONT"][0]["path"] == "sweeps/c.jpg"
    assert sent["lidar"]["path"] == "/elsewhere/b.bin", "a path outside stays as it is"
    moved = make_paths_absolute(sent, "/mnt/two")
    assert moved["cameras"]["CAM_FRONT"]["path"] == "/mnt/two/samples/a.jpg"
    assert make_paths_absolute(sent, "/data/one") == sample
    assert sample["cameras"]["CAM_FRONT"]["path"] == "/data/one/samples/a.jpg"  # type: ignore[index]  # untouched
