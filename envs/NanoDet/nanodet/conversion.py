"""Writes a graph model of TensorFlow.js as an ONNX model.

It knows the operations of NanoDet's published graph and refuses others by name. That graph was itself made from ONNX:
its tensors lie as (batch, channels, height, width) but around convolutions, poolings and resizings, which TensorFlow
wants as (batch, height, width, channels). Here each of these is turned back, and ONNX Runtime removes the pairs of
transpositions that meet. The batch is free: the published graph is for one picture.

Conventions: TensorFlow's kernels are (height, width, in, out), ONNX's (out, in, height, width). Padding is explicit in
this graph (VALID); ResizeBilinear with half_pixel_centers is ONNX's linear Resize with half_pixel.
"""

import base64
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .weights import GraphModel

OPSET = 17
IR_VERSION = 8
BATCH = "batch"
_NCHW = [0, 3, 1, 2]
_NHWC = [0, 2, 3, 1]


class ConversionError(ValueError):
    """The graph has what this converter does not know; the message names the node."""


def to_onnx(model: GraphModel) -> onnx.ModelProto:
    """Return the ONNX model, checked. Its inputs and outputs have the signature's names without `:0`.

    Raises:
        ConversionError: an operation or an attribute is not known.
    """
    return _Converter(model).convert()


def fold_constants(model: GraphModel) -> Dict[str, np.ndarray]:
    """The values of all constants, and of integer expressions of constants, by the node's name."""
    converter = _Converter(model)
    for node in model.nodes:
        converter.fold(node["name"])
    return converter.constants


class _Converter:
    def __init__(self, model: GraphModel) -> None:
        self._signature = model.signature
        self._nodes = {node["name"]: node for node in model.nodes}
        self.constants = {name: _widen(tensor) for name, tensor in model.tensors.items()}
        self._made: List[onnx.NodeProto] = []
        self._initializers: Dict[str, onnx.TensorProto] = {}
        self._done: Dict[str, None] = {}

    def convert(self) -> onnx.ModelProto:
        inputs = [_name(one["name"]) for one in self._signature["inputs"].values()]
        outputs = [_name(one["name"]) for one in self._signature["outputs"].values()]
        self._done.update(dict.fromkeys(inputs))
        for name in outputs:
            self._visit(name)
        graph = helper.make_graph(
            self._made,
            "graph",
            [_value(one) for one in self._signature["inputs"].values()],
            [_value(one) for one in self._signature["outputs"].values()],
            list(self._initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _visit(self, name: str) -> None:
        """Convert a node after those that it takes; without recursion, for graphs are deep."""
        waiting = [name]
        while waiting:
            current = waiting[-1]
            missing = [one for one in self._sources(current) if one not in self._done]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if current not in self._done:
                self._done[current] = None
                self._convert(self._nodes[current])

    def _sources(self, name: str) -> List[str]:
        if name in self._done or self.fold(name) is not None:
            return []
        return [one for one in map(_node_of, self._nodes[name].get("input", ())) if self.fold(one) is None]

    def fold(self, name: str) -> "np.ndarray | None":
        """The value of a constant, or of an integer expression of constants: the shapes that Reshape takes."""
        if name in self.constants:
            return self.constants[name]
        node = self._nodes[name]
        parts = [self.fold(_node_of(one)) for one in node.get("input", ())] if node["op"] in _FOLDED else [None]
        if any(part is None for part in parts):
            return None
        self.constants[name] = _FOLDED[node["op"]](*parts)
        return self.constants[name]

    def _convert(self, node: Dict[str, Any]) -> None:
        maker = _MAKERS.get(node["op"])
        if maker is None:
            raise ConversionError("{}: the operation {} is not known".format(node["name"], node["op"]))
        maker(self, node)

    # --- parts that makers use

    def constant(self, node: Mapping[str, Any], index: int) -> np.ndarray:
        """Return the value of a node's input, which must be constant."""
        value = self.fold(_node_of(node["input"][index]))
        if value is None:
            raise ConversionError("{}: input {} of {} is not constant".format(node["name"], index, node["op"]))
        return value

    def tensor(self, node: Mapping[str, Any], index: int) -> str:
        """Return the name of a node's input; a constant becomes an initializer."""
        text = node["input"][index]
        value = self.fold(_node_of(text))
        return text if value is None else self.keep(_node_of(text), value)

    def keep(self, name: str, value: np.ndarray) -> str:
        """Add an initializer, once."""
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add a node, named after its first output."""
        self._made.append(helper.make_node(kind, list(inputs), list(outputs), name=outputs[0], **attributes))

    def in_nchw(self, node: Mapping[str, Any], kind: str, *more: str, **attributes: Any) -> None:
        """Add an operation on channels-last input: turned before, turned back after."""
        name = node["name"]
        self.add("Transpose", [self.tensor(node, 0)], [name + "/nchw"], perm=_NCHW)
        self.add(kind, [name + "/nchw", *more], [name + "/out"], **attributes)
        self.add("Transpose", [name + "/out"], [name], perm=_NHWC)


def _convolution(self: _Converter, node: Dict[str, Any]) -> None:
    _expect_valid(node)
    kernel = self.keep(_node_of(node["input"][1]) + "/oihw", self.constant(node, 1).transpose(3, 2, 0, 1))
    self.in_nchw(node, "Conv", kernel, strides=_middle(node, "strides"), dilations=_middle(node, "dilations"))


def _max_pool(self: _Converter, node: Dict[str, Any]) -> None:
    _expect_valid(node)
    self.in_nchw(node, "MaxPool", kernel_shape=_middle(node, "ksize"), strides=_middle(node, "strides"))


def _resize(self: _Converter, node: Dict[str, Any]) -> None:
    attributes = node["attr"]
    if not attributes["half_pixel_centers"]["b"] or attributes["align_corners"]["b"]:
        raise ConversionError("{}: ResizeBilinear without half-pixel centres is not known".format(node["name"]))
    name = node["name"]
    # ONNX wants all four sizes; the batch is free, so the size is asked for by the two axes that change.
    sizes = self.keep(name + "/sizes", self.constant(node, 1).astype(np.int64))
    self.add("Transpose", [self.tensor(node, 0)], [name + "/nchw"], perm=_NCHW)
    self.add("Shape", [name + "/nchw"], [name + "/begin"], start=0, end=2)
    self.add("Concat", [name + "/begin", sizes], [name + "/whole"], axis=0)
    modes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    self.add("Resize", [name + "/nchw", "", "", name + "/whole"], [name + "/out"], **modes)
    self.add("Transpose", [name + "/out"], [name], perm=_NHWC)


def _pad(self: _Converter, node: Dict[str, Any]) -> None:
    pads = self.keep(node["name"] + "/pads", self.constant(node, 1).T.reshape(-1).astype(np.int64))
    value = [self.keep(node["name"] + "/value", self.constant(node, 2))] if node["op"] == "PadV2" else []
    self.add("Pad", [self.tensor(node, 0), pads, *value], [node["name"]], mode="constant")


def _transpose(self: _Converter, node: Dict[str, Any]) -> None:
    self.add("Transpose", [self.tensor(node, 0)], [node["name"]], perm=self.constant(node, 1).tolist())


def _concat(self: _Converter, node: Dict[str, Any]) -> None:
    count = int(node["attr"]["N"]["i"])
    tensors = [self.tensor(node, index) for index in range(count)]
    self.add("Concat", tensors, [node["name"]], axis=int(self.constant(node, count)))


def _split(self: _Converter, node: Dict[str, Any]) -> None:
    name, sizes = node["name"], self.constant(node, 1).astype(np.int64)
    outputs = [name if index == 0 else f"{name}:{index}" for index in range(len(sizes))]
    inputs = [self.tensor(node, 0), self.keep(name + "/sizes", sizes)]
    self.add("Split", inputs, outputs, axis=int(self.constant(node, 2)))


def _reshape(self: _Converter, node: Dict[str, Any]) -> None:
    shape = self.constant(node, 1).astype(np.int64).reshape(-1)
    if shape[0] != 1:
        raise ConversionError("{}: Reshape does not keep the batch first".format(node["name"]))
    # 0 takes the input's own length: the batch, whatever it is.
    shape = np.concatenate([np.zeros(1, np.int64), shape[1:]])
    self.add("Reshape", [self.tensor(node, 0), self.keep(node["name"] + "/shape", shape)], [node["name"]])


def _elementwise(kind: str, inputs: int) -> "Callable[[_Converter, Dict[str, Any]], None]":
    def make(self: _Converter, node: Dict[str, Any]) -> None:
        attributes = {"alpha": node["attr"]["alpha"]["f"]} if kind == "LeakyRelu" else {}
        self.add(kind, [self.tensor(node, index) for index in range(inputs)], [node["name"]], **attributes)

    return make


_MAKERS: Dict[str, Callable[[_Converter, Dict[str, Any]], None]] = {
    "Conv2D": _convolution,
    "MaxPool": _max_pool,
    "ResizeBilinear": _resize,
    "Pad": _pad,
    "PadV2": _pad,
    "Transpose": _transpose,
    "ConcatV2": _concat,
    "SplitV": _split,
    "Reshape": _reshape,
    "Add": _elementwise("Add", 2),
    "AddV2": _elementwise("Add", 2),
    "LeakyRelu": _elementwise("LeakyRelu", 1),
    "Sigmoid": _elementwise("Sigmoid", 1),
    "Identity": _elementwise("Identity", 1),
}


def _sparse_to_dense(where: np.ndarray, shape: np.ndarray, values: np.ndarray, rest: np.ndarray) -> np.ndarray:
    dense = np.full(shape, rest)
    dense[tuple(where.T)] = values
    return dense


_FOLDED: Dict[str, Callable[..., np.ndarray]] = {"SparseToDense": _sparse_to_dense, "AddV2": np.add}


def _widen(tensor: np.ndarray) -> np.ndarray:
    """float16 is only the form that weights are stored in: the network computes in float32."""
    return tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor


def _expect_valid(node: Mapping[str, Any]) -> None:
    padding = base64.b64decode(node["attr"]["padding"]["s"]).decode()
    layout = base64.b64decode(node["attr"]["data_format"]["s"]).decode()
    if (padding, layout) != ("VALID", "NHWC"):
        raise ConversionError("{}: {} with {}, {} is not known".format(node["name"], node["op"], padding, layout))


def _middle(node: Mapping[str, Any], name: str) -> List[int]:
    """The two numbers for height and width of an attribute for (batch, height, width, channels)."""
    return [int(one) for one in node["attr"][name]["list"]["i"]][1:3]


def _name(tensor: str) -> str:
    return tensor[:-2] if tensor.endswith(":0") else tensor


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0]


def _value(described: Mapping[str, Any]) -> onnx.ValueInfoProto:
    sizes: List[Any] = [int(one["size"]) for one in described["tensorShape"]["dim"]]
    return helper.make_tensor_value_info(_name(described["name"]), TensorProto.FLOAT, [BATCH, *sizes[1:]])
