"""Checking, mending and slimming an ONNX file: what must hold before anybody relies on it."""

import os
from importlib import import_module
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Set, Tuple

from .network import TensorSpec

DOMAINS = ("", "ai.onnx")
"""The domains of the standard's own operators."""


class FileError(ValueError):
    """An exported file is not what was asked for. The text names the input, the operator or the number.

    `fault` is a word for what is wrong, for programs: checker, opset, operator, baked_in, names, float64, precision.
    """

    def __init__(self, text: str, *, fault: str = "file") -> None:
        super().__init__(text)
        self.fault = fault


def check_file(
    model: Any, *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], opset: int
) -> Dict[str, Any]:
    """Return the verdicts on a file that may be used: its opset, and how often it has each operator.

    Raises:
        FileError: the checker refuses it, it has another opset, an operator outside the standard or float64, or it
            lacks an input or an output: one that the trace has baked in.
    """
    onnx = import_module("onnx")
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker raises classes of several modules
        reason = " ".join(str(error).split())[:500]
        raise FileError("the ONNX checker refuses the file: {}".format(reason), fault="checker") from error
    declared = {one.domain: one.version for one in model.opset_import}
    own = next((declared[domain] for domain in DOMAINS if domain in declared), None)
    if own != opset:
        raise FileError("the file declares opset {}, and {} was asked for".format(own, opset), fault="opset")
    counts: Dict[str, int] = {}
    for graph in graphs(model.graph):
        for node in graph.node:
            if node.domain not in DOMAINS:
                text = "the operator {} is of the domain {}, not of ONNX".format(node.op_type, node.domain)
                raise FileError(text, fault="operator")
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    _require_names(model.graph, inputs, outputs)
    place = find_float64(model)
    if place is not None:
        raise FileError("{} is float64, which runtimes lack".format(place), fault="float64")
    return {"checker": "passed", "opset": own, "operators": dict(sorted(counts.items()))}


def graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and those within its nodes, such as the branches of an If."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from graphs(inner)


def find_float64(model: Any) -> Optional[str]:
    """Return where a file holds float64, None where nowhere: a tensor's name, or a node's."""
    double = import_module("onnx").TensorProto.DOUBLE
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_type == double:
                return "the constant {}".format(tensor.name)
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == double:
                return "the tensor {}".format(value.name)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.t.data_type == double or (attribute.name in ("to", "dtype") and attribute.i == double):
                    return "{} ({})".format(node.name or node.output[0], node.op_type)
    return None


def find_precision(model: Any) -> str:
    """Return the arithmetic that a file is written in: int8 with quantised tensors, fp16 with half ones, else fp32."""
    half = import_module("onnx").TensorProto.FLOAT16
    found = "fp32"
    for graph in graphs(model.graph):
        if any(node.op_type == "QuantizeLinear" for node in graph.node):
            return "int8"
        stored = any(tensor.data_type == half for tensor in graph.initializer)
        if stored or any(one.t.data_type == half for node in graph.node for one in node.attribute):
            found = "fp16"
    return found


def float64_to_float32(model: Any) -> int:
    """Make every float64 within a file float32, in place; returns how many places that were.

    Constants and casts alone: an input or an output of the whole graph stays, for `check_file` to refuse.

    Raises:
        FileError: a constant is too large for float32.
    """
    onnx = import_module("onnx")
    double, single = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT
    changed = 0
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            changed += _round_tensor(tensor, double, tensor.name)
        for node in graph.node:
            for attribute in node.attribute:
                changed += _round_tensor(attribute.t, double, node.name or node.output[0])
                if attribute.name in ("to", "dtype") and attribute.i == double:
                    attribute.i = single
                    changed += 1
        for value in graph.value_info:
            if value.type.tensor_type.elem_type == double:
                value.type.tensor_type.elem_type = single
    return changed


def _round_tensor(tensor: Any, double: int, name: str) -> int:
    """Make one constant float32 if it is float64; returns 1 if it was."""
    if tensor.data_type != double:
        return 0
    onnx, numpy = import_module("onnx"), import_module("numpy")
    values = onnx.numpy_helper.to_array(tensor)
    with numpy.errstate(over="ignore"):
        rounded = values.astype("float32")
    if not (numpy.isfinite(rounded) == numpy.isfinite(values)).all():
        raise FileError("the float64 constant {} is too large for float32".format(name), fault="float64")
    tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    return 1


def slim(
    model: Any, example: Mapping[str, Any], before: Mapping[str, Any], open_file: Callable[..., Any], *, folder: str
) -> Tuple[Optional[Any], str]:
    """Return a file with fewer nodes that answers bit for bit the same, or None; and what is to be said of it."""
    numpy = import_module("numpy")
    trial = os.path.join(folder, "slimmed.onnx")
    try:
        slimmed = import_module("onnxslim").slim(model)
        save(slimmed, trial)
        after = open_file(trial, device="cpu").run(example)
    except Exception as error:  # noqa: BLE001  a library that only tidies up: without it the file is as good
        return None, "no: {}".format(" ".join(str(error).split())[:200])
    finally:
        if os.path.exists(trial):
            os.unlink(trial)
    for name, array in before.items():
        if name not in after or not numpy.array_equal(after[name], array):
            return None, "no: it changes {}".format(name)
    return slimmed, "yes: {} of {} nodes stay, every output bit for bit the same".format(
        len(slimmed.graph.node), len(model.graph.node)
    )


def save(model: Any, path: str) -> None:
    """Write a file whole, or not at all."""
    import_module("onnx").save(model, path + ".partial")
    os.replace(path + ".partial", path)


def _require_names(graph: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    constants: Set[str] = {tensor.name for tensor in graph.initializer}
    there = {value.name for value in graph.input} - constants
    used = {name for inner in graphs(graph) for node in inner.node for name in node.input}
    for spec in inputs:
        if spec.name not in there or spec.name not in used:
            raise FileError(
                "the file does not depend on the input {}: its value was baked in, or the network ignores it".format(
                    spec.name
                ),
                fault="baked_in",
            )
    unknown = sorted(there - {spec.name for spec in inputs})
    if unknown:
        text = "the file has the input {}, which the network does not name".format(unknown[0])
        raise FileError(text, fault="names")
    given = {value.name for value in graph.output}
    for spec in outputs:
        if spec.name not in given:
            raise FileError("the file does not give the output {}".format(spec.name), fault="names")
