"""A stand-in model with two parts that can be graphs, and a torch of a few lines in the place of the real one.

A graph is the list of steps that its parts take: replaying them reads the numbers that lie in the buffers then.

Options: `looks`, the part that looks at a value on the host; `wrong`, the token whose sample the network fails at.
"""

import sys
import types
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "runners"))

from worker.adapter import Adapter, Settings
from worker.main import main

RECORDING: List[Optional[List[Callable[[], None]]]] = [None]


class Number:
    """A tensor with one value in it."""

    shape, dtype, device = (1,), "torch.float32", "cuda:0"

    def __init__(self, value: float) -> None:
        self.value = value

    def stride(self) -> Any:
        return (1,)

    def data_ptr(self) -> int:
        return id(self)

    def clone(self) -> "Number":
        return Number(self.value)

    def copy_(self, other: "Number") -> None:
        self.value = other.value


class Part:
    """A module: it multiplies by `factor`."""

    training = False

    def __init__(self, factor: float, looks: bool) -> None:
        self.factor, self.looks = factor, looks

    def modules(self) -> "List[Part]":
        return [self]

    def forward(self, given: Number) -> Number:
        own = RECORDING[0]
        if own is not None and self.looks:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        made = Number(self.factor * given.value)
        if own is not None:
            own.append(lambda: made.copy_(Number(self.factor * given.value)))
            made.value = 77.0  # nothing is computed while a graph is recorded
        return made


class Graph:
    def __init__(self) -> None:
        self.steps: List[Callable[[], None]] = []

    def replay(self) -> None:
        for step in self.steps:
            step()


@contextmanager
def record(graph: Graph, pool: Any = None, stream: Any = None) -> Iterator[None]:
    RECORDING[0] = graph.steps
    try:
        yield
    finally:
        RECORDING[0] = None


@contextmanager
def nothing(*_: Any, **__: Any) -> Iterator[None]:
    yield


class Stream:
    def __init__(self, device: str) -> None: ...

    def wait_stream(self, other: Any) -> None: ...


def make_torch() -> Any:
    """As much of torch as graphs need."""
    torch = types.ModuleType("torch")
    torch.__dict__.update(
        is_grad_enabled=lambda: False,
        is_inference_mode_enabled=lambda: True,
        is_autocast_enabled=lambda: False,
        inference_mode=nothing,
        no_grad=nothing,
        autocast=nothing,
        equal=lambda one, other: one.value == other.value,
        cuda=types.SimpleNamespace(
            Stream=Stream,
            CUDAGraph=Graph,
            graph=type(
                "graph", (), {"__init__": nothing, "__new__": lambda _, *given, **named: record(*given, **named)}
            ),
            device=nothing,
            stream=nothing,
            current_stream=lambda device: None,
            synchronize=lambda device=None: None,
            graph_pool_handle=lambda: 1,
            is_initialized=lambda: False,
        ),
    )
    return torch


class StandIn(Adapter):
    """The token's number, times six, by two parts."""

    name = "StandIn"

    def load(self, settings: Settings) -> List[str]:
        sys.modules["torch"] = make_torch()
        self.wrong = settings.options.get("wrong")
        looks = settings.options.get("looks")
        self.parts = {name: Part(factor, looks == name) for name, factor in (("backbone", 2.0), ("neck", 3.0))}
        return []

    def graph_parts(self) -> Dict[str, Any]:
        return self.parts

    def forward(self, inputs: Dict[str, Any]) -> float:
        if inputs["sample_token"] == self.wrong:
            raise ValueError("a tensor has the wrong shape")
        given = Number(1.0 + inputs["index_in_scene"])
        return float(self.parts["neck"].forward(self.parts["backbone"].forward(given)).value)

    def convert(self, raw: float, sample: Dict[str, Any]) -> Dict[str, Any]:
        box = {"id": 0, "class_name": "car", "camera": "IMAGE", "bbox_xyxy": [0.0, 0.0, raw, 1.0], "confidence": 0.5}
        return {"detections_2d": [box]}


if __name__ == "__main__":
    sys.exit(main(StandIn))
