# ruff: noqa: UP006, UP035, UP045, B905  the classic environments have Python 3.8
"""Which module of a network is the first to differ between two environments.

The first environment saves what every module gives (`{"save": folder}`). The second compares (`{"against": folder}`):
`carried` is the difference as it has grown on the way, and, with `"forced": true`, every module is handed the first
environment's results of the modules before it, so that a difference is the module's own, `own`. Tensors of more than
LARGEST values are left out: the first convolutions of a backbone, which would fill a disk.
"""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from worker.mmlab.common.libraries import load_library

LARGEST = 8_000_000


@contextmanager
def traced(adapter: Any, wanted: Optional[Dict[str, Any]]) -> Iterator[None]:
    """Watch the adapter's network while the block runs; nothing without `wanted`. The report is `wanted["report"]`."""
    if not wanted:
        yield
        return
    watch = Watch(wanted, {name: type(module).__name__ for name, module in adapter._model.named_modules()})
    handles = [
        module.register_forward_hook(watch.hook(name)) for name, module in adapter._model.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        if "report" in wanted:
            Path(wanted["report"]).write_text(json.dumps(watch.rows))


class Watch:
    """The hooks' common state: how often each module was called, and what was found."""

    def __init__(self, wanted: Dict[str, Any], types: Dict[str, str]) -> None:
        self.rows: List[Dict[str, Any]] = []
        self._wanted = wanted
        self._types = types
        self._calls: Dict[str, int] = {}

    def hook(self, name: str) -> Any:
        """A forward hook for the module `name`."""

        def call(module: Any, _: Any, output: Any) -> Any:
            number = self._calls[name] = self._calls.get(name, -1) + 1
            parts = list(flatten(output))
            if not parts or max(part.numel() for part in parts) > LARGEST:
                return None
            stem = f"{name}#{number}"
            if "save" in self._wanted:
                save(Path(self._wanted["save"]) / stem, parts)
                return None
            return self._compare(stem, module, output, parts)

        return call

    def _compare(self, stem: str, module: Any, output: Any, parts: List[Any]) -> Any:
        path = Path(self._wanted["against"]) / stem
        if not path.exists():
            self.rows.append({"module": stem, "type": type(module).__name__, "missing": True})
            return None
        saved = [as_tensor(array) for array in load(path)]
        parent = self._types.get(stem.rpartition(".")[0], "")
        row: Dict[str, Any] = {"module": stem, "type": type(module).__name__, "inside": parent}
        row.update(zip(("largest", "scale", "share"), compare(parts, saved)))
        self.rows.append(row)
        return rebuild(output, iter(saved)) if self._wanted.get("forced") else None


def flatten(value: Any) -> Iterator[Any]:
    """The floating point tensors in lists, tuples and dictionaries, in order."""
    torch = load_library("torch")
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from flatten(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)


def rebuild(value: Any, parts: Iterator[Any]) -> Any:
    """The same structure with its floating point tensors taken from `parts`."""
    torch = load_library("torch")
    if isinstance(value, torch.Tensor):
        return next(parts).to(value) if value.is_floating_point() else value
    if isinstance(value, dict):
        return type(value)((key, rebuild(item, parts)) for key, item in value.items())
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(rebuild(item, parts) for item in value)
    return value


def compare(ours: List[Any], theirs: List[Any]) -> Tuple[float, float, float]:
    """(largest absolute difference, largest absolute value, share of values that differ by over a thousandth)."""
    largest = scale = share = 0.0
    for a, b in zip(ours, theirs):
        if a.shape != b.shape:
            return float("inf"), 0.0, 1.0
        if not a.numel():
            continue
        difference = (a.detach().cpu().double() - b.double()).abs()
        if float(difference.max()) >= largest:
            largest = float(difference.max())
        scale = max(scale, float(b.abs().max()))
        share = max(share, float((difference > 1e-3).double().mean()))
    return largest, scale, share


def save(path: Path, parts: List[Any]) -> None:
    """Plain arrays in NumPy's own form: torch's formats differ between its versions."""
    numpy = load_library("numpy")
    with path.open("wb") as file:
        for part in parts:
            numpy.save(file, part.detach().cpu().numpy())


def load(path: Path) -> List[Any]:
    numpy = load_library("numpy")
    size, arrays = path.stat().st_size, []
    with path.open("rb") as file:
        while file.tell() < size:
            arrays.append(numpy.load(file))
    return arrays


def as_tensor(array: Any) -> Any:
    return load_library("torch").from_numpy(array.copy())
