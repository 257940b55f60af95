"""Makes ONNX files with one thing wrong each and says what `worker.onnx_file` makes of them; runs in tools/onnx.

Usage: onnx_checks.py RUNNERS_FOLDER OUT_FOLDER. Prints JSON: case → the error's text, or the verdict.
"""

import json
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from worker.adapter import Adapter
from worker.engine import EngineAdapter
from worker.network import Network, TensorSpec
from worker.onnx_file import FileError, check_file, float64_to_float32, save, slim
from worker.runtimes.base import load_runtime

IN = (TensorSpec("image", "float32", ("batch", 4)), TensorSpec("lidar2img", "float32", (4, 4)))
OUT = (TensorSpec("found", "float32", ("batch", 4)),)


def value(name: str, kind: int, shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(*, nodes: Any = None, inputs: Any = None, initializers: Any = (), opset: int = 17, domains: Any = ()) -> Any:
    nodes = nodes or [helper.make_node("MatMul", ["image", "lidar2img"], ["found"])]
    inputs = inputs or [value("image", TensorProto.FLOAT, ["batch", 4]), value("lidar2img", TensorProto.FLOAT, [4, 4])]
    graph = helper.make_graph(nodes, "g", inputs, [value("found", TensorProto.FLOAT, ["batch", 4])], initializers)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def said(made: Any) -> Any:
    try:
        return check_file(made, inputs=IN, outputs=OUT, opset=17)
    except FileError as error:
        return str(error)


def constant(array: Any, name: str = "rig") -> Any:
    return numpy_helper.from_array(array, name)


def baked_in() -> Any:
    """The rig is a constant: what a trace leaves of a matrix that was no input."""
    nodes = [helper.make_node("MatMul", ["image", "rig"], ["found"])]
    inputs = [value("image", TensorProto.FLOAT, ["batch", 4])]
    return model(nodes=nodes, inputs=inputs, initializers=[constant(np.eye(4, dtype=np.float32))])


def unused() -> Any:
    """The rig is an input, and nothing depends on it."""
    return model(
        nodes=[helper.make_node("MatMul", ["image", "rig"], ["found"])],
        initializers=[constant(np.eye(4, dtype=np.float32))],
    )


def with_float64(array: Any) -> Any:
    """A float64 constant that is cast to float32 where it is used."""
    nodes = [
        helper.make_node("Cast", ["rig"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["lidar2img", "single"], ["turned"]),
        helper.make_node("MatMul", ["image", "turned"], ["found"]),
    ]
    return model(nodes=nodes, initializers=[constant(array)])


def custom() -> Any:
    return model(
        nodes=[helper.make_node("BevPool", ["image", "lidar2img"], ["found"], domain="autoware")], domains=["autoware"]
    )


def slimmed(folder: Path) -> str:
    """A file with an Identity that can go: the outputs stay as they are, to the bit."""
    nodes = [
        helper.make_node("Identity", ["image"], ["same"]),
        helper.make_node("MatMul", ["same", "lidar2img"], ["found"]),
    ]
    made, file = model(nodes=nodes), str(folder / "slim.onnx")
    save(made, file)
    runtime = load_runtime({"id": "onnxruntime", "file": str(Path(sys.argv[1]) / "worker/runtimes/onnxruntime.py")})
    example = {
        "image": np.arange(8, dtype=np.float32).reshape(2, 4),
        "lidar2img": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32),
    }
    before = runtime.open(file, device="cpu").run(example)
    return slim(made, example, before, runtime.open, folder=str(folder))[1]


def no_gpu(folder: Path) -> str:
    """What a session says that was asked for a GPU and has a CPU's package."""
    file = str(folder / "gpu.onnx")
    save(model(), file)
    runtime = load_runtime({"id": "onnxruntime", "file": str(Path(sys.argv[1]) / "worker/runtimes/onnxruntime.py")})
    try:
        runtime.open(file, device="cuda:0")
    except RuntimeError as error:
        return str(error)
    return "it opened"


class Sum(Network):
    """Adds what comes to what came before in the scene."""

    carried = MappingProxyType({"total": "before"})

    def inputs(self) -> Any:
        return (TensorSpec("new", "float32", (2,)), TensorSpec("before", "float32", (2,)))

    def outputs(self) -> Any:
        return (TensorSpec("total", "float32", (2,)),)

    def feeds(self, inputs: Any) -> Any:
        return [{"new": part} for part in inputs]

    def decode(self, calls: Any, inputs: Any) -> Any:
        return [call["total"].tolist() for call in calls]


class Numbers(Adapter):
    """Samples are lists of arrays, and each array is a call."""

    name = "Numbers"

    def convert(self, raw: Any, sample: Any) -> Any:
        return {"totals": raw}


def carried(folder: Path) -> Any:
    """The outputs of two samples of one scene, the second of two calls; then of another scene; then a wrong shape."""
    file = str(folder / "sum.onnx")
    graph = helper.make_graph(
        [helper.make_node("Add", ["new", "before"], ["total"])],
        "sum",
        [value("new", TensorProto.FLOAT, [2]), value("before", TensorProto.FLOAT, [2])],
        [value("total", TensorProto.FLOAT, [2])],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    runtime = load_runtime({"id": "onnxruntime", "file": str(Path(sys.argv[1]) / "worker/runtimes/onnxruntime.py")})
    adapter = Numbers()

    def open_engine() -> EngineAdapter:
        return EngineAdapter(adapter, Sum(adapter), runtime.open(file, device="cpu"))

    def run(engine: EngineAdapter, *rows: Any) -> Any:
        sample: Any = [np.array(row, np.float32) for row in rows]
        return engine.convert(engine.forward(engine.prepare(sample)), sample)["totals"]

    engine = open_engine()
    engine.start_scene("a")
    first = [run(engine, [1, 2]), run(engine, [10, 20], [100, 200])]
    engine.start_scene("b")
    second = run(engine, [5, 5])
    failed = ""
    other = open_engine()
    other.start_scene("c")
    try:
        wrong = run(other, [0, 0, 0])
    except ValueError as error:
        wrong = str(error)
    try:
        run(engine, [0, 0, 0])
    except Exception as error:  # noqa: BLE001  ONNX Runtime raises classes of its own
        failed = type(error).__name__
    after = [failed, run(engine, [7, 7])]
    return {"after a failure": after, "scene a": first, "scene b": second, "wrong": wrong}


def main() -> None:
    folder = Path(sys.argv[2])
    rounded = with_float64(np.eye(4))
    found: dict[str, Any] = {
        "right": said(model()),
        "opset": said(model(opset=18)),
        "baked in": said(baked_in()),
        "unused": said(unused()),
        "float64": said(with_float64(np.eye(4))),
        "rounded": [float64_to_float32(rounded), said(rounded)],
        "custom": said(custom()),
        "slimmed": slimmed(folder),
        "no gpu": no_gpu(folder),
        "carried": carried(folder),
    }
    try:
        float64_to_float32(with_float64(np.full((4, 4), 1e300)))
    except FileError as error:
        found["too large"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
