"""The job that writes a model's network as an ONNX file, checks it and runs it beside PyTorch.

PyTorch's TorchScript exporter is asked for by name (`dynamo=False`): from PyTorch 2.9 on the other one is taken where
nothing is said, and it writes another opset than asked, or a file that no checker takes.
"""

import os
import re
from importlib import import_module
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, Tuple

from .adapter import Adapter, Settings
from .jobs import tell
from .network import DEFAULT_FORM, Arrays, Network, NetworkError, TensorSpec, check_feed, load_network, refuse_export
from .onnx_file import FileError, check_file, float64_to_float32, save, slim
from .runtimes.base import load_runtime

LACKING = re.compile(r"operator '?([a-z_]+::\w+)'?")
"""How PyTorch's exporter names an operator that it has no translation for."""
EXPORTER = "torch.onnx.export, TorchScript (dynamo=False)"


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Load the model, write `request["file"]`, and return what the manifest says of it.

    `request`: `file`, `opset`, `form`, `axes` {name of a dynamic axis: length to trace with}, `runtime` (as in a load
    frame, of the one that opens ONNX files).

    Raises:
        NetworkError: the network cannot be exported.
        FileError: the exported file is not what was asked for.
    """
    tell("loading {}".format(adapter.name))
    fixes = list(adapter.load(settings) or [])
    network = load_network(adapter, str(request.get("form") or DEFAULT_FORM))
    file, opset = str(request["file"]), int(request["opset"])
    require_float32([*network.inputs(), *network.outputs()], adapter.name)
    given = {str(name): int(length) for name, length in (request.get("axes") or {}).items()}
    network.require_axes(given)
    axes = network.fix_axes(given)
    example = network.example(axes)
    check_feed(example, network.inputs(), what="the example that {} is traced with".format(adapter.name))
    tell("exporting {} with opset {}".format(adapter.name, opset))
    reference = export(network, example, file=file, opset=opset)
    tell("checking {}".format(os.path.basename(file)))
    verdicts = _finish(network, example, reference, file=file, opset=opset, runtime=request["runtime"])
    fixed = {name: axes[name] for name in network.fixed_axes}
    return {
        "fixes": fixes,
        "exporter": EXPORTER,
        "versions": _versions(),
        "inputs": [described(one, fixed) for one in network.inputs()],
        "outputs": [described(one, fixed) for one in network.outputs()],
        "carried": dict(network.carried),
        "lengths": {name: list(own) for name, own in network.lengths.items()},
        "verdicts": verdicts,
    }


def export(network: Network, example: Arrays, *, file: str, opset: int) -> Arrays:
    """Write the file by PyTorch's exporter; returns what the module gives for the example, by output."""
    torch = import_module("torch")
    module = network.build().eval()
    names_in = [one.name for one in network.inputs()]
    names_out = [one.name for one in network.outputs()]
    device = getattr(network.adapter, "_device", "cpu")
    arguments = tuple(torch.from_numpy(example[name]).to(device) for name in names_in)
    dynamic = {one.name: _varying(one, network) for one in [*network.inputs(), *network.outputs()]}
    with torch.no_grad():
        given = module(*[one.clone() for one in arguments])
        try:
            torch.onnx.export(
                module,
                arguments,
                file,
                input_names=names_in,
                output_names=names_out,
                dynamic_axes={name: axes for name, axes in dynamic.items() if axes} or None,
                opset_version=opset,
                do_constant_folding=True,
                dynamo=False,
            )
        except Exception as error:  # PyTorch's exporter has classes of its own, in places that change
            _name_operator(error, module, arguments, name=network.adapter.name, opset=opset)
            raise
    return {name: one.cpu().numpy() for name, one in zip(names_out, given)}


def _name_operator(error: Exception, module: Any, arguments: Any, *, name: str, opset: int) -> None:
    """Raise NetworkError with the operator and its module where an exporter's error is of one that ONNX lacks."""
    found = LACKING.search(str(error))
    if found is None:
        return
    operator = found.group(1)
    place = find_operator(module, arguments, operator)
    text = "ONNX of opset {} has no {}, which {} calls"
    raise refuse_export(name, text.format(opset, operator, place or "it")) from error


def find_operator(module: Any, arguments: Any, operator: str) -> str:
    """Return the module that calls an operator first, as in `head.1 (Inverse)`; empty where none is known."""
    torch = import_module("torch")
    tracing: Any = import_module("torch.jit._trace")
    inner = dict(module.named_modules())
    try:
        # As the exporter does it: then nodes know their modules.
        tracing._trace_module_map = {one: name for name, one in inner.items()}
        graph = torch.jit._get_trace_graph(module, arguments, strict=False)[0]
        scopes = [node.scopeName() for node in graph.nodes() if node.kind() == operator]
    except Exception:  # noqa: BLE001  private names of PyTorch's, asked for a better text alone
        return ""
    finally:
        tracing._trace_module_map = None
    place = scopes[0].split("/")[-1] if scopes else ""
    return "{} ({})".format(place, type(inner[place]).__name__) if place and place in inner else ""


def require_float32(specs: List[TensorSpec], name: str) -> None:
    """Raise NetworkError for a tensor declared as float64: no runtime takes one, and rounding it silently may hurt."""
    for spec in specs:
        if spec.dtype == "float64":
            raise NetworkError(
                "{}: {} is declared float64; work it out outside in float64 and pass a float32 difference".format(
                    name, spec.name
                )
            )


def _finish(
    network: Network, example: Arrays, reference: Arrays, *, file: str, opset: int, runtime: Mapping[str, Any]
) -> Dict[str, Any]:
    """Make the file free of float64, check it, slim it, and run it; returns the verdicts."""
    onnx = import_module("onnx")
    model = onnx.load(file)
    changed = float64_to_float32(model)
    save(model, file)
    checked = check_file(model, inputs=network.inputs(), outputs=network.outputs(), opset=opset)
    engine = load_runtime(runtime)
    before = engine.open(file, device="cpu").run(example)
    slimmed, said = slim(model, example, before, engine.open, folder=os.path.dirname(file))
    if slimmed is not None:
        check_file(slimmed, inputs=network.inputs(), outputs=network.outputs(), opset=opset)
        save(slimmed, file)
    after = engine.open(file, device="cpu").run(example)
    paired = network.pair(after, reference)
    differences = {name: difference(paired.ours[name], paired.theirs[name], name=name) for name in reference}
    return {
        **checked,
        "float64_made_float32": changed,
        "slimmed": said,
        "nodes": len((slimmed or model).graph.node),
        "largest_difference": differences,
        **({"unpaired_rows": dict(paired.unpaired)} if paired.unpaired else {}),
    }


def difference(ours: Any, theirs: Any, *, name: str) -> float:
    """Return the largest |difference| of two arrays. Raises FileError where either is not finite or shapes differ."""
    numpy = import_module("numpy")
    if ours.shape != theirs.shape:
        raise FileError("{} has shape {} in the file and {} in its reference".format(name, ours.shape, theirs.shape))
    if not (numpy.isfinite(ours).all() and numpy.isfinite(theirs).all()):
        raise FileError("{} is not finite for the example".format(name))
    return float(numpy.abs(ours.astype("float64") - theirs.astype("float64")).max()) if ours.size else 0.0


def _varying(spec: TensorSpec, network: Network) -> Dict[int, str]:
    return {index: axis for index, axis in spec.dynamic_axes.items() if axis not in network.fixed_axes}


def described(spec: TensorSpec, fixed: Mapping[str, int] = MappingProxyType({})) -> Dict[str, Any]:
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": [fixed.get(axis, axis) if isinstance(axis, str) else axis for axis in spec.shape],
        "unit": spec.unit,
        "frame": spec.frame,
    }


def _versions() -> Dict[str, str]:
    names: Tuple[str, ...] = ("torch", "numpy", "onnx", "onnxslim", "onnxruntime")
    return {name: str(import_module(name).__version__) for name in names}
