"""CUDA graphs on a CPU, to try what uses them: recording is real, with PyTorch's own dispatcher, and so is replaying.

While a graph is recorded every operation runs and is kept with its tensors; what it gave is then overwritten with
nonsense, as memory that nothing has computed yet. `replay` runs the operations again and writes what they give into the
same memory. So a value that is not in a graph, or is read where it lay earlier, shows in the outputs. Looking at a
value on the host is refused as a card refuses it. Streams and pools are recorded in `calls` and do nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch  # type: ignore[import-not-found]
from torch.utils._python_dispatch import TorchDispatchMode  # type: ignore[import-not-found]
from torch.utils._pytree import tree_flatten  # type: ignore[import-not-found]

CAPTURING = "CUDA error: operation not permitted when stream is capturing"
calls: list[str] = []
"""What was asked of the simulated device, in order."""


class SimulatedGraph:
    """As `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def replay(self) -> None:
        calls.append("replay")
        for operation, arguments, named, kept in self.steps:
            for own, old in zip(tensors_of(operation(*arguments, **named)), tensors_of(kept), strict=True):
                if own.data_ptr() != old.data_ptr():
                    old.copy_(own)


class _Recording(TorchDispatchMode):  # type: ignore[misc]
    def __init__(self, graph: SimulatedGraph) -> None:
        super().__init__()
        self._graph = graph

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if "_local_scalar_dense" in str(operation):
            raise RuntimeError(CAPTURING)
        given = operation(*arguments, **(named or {}))
        self._graph.steps.append((operation, arguments, named or {}, given))
        return given


class SimulatedStream:
    """As `torch.cuda.Stream`."""

    def __init__(self, device: Any = None) -> None:
        calls.append(f"stream on {device}")

    def wait_stream(self, other: Any) -> None:
        calls.append("wait_stream")


class graph:  # noqa: N801  torch's name
    """As `torch.cuda.graph`."""

    def __init__(
        self, cuda_graph: Any, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"
    ) -> None:
        self._graph, self._recording = cuda_graph, _Recording(cuda_graph)
        calls.append(f"record, {capture_error_mode}, pool {pool}, own stream {stream is not None}")

    def __enter__(self) -> None:
        self._recording.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._recording.__exit__(*error)
        if error[0] is None:
            spoil(self._graph)


def spoil(recorded: SimulatedGraph) -> None:
    """Overwrite what the operations of a graph made; not the buffers and weights that they were given from outside."""
    made: set[int] = set()
    outside: set[int] = set()
    for _, arguments, named, kept in recorded.steps:
        outside |= {one.data_ptr() for one in tensors_of((arguments, named))} - made
        made |= {one.data_ptr() for one in tensors_of(kept)} - outside
    for *_, kept in recorded.steps:
        for one in tensors_of(kept):
            if one.data_ptr() in made:
                one.fill_(77)


def tensors_of(value: Any) -> list[Any]:
    """The tensors in a value, in order."""
    return [one for one in tree_flatten(value)[0] if isinstance(one, torch.Tensor)]


@contextlib.contextmanager
def _nothing(*_: Any) -> Iterator[None]:
    yield


def install() -> None:
    """Put the simulation in the place of `torch.cuda`'s; `cuda:0` is then the CPU's memory."""
    pools = iter(range(1, 1000))
    replaced = {
        "Stream": SimulatedStream,
        "CUDAGraph": SimulatedGraph,
        "graph": graph,
        "device": _nothing,
        "stream": _nothing,
        "current_stream": lambda *_: "the current stream",
        "synchronize": lambda *_: calls.append("synchronize"),
        "graph_pool_handle": lambda: next(pools),
    }
    for name, one in replaced.items():
        setattr(torch.cuda, name, one)
