"""The TensorRT runtime, on stand-ins for `tensorrt` and `torch` that know only names which both 10.13 and 11.4 have."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.typed import Typed

from admlops.catalog.registries import RUNTIMES
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import find_layout
from admlops.deployment.engines import parse_engine
from admlops.health.gpus import Gpu
from admlops.pipeline import run_engine
from admlops.worker.runtimes import tensorrt as runtime
from admlops.worker.runtimes.base import ProviderError

SHAPE = (-1, 5, 4, 6)
PROFILE = {"channels": [[1, 5, 4, 6], [2, 5, 4, 6], [8, 5, 4, 6]]}


class Machine:
    """A GPU with TensorRT: `calls` are those of the library, `engine` what it deserialises from a plan."""

    def __init__(
        self, version: str = "10.13.3.9", gpu: str = "NVIDIA A10", capability: tuple[int, int] = (8, 6)
    ) -> None:
        self.version, self.gpu, self.capability = version, gpu, capability
        self.calls: list[tuple[Any, ...]] = []
        self.readable = True
        self.parses = True

    def called(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self.calls if call[0] == name]

    def note(self, name: str, result: Any = None) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.calls.append((name, *given, *named.values()))
            return result() if callable(result) else result

        return call

    def tensorrt(self) -> ModuleType:
        """The module: anything else of it is an AttributeError, as a name that one binding lacks would be."""
        trt = ModuleType("tensorrt")
        vars(trt).update(
            __version__=self.version,
            Logger=type("Logger", (), {"WARNING": 1, "__init__": lambda _self, _level: None}),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            BuilderFlag=SimpleNamespace(TF32="TF32"),
            MemoryPoolType=SimpleNamespace(WORKSPACE="WORKSPACE"),
            TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
            nptype=lambda _kind: np.float32,
            Builder=lambda _logger: self._builder(),
            OnnxParser=lambda _network, _logger: SimpleNamespace(
                parse_from_file=self.note("parse_from_file", lambda: self.parses),
                num_errors=1,
                get_error=lambda _index: "no importer for GridSampleX",
            ),
            Runtime=lambda _logger: SimpleNamespace(deserialize_cuda_engine=self._deserialize),
        )
        return trt

    def _builder(self) -> Any:
        channels = SimpleNamespace(name="channels", shape=SHAPE)
        network = SimpleNamespace(num_inputs=1, get_input=lambda _index: channels)
        config = SimpleNamespace(
            set_memory_pool_limit=self.note("set_memory_pool_limit"),
            set_flag=self.note("set_flag"),
            clear_flag=self.note("clear_flag"),
            add_optimization_profile=self.note("add_optimization_profile"),
            create_timing_cache=self.note("create_timing_cache", "timing"),
            set_timing_cache=self.note("set_timing_cache", True),
            get_timing_cache=lambda: SimpleNamespace(serialize=lambda: b"measured"),
        )
        return SimpleNamespace(
            create_network=self.note("create_network", network),
            create_builder_config=lambda: config,
            create_optimization_profile=lambda: SimpleNamespace(set_shape=self.note("set_shape")),
            build_serialized_network=self.note("build", lambda: f"plan of {self.gpu}".encode()),
        )

    def _deserialize(self, plan: bytes) -> Any:
        self.calls.append(("deserialize", plan))
        if not self.readable:
            self.readable = True  # of another version: the next one, built here, is read
            return None
        modes = {"channels": "in", "logits": "out"}
        addresses: dict[str, int] = {}
        shape: dict[str, tuple[int, ...]] = {}

        def execute(_stream: int) -> bool:
            batch = MEMORY[addresses["channels"]]
            MEMORY[addresses["logits"]][:] = batch.mean(axis=(2, 3))[:, :2]
            return True

        def set_input_shape(name: str, given: tuple[int, ...]) -> bool:
            shape[name] = given
            return bool(given[0] <= 8)

        context = SimpleNamespace(
            set_input_shape=set_input_shape,
            get_tensor_shape=lambda _name: (shape["channels"][0], 2),
            set_tensor_address=addresses.__setitem__,
            execute_async_v3=execute,
        )
        return SimpleNamespace(
            num_io_tensors=2,
            get_tensor_name=lambda index: list(modes)[index],
            get_tensor_mode=modes.__getitem__,
            get_tensor_dtype=lambda _name: "float",
            create_execution_context=lambda: context,
        )

    def torch(self) -> ModuleType:
        torch = ModuleType("torch")

        class Stream:
            cuda_stream = 7

            def __init__(self, _device: str) -> None: ...
            def synchronize(self) -> None: ...
            def __enter__(self) -> None: ...
            def __exit__(self, *_error: object) -> None: ...

        vars(torch).update(
            float32=np.float32,
            from_numpy=Tensor,
            empty=lambda shape, dtype, device: Tensor(np.empty(shape, dtype)),
            cuda=SimpleNamespace(
                Stream=Stream,
                stream=lambda stream: stream,
                set_device=self.note("set_device"),
                get_device_capability=lambda _device: self.capability,
                get_device_name=lambda _device: self.gpu,
            ),
        )
        return torch


MEMORY: dict[int, np.ndarray] = {}


class Tensor:
    """An array with an address."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        MEMORY[self.data_ptr()] = array

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def to(self, _device: str) -> Tensor:
        return self

    def contiguous(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self.array


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    def make(**options: Any) -> Machine:
        made = Machine(**options)
        monkeypatch.setitem(sys.modules, "tensorrt", made.tensorrt())
        monkeypatch.setitem(sys.modules, "torch", made.torch())
        return made

    return make


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "network.onnx"
    path.write_bytes(b"a network")
    return str(path)


def open_engine(file: str, tmp_path: Path, driver: str = "580.1", **build: Any) -> Any:
    engine = runtime.RUNTIME()
    engine.use_settings({"build": {"profile": PROFILE, **build}, "cache": str(tmp_path / "engines"), "driver": driver})
    return engine.open(file, device="cuda:0")


@pytest.mark.parametrize("version", ["10.13.3.9", "11.4.0.106"])
def test_an_engine_is_strongly_typed_built_once_and_runs(
    machine: Callable[..., Machine], file: str, tmp_path: Path, version: str
) -> None:
    here = machine(version=version)
    session = open_engine(file, tmp_path, workspace_bytes=1 << 28)
    assert here.called("create_network") == [(1 << 1,)]
    assert here.called("set_memory_pool_limit") == [("WORKSPACE", 1 << 28)]
    assert (here.called("set_flag"), here.called("clear_flag")) == ([("TF32",)], [])
    assert here.called("set_shape") == [("channels", (1, 5, 4, 6), (2, 5, 4, 6), (8, 5, 4, 6))]
    assert (session.inputs, session.outputs, session.provider) == (["channels"], ["logits"], "TensorRT")
    batch = np.random.default_rng(0).random((3, 5, 4, 6), dtype=np.float32)
    np.testing.assert_allclose(session.run({"channels": batch})["logits"], batch.mean(axis=(2, 3))[:, :2])
    with pytest.raises(RuntimeError, match="within its profile"):
        session.run({"channels": np.zeros((9, 5, 4, 6), np.float32)})
    open_engine(file, tmp_path, workspace_bytes=1 << 28)
    assert len(here.called("build")) == 1, "the kept one is read"
    assert here.called("create_timing_cache") == [(b"",)]
    open_engine(file, tmp_path, tf32=False)
    assert here.called("clear_flag") == [("TF32",)]
    assert here.called("create_timing_cache")[-1] == (b"measured",), "what was measured serves the next engine"


@pytest.mark.parametrize(
    ("change", "driver", "content", "build", "built"),
    [
        ({}, "580.1", b"a network", {}, 0),
        ({"gpu": "NVIDIA L4", "capability": (8, 9)}, "580.1", b"a network", {}, 1),
        ({"version": "11.4.0.106"}, "580.1", b"a network", {}, 1),
        ({}, "590.2", b"a network", {}, 1),
        ({}, "580.1", b"another network", {}, 1),
        ({}, "580.1", b"a network", {"workspace_bytes": 1 << 28}, 1),
        ({}, "580.1", b"a network", {"tf32": False}, 1),
        ({}, "580.1", b"a network", {"profile": {"channels": [[1, 5, 4, 6], [1, 5, 4, 6], [4, 5, 4, 6]]}}, 1),
    ],
)
def test_an_engine_serves_one_file_version_gpu_driver_and_settings(
    machine: Callable[..., Machine],
    file: str,
    tmp_path: Path,
    change: dict[str, Any],
    driver: str,
    content: bytes,
    build: dict[str, Any],
    built: int,
) -> None:
    machine()
    open_engine(file, tmp_path)
    Path(file).write_bytes(content)
    there = machine(**change)
    open_engine(file, tmp_path, driver, **build)
    assert len(there.called("build")) == built


def test_two_processes_at_once_build_one_engine(
    machine: Callable[..., Machine], file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine()
    own = runtime.build

    def build_slowly(*given: Any) -> bytes:
        time.sleep(0.1)
        return own(*given)

    monkeypatch.setattr(runtime, "build", build_slowly)
    with ThreadPoolExecutor(4) as pool:
        sessions = list(pool.map(lambda _: open_engine(file, tmp_path), range(4)))
    assert (len(sessions), len(here.called("build"))) == (4, 1)


def test_the_host_never_imports_tensorrt() -> None:
    """Without a GPU its libraries end the process that reads an engine, so a worker alone may hold them."""
    imports = re.compile(r"""(^\s*(from|import)\s+|import_module\(["'])tensorrt\b""", re.MULTILINE)
    runners = find_layout().root / "runners"
    found = {path.relative_to(runners).as_posix() for path in runners.rglob("*.py") if imports.search(path.read_text())}
    assert found == {"worker/runtimes/tensorrt.py"}


def test_an_engine_of_another_gpu_in_its_place_is_built_again_once(
    machine: Callable[..., Machine], file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = machine()
    open_engine(file, tmp_path)
    made_for = next((tmp_path / "engines").glob("*.json"))
    made_for.write_text(json.dumps({**json.loads(made_for.read_text()), "gpu": "NVIDIA H200"}))
    open_engine(file, tmp_path)
    assert len(here.called("build")) == 2
    assert "gpu NVIDIA H200 is NVIDIA A10 here; building it again" in capsys.readouterr().out
    here.readable = False
    open_engine(file, tmp_path)
    assert len(here.called("build")) == 3
    assert "TensorRT does not read it; building it again" in capsys.readouterr().out
    open_engine(file, tmp_path)
    assert len(here.called("build")) == 3
    made_for.unlink()
    open_engine(file, tmp_path)
    assert "nothing says what it was built for" in capsys.readouterr().out


def test_what_cannot_be_built_is_named_and_leaves_nothing(
    machine: Callable[..., Machine], file: str, tmp_path: Path
) -> None:
    here = machine()
    here.parses = False
    with pytest.raises(RuntimeError, match=r"does not parse .*: no importer for GridSampleX"):
        open_engine(file, tmp_path)
    here.parses = True
    with pytest.raises(RuntimeError, match="dynamic shape"):
        open_engine(file, tmp_path, profile={})
    with pytest.raises(RuntimeError, match="no input depth"):
        open_engine(file, tmp_path, profile={"depth": PROFILE["channels"]})
    with pytest.raises(RuntimeError, match="no setting fp16"):
        open_engine(file, tmp_path, fp16=True)
    assert list((tmp_path / "engines").glob("*.plan")) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpu": "Tesla V100", "capability": (7, 0)}, "Tesla V100 has compute capability 7.0.*--engine onnx"),
        ({"version": "10.4.0"}, "TensorRT 10.4.0 is older than 10.13"),
    ],
)
def test_a_gpu_or_a_version_without_kernels_is_refused(
    machine: Callable[..., Machine], file: str, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    here = machine(**options)
    with pytest.raises(ProviderError, match=words):
        open_engine(file, tmp_path)
    assert here.called("build") == []
    with pytest.raises(ProviderError, match="not on cpu"):
        runtime.RUNTIME().open(file, device="cpu")


@pytest.mark.parametrize(
    ("gpus", "words"),
    [
        ((), "needs an NVIDIA GPU, and none is visible"),
        ((("Tesla V100", (7, 0), "550.1"),), "Tesla V100 has compute capability 7.0, and TensorRT wants 7.5 or more"),
        ((("NVIDIA A10", (8, 6), "525.60"),), "driver is 525.60, and its packages want 535 or later"),
    ],
)
def test_the_host_refuses_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, typed: Typed, synthetic_root: Path, gpus: Any, words: str
) -> None:
    there = [
        Gpu(name=name, compute_capability=capability, driver=driver, memory_mb=None)
        for name, capability, driver in gpus
    ]
    monkeypatch.setattr(run_engine, "detect_gpus", lambda: there)
    for fetching in ("ensure_tool", "provide_packages", "site_packages"):
        monkeypatch.setattr(run_engine, fetching, lambda *_, **__: pytest.fail("something is fetched"))
    refused = typed("run", "CalibrationStatus", "--data", synthetic_root, "--engine", "tensorrt:fp16")
    assert (refused.code, words in refused.err) == (2, True), refused.err
    assert "→ the same command with --engine onnx" in refused.err


def test_packages_that_nobody_could_lock_are_refused_with_the_reason() -> None:
    with pytest.raises(EnvError, match="on NVIDIA's own index alone") as refused:
        run_engine._require_lock(find_layout(), RUNTIMES.get("tensorrt"), "cuda")
    assert "requirements.in" in refused.value.hint


def test_an_engine_of_a_file_is_written_with_its_runtime(tmp_path: Path, file: str) -> None:
    assert parse_engine(file).kind == "onnx"
    assert (parse_engine(f"tensorrt:{file}").kind, parse_engine(f"tensorrt:{file}").file) == ("tensorrt", Path(file))
    assert parse_engine("tensorrt:fp16").precision == "fp16"
    with pytest.raises(UsageError, match="no such file"):
        parse_engine("tensorrt:missing.onnx")


def test_a_built_engine_is_no_file_to_run(tmp_path: Path) -> None:
    """It serves the GPU, driver and TensorRT that built it: nobody can tell of a file which these were."""
    plan = tmp_path / "engine.plan"
    plan.write_bytes(b"an engine of another GPU")
    for asked in (str(plan), f"tensorrt:{plan}"):
        with pytest.raises(UsageError, match=r"engine\.plan"):
            parse_engine(asked)
