"""Finds the first module of a network whose output parts from what the exported file computes.

The file's every intermediate tensor becomes an output, and each module's output in PyTorch is looked for among those of
its size, in whatever shape: a layer over several dimensions becomes one over two, between reshapes. Nothing is asked of
the nodes' names, which exporters and slimming change. A convolution that was folded into the normalisation behind it is
in no file: a module counts as parted where the one that runs after it is not found either. Modules that no input
reaches are left out: exporters fold them into constants.
"""

import os
import tempfile
from importlib import import_module
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from .network import Arrays, Network
from .runtimes.base import Runtime


class Seen(NamedTuple):
    """One output of a module in PyTorch, in the order in which modules finish."""

    name: str
    kind: str
    array: Any


class Found(NamedTuple):
    """The file's tensor that is nearest to a module's output, and how far: over the output's largest value."""

    tensor: Optional[str]
    apart: float


def find_parting(
    network: Network, runtime: Runtime, file: str, whole: Arrays, *, bound: float, device: str
) -> Dict[str, Any]:
    """Return the first module whose output parts by more than `bound` of its largest value; None where none does."""
    modules = reached(watch_modules(network, whole), watch_modules(network, _otherwise(whole)))
    return first_parting(modules, every_tensor(runtime, file, whole, device=device), bound)


def reached(modules: Sequence[Seen], others: Sequence[Seen]) -> List[Seen]:
    """Return the modules whose output is another one for another input; `others` are the same modules with that."""
    numpy = import_module("numpy")
    return [one for one, other in zip(modules, others) if not numpy.array_equal(one.array, other.array)]


def _otherwise(whole: Arrays) -> Arrays:
    """Another input: every number a little larger; indices stay, because others may be out of range."""
    return {name: array + (abs(array) * 0.01 + 0.01) if _real(array) else array for name, array in whole.items()}


def first_parting(modules: Sequence[Seen], tensors: Mapping[str, Any], bound: float) -> Dict[str, Any]:
    """Look for each module's output among the tensors; see this file's first lines."""
    sizes: Dict[int, List[str]] = {}
    for name, array in tensors.items():
        sizes.setdefault(int(array.size), []).append(name)
    found = [
        _nearest(one.array, {name: tensors[name] for name in sizes.get(int(one.array.size), ())}) for one in modules
    ]
    there = [one.apart <= bound for one in found]
    for index, own in enumerate(there):
        if not own and not any(there[index + 1 : index + 2]):
            before = max((i for i in range(index) if there[i]), default=None)
            return {
                "module": modules[index].name,
                "kind": modules[index].kind,
                "nearest": found[index].tensor,
                "apart": found[index].apart if found[index].apart != float("inf") else None,
                "after": None if before is None else modules[before].name,
                "modules": len(modules),
            }
    return {"module": None, "modules": len(modules)}


def watch_modules(network: Network, whole: Arrays) -> List[Seen]:
    """Run PyTorch's module and return every module's output, of each call of it."""
    torch = import_module("torch")
    module = network.build().eval()
    device = getattr(network.adapter, "_device", "cpu")
    seen: List[Seen] = []

    def watch(name: str) -> Any:
        def hook(own: Any, _given: Any, output: Any) -> None:
            given = output if isinstance(output, (tuple, list)) else (output,)
            real = [one for one in given if torch.is_tensor(one) and one.is_floating_point() and one.numel()]
            # Copies: an activation that works in place would change them afterwards.
            seen.extend(Seen(name, type(own).__name__, one.detach().float().cpu().numpy().copy()) for one in real)

        return hook

    hooks = [one.register_forward_hook(watch(name)) for name, one in module.named_modules() if name]
    try:
        with torch.no_grad():
            module(*[torch.from_numpy(whole[one.name].copy()).to(device) for one in network.inputs()])
    finally:
        for one in hooks:
            one.remove()
    return seen


def every_tensor(runtime: Runtime, file: str, whole: Arrays, *, device: str) -> Dict[str, Any]:
    """Return every floating-point tensor that an ONNX file computes for an input."""
    onnx = import_module("onnx")
    model = onnx.load(file)
    there = {one.name for one in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name and name not in there]
    model.graph.output.extend([onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names)])
    with tempfile.TemporaryDirectory() as folder:
        opened = os.path.join(folder, "every.onnx")
        onnx.save(model, opened)
        computed = runtime.open(opened, device=device).run(whole)
    return {
        name: array for name, array in computed.items() if getattr(array, "dtype", None) is not None and _real(array)
    }


def _real(array: Any) -> bool:
    return bool(array.dtype.kind == "f" and array.size)


def _nearest(wanted: Any, candidates: Mapping[str, Any]) -> Found:
    numpy = import_module("numpy")
    wanted = wanted.astype("float64").ravel()
    scale = float(numpy.abs(wanted).max()) or 1.0
    best = Found(None, float("inf"))
    for name, array in candidates.items():
        apart = float(numpy.abs(array.astype("float64").ravel() - wanted).max()) / scale
        if apart < best.apart:  # NaN is not
            best = Found(name, apart)
    return best
