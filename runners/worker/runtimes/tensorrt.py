"""TensorRT: builds an engine of an ONNX file on the GPU that runs it, and keeps it for later.

The network is strongly typed: the file's own types decide the arithmetic, because TensorRT 11 has no flags for it. The
names used here are those that the Python bindings of 10.13 and of 11.4 both have.

An engine is a cache entry and no artifact: it serves one file, one version of TensorRT, one GPU, one driver and one set
of settings, and its key is the hash of all of them. What does not fit any more is built again, once.

PyTorch, which the model's environment has, gives the memory and the stream.
"""

import fcntl
import hashlib
import json
import os
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from .base import ProviderError, Runtime, Session

OLDEST = (10, 13)
CAPABILITY = (7, 5)
"""TensorRT 10.5 and later have no kernels for Volta (release notes 10.5.0); 11 wants Turing as well."""
WORKSPACE_BYTES = 1 << 30
SETTINGS = {"workspace_bytes": WORKSPACE_BYTES, "profile": {}, "tf32": True}
"""What an engine is built by, where the host says nothing else."""


class TensorRTSession(Session):
    """An engine with its context; arrays are copied to the GPU and back within `run`."""

    provider = "TensorRT"

    def __init__(self, trt: Any, engine: Any, device: str) -> None:
        self._trt, self._engine, self._device = trt, engine, device
        self._torch = import_module("torch")
        self._context = engine.create_execution_context()
        if self._context is None:
            raise RuntimeError("TensorRT made no context of the engine: its log says why, often too little memory")
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = {name: engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = [name for name in names if is_input[name]]
        self.outputs = [name for name in names if not is_input[name]]
        self._stream = self._torch.cuda.Stream(device)

    def run(self, feed: Mapping[str, Any]) -> Dict[str, Any]:
        """Copy in, execute, copy out; everything is done when it returns."""
        torch, context = self._torch, self._context
        held: Dict[str, Any] = {}
        with torch.cuda.stream(self._stream):
            for name in self.inputs:
                held[name] = torch.from_numpy(feed[name]).to(self._device).contiguous()
                if not context.set_input_shape(name, tuple(feed[name].shape)):
                    raise RuntimeError(
                        "the engine takes no {} of shape {}: pass shapes within its profile".format(
                            name, tuple(feed[name].shape)
                        )
                    )
            for name in self.outputs:
                shape = tuple(context.get_tensor_shape(name))
                kind = _torch_type(torch, self._trt, self._engine.get_tensor_dtype(name))
                held[name] = torch.empty(shape, dtype=kind, device=self._device)
            for name, tensor in held.items():
                context.set_tensor_address(name, tensor.data_ptr())
            if not context.execute_async_v3(self._stream.cuda_stream):
                raise RuntimeError("TensorRT did not execute the engine: its log says why")
            found = {name: held[name].cpu().numpy() for name in self.outputs}
        self._stream.synchronize()
        return found


class TensorRT(Runtime):
    """TensorRT as it lies in the environment, or in a folder behind it."""

    name = "tensorrt"

    def __init__(self) -> None:
        self._settings: Dict[str, Any] = dict(SETTINGS)
        self._cache = ""
        self._driver = ""

    def use_settings(self, settings: Mapping[str, Any]) -> None:
        """Take what the host says: `build` (see SETTINGS), `cache` (a folder), `driver` (its version)."""
        build = dict(settings.get("build") or {})
        unknown = sorted(set(build) - set(SETTINGS))
        if unknown:
            raise RuntimeError("TensorRT knows no setting {}; it knows {}".format(unknown[0], ", ".join(SETTINGS)))
        self._settings = {**SETTINGS, **build}
        self._cache = str(settings.get("cache") or "")
        self._driver = str(settings.get("driver") or "")

    def open(self, path: str, *, device: str) -> Session:
        """Open the engine of an ONNX file: the kept one, or one that is built now.

        Raises:
            ProviderError: the device is no GPU, its capability is too small, or TensorRT is too old.
            RuntimeError: the file does not parse, or no engine can be built or read.
        """
        require_gpu(device)
        trt, torch = import_module("tensorrt"), import_module("torch")
        capability = tuple(torch.cuda.get_device_capability(device))
        name = str(torch.cuda.get_device_name(device))
        require_version(str(trt.__version__))
        require_capability(name, capability)
        torch.cuda.set_device(device)
        identity = {
            "onnx_sha256": _sha256(path),
            "tensorrt": str(trt.__version__),
            "gpu": name,
            "capability": list(capability),
            "driver": self._driver,
            "settings": self._settings,
        }
        logger = trt.Logger(trt.Logger.WARNING)
        with _locked(self._cache, engine_key(identity)) as place:
            engine = self._read(trt, logger, place, identity)
            if engine is None:
                plan = build(trt, logger, path, self._settings, _timing_file(self._cache, identity))
                engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
                if engine is None:
                    raise RuntimeError("TensorRT does not read the engine that it built just now: its log says why")
                _keep(place, plan, identity)
        return TensorRTSession(trt, engine, device)

    def _read(self, trt: Any, logger: Any, place: Optional[str], identity: Mapping[str, Any]) -> Any:
        """Return the kept engine, None where there is none, or one of another GPU or version: it is built again."""
        if place is None or not os.path.isfile(place + ".plan"):
            return None
        try:
            with open(place + ".json", encoding="utf-8") as file:
                made_for = json.load(file)
        except (OSError, ValueError):
            made_for = None
        other = None if made_for == identity else describe_difference(made_for, identity)
        if other is None:
            with open(place + ".plan", "rb") as file:
                engine = trt.Runtime(logger).deserialize_cuda_engine(file.read())
            if engine is not None:
                return engine
            other = "TensorRT does not read it"
        print("the kept engine {}.plan is not this one: {}; building it again".format(place, other), flush=True)
        return None


def build(trt: Any, logger: Any, path: str, settings: Mapping[str, Any], timing: Optional[str]) -> bytes:
    """Return the engine of an ONNX file, strongly typed; `timing` is a file with measured kernels, read and written.

    Raises:
        RuntimeError: the parser names an operator that it does not take, or the builder finds no engine.
    """
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        errors = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise RuntimeError("TensorRT does not parse {}: {}".format(path, "; ".join(errors[:3]) or "no reason given"))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(settings["workspace_bytes"]))
    (config.set_flag if settings["tf32"] else config.clear_flag)(trt.BuilderFlag.TF32)
    config.add_optimization_profile(_profile(builder, network, settings["profile"]))
    config.set_timing_cache(config.create_timing_cache(_content(timing)), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT builds no engine of {}: its log names the layer".format(path))
    if timing is not None:
        _write(timing, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _profile(builder: Any, network: Any, shapes: Mapping[str, Sequence[Sequence[int]]]) -> Any:
    """The least, usual and largest shape of every input; fixed shapes need not be named."""
    profile = builder.create_optimization_profile()
    there = [network.get_input(index) for index in range(network.num_inputs)]
    unknown = sorted(set(shapes) - {one.name for one in there})
    if unknown:
        raise RuntimeError(
            "the file has no input {}; it has {}".format(unknown[0], ", ".join(one.name for one in there))
        )
    for tensor in there:
        shape = tuple(tensor.shape)
        if tensor.name in shapes:
            least, usual, largest = (tuple(one) for one in shapes[tensor.name])
        elif min(shape, default=1) < 0:
            raise RuntimeError(
                "the input {} has the dynamic shape {}: an engine needs the least, usual and largest one".format(
                    tensor.name, shape
                )
            )
        else:
            least = usual = largest = shape
        if profile.set_shape(tensor.name, least, usual, largest) is False:
            raise RuntimeError("TensorRT takes no profile {} of {}".format((least, usual, largest), tensor.name))
    return profile


def require_gpu(device: str) -> None:
    """Raise ProviderError for a device that is no GPU."""
    if not device.startswith("cuda"):
        raise ProviderError("TensorRT runs on NVIDIA GPUs, not on {}: nothing ran".format(device))


def require_version(version: str) -> None:
    """Raise ProviderError for a TensorRT before OLDEST."""
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST:
        raise ProviderError("TensorRT {} is older than {}.{}: nothing ran".format(version, *OLDEST))


def require_capability(name: str, capability: Tuple[int, ...]) -> None:
    """Raise ProviderError for a GPU that this TensorRT has no kernels for."""
    if capability < CAPABILITY:
        raise ProviderError(
            "{} has compute capability {}.{}, and TensorRT wants {}.{} or more: run with --engine onnx".format(
                name, *(*capability, *CAPABILITY)
            )
        )


def engine_key(identity: Mapping[str, Any]) -> str:
    """Return the key of an engine: the hash of all that decides it."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def describe_difference(before: Any, now: Mapping[str, Any]) -> str:
    """Return what an engine was built for that is another thing here."""
    if not isinstance(before, dict):
        return "nothing says what it was built for"
    names: List[str] = [name for name in now if before.get(name) != now[name]]
    return ", ".join("{} {} is {} here".format(name, before.get(name), now[name]) for name in names)


@contextmanager
def _locked(cache: str, key: str) -> Iterator[Optional[str]]:
    """Give the place of an engine, without its endings, to one process at a time; None where nothing is kept."""
    if not cache:
        yield None
        return
    os.makedirs(cache, exist_ok=True)
    place = os.path.join(cache, key)
    with open(place + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place


def _timing_file(cache: str, identity: Mapping[str, Any]) -> Optional[str]:
    """A timing cache serves one GPU, driver and TensorRT, whatever the network."""
    if not cache:
        return None
    own = {name: identity[name] for name in ("tensorrt", "gpu", "capability", "driver")}
    return os.path.join(cache, "timing-{}.cache".format(engine_key(own)))


def _keep(place: Optional[str], plan: bytes, identity: Mapping[str, Any]) -> None:
    """Keep an engine; what it was built for comes last, so that half an engine is none."""
    if place is None:
        return
    if os.path.exists(place + ".json"):
        os.unlink(place + ".json")
    _write(place + ".plan", plan)
    _write(place + ".json", json.dumps(identity, sort_keys=True, indent=1).encode())


def _content(path: Optional[str]) -> bytes:
    if path is None or not os.path.isfile(path):
        return b""
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    with open(path + ".partial", "wb") as file:
        file.write(content)
    os.replace(path + ".partial", path)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _torch_type(torch: Any, trt: Any, kind: Any) -> Any:
    """PyTorch's type of a TensorRT one, by NumPy's name of it, which both know."""
    return getattr(torch, import_module("numpy").dtype(trt.nptype(kind)).name)


RUNTIME = TensorRT
