"""Reads and writes the file of weights: safetensors, with the graph of TensorFlow.js as text among its metadata."""

import json
from pathlib import Path
from typing import Any, Dict, NamedTuple

import numpy as np

GRAPH = "tfjs_graph"
"""The key of the metadata that holds the graph."""
_DTYPES = {"F16": "<f2", "F32": "<f4", "I32": "<i4"}
_ALIGNMENT_BYTES = 8


class GraphModel(NamedTuple):
    """A graph model of TensorFlow.js: `signature` and `nodes` as its JSON has them, `tensors` by name."""

    signature: Dict[str, Any]
    nodes: "list[Dict[str, Any]]"
    tensors: Dict[str, np.ndarray]


def read_graph_model(path: Path) -> GraphModel:
    """Read the file. Tensors have the dtype that they are stored in: float16 or int32.

    Raises:
        ValueError: it is no safetensors file, or holds no graph; the message names it.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        graph = json.loads(header.pop("__metadata__")[GRAPH])
        tensors = {name: _tensor(content, 8 + length, entry) for name, entry in header.items()}
        return GraphModel(graph["signature"], graph["modelTopology"]["node"], tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no graph of TensorFlow.js with its weights: {error!r}") from error


def write_graph_model(path: Path, model: GraphModel) -> None:
    """Write the file, as `read_graph_model` reads it; tensors keep their dtype."""
    names = {np.dtype(code): name for name, code in _DTYPES.items()}
    header: Dict[str, Any] = {}
    place = 0
    for name, tensor in model.tensors.items():
        offsets = [place, place + tensor.nbytes]
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        place = offsets[1]
    graph = json.dumps({"signature": model.signature, "modelTopology": {"node": model.nodes}}, separators=(",", ":"))
    metadata = {"format": "tfjs-graph-model", GRAPH: graph}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in model.tensors.values():
            file.write(np.ascontiguousarray(tensor).tobytes())


def _tensor(content: bytes, base: int, entry: Dict[str, Any]) -> np.ndarray:
    begin, end = entry["data_offsets"]
    return np.frombuffer(content[base + begin : base + end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
