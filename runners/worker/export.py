"""The job that writes a model's network as an ONNX file, checks it and runs it beside PyTorch.

PyTorch's TorchScript exporter is asked for by name (`dynamo=False`): from PyTorch 2.9 on the other one is taken where
nothing is said, and it writes another opset than asked, or a file that no checker takes.
"""

import os
from importlib import import_module
from typing import Any, Dict, List, Mapping, Tuple

from .adapter import Adapter, Settings
from .jobs import tell
from .network import DEFAULT_FORM, Arrays, Network, NetworkError, TensorSpec, check_feed, load_network
from .onnx_file import FileError, check_file, float64_to_float32, save, slim
from .rows import pair_rows
from .runtimes.base import load_runtime

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
    axes = {str(name): int(length) for name, length in (request.get("axes") or {}).items()}
    example = network.example(axes)
    check_feed(example, network.inputs(), what="the example that {} is traced with".format(adapter.name))
    tell("exporting {} with opset {}".format(adapter.name, opset))
    reference = export(network, example, file=file, opset=opset)
    tell("checking {}".format(os.path.basename(file)))
    verdicts = _finish(network, example, reference, file=file, opset=opset, runtime=request["runtime"])
    return {
        "fixes": fixes,
        "exporter": EXPORTER,
        "versions": _versions(),
        "inputs": [described(one) for one in network.inputs()],
        "outputs": [described(one) for one in network.outputs()],
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
    dynamic = {one.name: one.dynamic_axes for one in [*network.inputs(), *network.outputs()] if one.dynamic_axes}
    with torch.no_grad():
        given = module(*[one.clone() for one in arguments])
        torch.onnx.export(
            module,
            arguments,
            file,
            input_names=names_in,
            output_names=names_out,
            dynamic_axes=dynamic or None,
            opset_version=opset,
            do_constant_folding=True,
            dynamo=False,
        )
    return {name: one.cpu().numpy() for name, one in zip(names_out, given)}


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
    paired = pair_rows(network.rows, after, reference)
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
        raise FileError("{} has shape {} in the file and {} in PyTorch".format(name, ours.shape, theirs.shape))
    if not (numpy.isfinite(ours).all() and numpy.isfinite(theirs).all()):
        raise FileError("{} is not finite for the example".format(name))
    return float(numpy.abs(ours.astype("float64") - theirs.astype("float64")).max()) if ours.size else 0.0


def described(spec: TensorSpec) -> Dict[str, Any]:
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": list(spec.shape),
        "unit": spec.unit,
        "frame": spec.frame,
    }


def _versions() -> Dict[str, str]:
    names: Tuple[str, ...] = ("torch", "numpy", "onnx", "onnxslim", "onnxruntime")
    return {name: str(import_module(name).__version__) for name in names}
