"""The published graph as a module of PyTorch, to be trained and pruned, and the way back to the file.

Every tensor is (batch, channels, height, width) here. TensorFlow wants channels last around convolutions, poolings and
resizings; the graph turns there and back, and both turns are left out. The weights are the graph's own, in float32.
"""

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from torch.nn import functional

from .config import Config
from .conversion import ConversionError, fold_constants
from .weights import GraphModel

_TURNS = ([0, 2, 3, 1], [0, 3, 1, 2])
_PASSED = ("Identity", "Placeholder")

Values = Dict[str, Any]


class Network(torch.nn.Module):
    """pictures (B, 3, size, size) → logits of scores (B, cells, 80) and distances (B, cells, 44), for each stride."""

    def __init__(self, graph: GraphModel, config: Config) -> None:
        super().__init__()
        self._graph, self._config = graph, config
        self._nodes = {node["name"]: node for node in graph.nodes}
        self._constants = fold_constants(graph)
        self._order = self._sort([*config.scores, *config.distances])
        self._biases: Dict[str, str] = {}
        self._layers: Dict[str, str] = {}
        for name in self._order:
            if self._nodes[name]["op"] == "Conv2D":
                self._add_convolution(name)
        kernels = [self._kernel(name) for name in self._layers]
        if len(set(kernels)) < len(kernels):
            raise ConversionError("two convolutions share a kernel")

    @property
    def heads(self) -> List[Any]:
        """The last convolutions: scores and distances of a stride each."""
        splits = [name for name in self._order if self._nodes[name]["op"] == "SplitV"]
        return [getattr(self, self._layers[self._convolution_before(name)]) for name in splits]

    def forward(self, pictures: Any) -> Tuple[Tuple[Any, ...], Tuple[Any, ...]]:
        """Run the graph, without the sigmoid on scores."""
        values: Values = {}
        for name in self._order:
            node = self._nodes[name]
            inputs = [pictures] if node["op"] == "Placeholder" else [values.get(one) for one in node.get("input", ())]
            given = self._call(node, inputs)
            for index, one in enumerate(given if isinstance(given, tuple) else (given,)):
                values[name if index == 0 else f"{name}:{index}"] = one
        return tuple(values[one] for one in self._config.scores), tuple(values[one] for one in self._config.distances)

    def draw(self) -> None:
        """Draw all weights anew, from PyTorch's generator."""
        for layer in self._layers.values():
            getattr(self, layer).reset_parameters()

    def to_graph(self) -> GraphModel:
        """The graph with the weights as they are now, in the types that the file had."""
        tensors = dict(self._graph.tensors)
        for name, layer in self._layers.items():
            convolution = getattr(self, layer)
            kernel = convolution.weight.detach().cpu().numpy().transpose(2, 3, 1, 0)
            bias = convolution.bias.detach().cpu().numpy()
            for key, value in ((self._kernel(name), kernel), (_node_of(self._biases[name]), bias)):
                tensors[key] = np.ascontiguousarray(value.astype(self._graph.tensors[key].dtype))
        nodes = [
            _with_shape(node, tensors[node["name"]].shape) if node["name"] in tensors else node
            for node in self._graph.nodes
        ]
        return self._graph._replace(tensors=tensors, nodes=nodes)

    def _kernel(self, convolution: str) -> str:
        return _node_of(self._nodes[convolution]["input"][1])

    def _add_convolution(self, name: str) -> None:
        node = self._nodes[name]
        kernel = self._constants[self._kernel(name)]
        added = [one for one in self._order if self._nodes[one].get("input", [""])[0] == name]
        bias = self._nodes[added[0]]["input"][1] if len(added) == 1 and self._nodes[added[0]]["op"] == "Add" else ""
        if _node_of(bias) not in self._constants:
            raise ConversionError(f"{name}: no constant is added to it alone")
        height, width, inputs, outputs = kernel.shape
        strides = [int(one) for one in node["attr"]["strides"]["list"]["i"]][1:3]
        layer = torch.nn.Conv2d(inputs, outputs, (height, width), stride=strides)
        layer.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        layer.bias.data = torch.from_numpy(self._constants[_node_of(bias)].copy())
        self._biases[name] = bias
        self._layers[name] = name.replace("/", "_").replace(".", "_")
        self.add_module(self._layers[name], layer)

    def _convolution_before(self, name: str) -> str:
        while self._nodes[name]["op"] != "Conv2D":
            name = _node_of(self._nodes[name]["input"][0])
        return name

    def _sort(self, outputs: Sequence[str]) -> List[str]:
        """The nodes that outputs need, each behind those that it takes; constants are none of them."""
        done: Dict[str, None] = {}
        waiting = list(outputs)
        while waiting:
            name = waiting[-1]
            sources = [_node_of(one) for one in self._nodes[name].get("input", ())]
            missing = [one for one in sources if one not in done and one not in self._constants]
            if missing:
                waiting += missing
                continue
            done[waiting.pop()] = None
        return list(done)

    def _call(self, node: Mapping[str, Any], inputs: List[Any]) -> Any:
        if node["op"] == "Conv2D":
            return getattr(self, self._layers[node["name"]])(inputs[0])
        if node["op"] == "Add" and node["input"][1] in self._biases.values():
            return inputs[0]
        if node["op"] not in _OPERATIONS:
            raise ConversionError("{}: the operation {} is not known".format(node["name"], node["op"]))
        constants = [self._constants.get(_node_of(one)) for one in node.get("input", ())]
        return _OPERATIONS[node["op"]](node, inputs, constants)


def _with_shape(node: Dict[str, Any], shape: Sequence[int]) -> Dict[str, Any]:
    """A constant's node with the shape that its tensor has now."""
    value = node["attr"]["value"]
    described = {"tensorShape": {"dim": [{"size": str(length)} for length in shape]}}
    return {**node, "attr": {**node["attr"], "value": {**value, "tensor": {**value["tensor"], **described}}}}


def _node_of(tensor: str) -> str:
    return tensor.partition(":")[0]


def _pad(_node: Any, inputs: List[Any], constants: List[Any]) -> Any:
    above, below, left, right = constants[1].reshape(-1).tolist()[4:]
    return functional.pad(
        inputs[0], (left, right, above, below), value=float(constants[2]) if len(constants) > 2 else 0.0
    )


def _max_pool(node: Any, inputs: List[Any], _constants: List[Any]) -> Any:
    size, stride = ([int(one) for one in node["attr"][name]["list"]["i"]][1:3] for name in ("ksize", "strides"))
    return functional.max_pool2d(inputs[0], size, stride)


def _resize(_node: Any, inputs: List[Any], constants: List[Any]) -> Any:
    return functional.interpolate(inputs[0], size=constants[1].tolist(), mode="bilinear", align_corners=False)


def _transpose(_node: Any, inputs: List[Any], constants: List[Any]) -> Any:
    order = constants[1].tolist()
    return inputs[0] if order in _TURNS else inputs[0].permute(order)


def _concatenate(node: Any, inputs: List[Any], constants: List[Any]) -> Any:
    if int(constants[-1]) != 1:
        raise ConversionError("{}: channels are not its second axis".format(node["name"]))
    return torch.cat(inputs[:-1], dim=1)


def _split(_node: Any, inputs: List[Any], constants: List[Any]) -> Any:
    return torch.split(inputs[0], constants[1].tolist(), dim=int(constants[2]))


def _reshape(_node: Any, inputs: List[Any], constants: List[Any]) -> Any:
    return inputs[0].reshape(len(inputs[0]), *constants[1].tolist()[1:])


_OPERATIONS: Dict[str, Callable[[Any, List[Any], List[Any]], Any]] = {
    **dict.fromkeys(_PASSED, lambda _node, inputs, _constants: inputs[0]),
    "Add": lambda _node, inputs, _constants: inputs[0] + inputs[1],
    "ConcatV2": _concatenate,
    "LeakyRelu": lambda node, inputs, _constants: functional.leaky_relu(inputs[0], float(node["attr"]["alpha"]["f"])),
    "MaxPool": _max_pool,
    "Pad": _pad,
    "PadV2": _pad,
    "Reshape": _reshape,
    "ResizeBilinear": _resize,
    "Sigmoid": lambda _node, inputs, _constants: inputs[0],
    "SplitV": _split,
    "Transpose": _transpose,
}
