"""The job that writes an exported float32 file in another arithmetic: fp16 by AutoCast, int8 by quantised tensors.

A precision is a property of the file: every runtime then executes the same arithmetic, and the file can be held against
the float32 one on a CPU. Both are ModelOpt's (`modelopt.onnx.autocast`, `modelopt.onnx.quantization`). Inputs and
outputs stay float32, so that a network's `feeds` and `decode` need no other form.
"""

import os
from importlib import import_module
from typing import Any, Dict, List, Mapping, Sequence

from .adapter import Adapter, Settings
from .export import difference
from .jobs import tell
from .network import DEFAULT_FORM, Arrays, Network, load_network
from .onnx_file import FileError, check_file, find_precision, save
from .runtimes.base import Session, load_runtime

FP16, INT8 = "fp16", "int8"
TOOLS = {FP16: "modelopt.onnx.autocast", INT8: "modelopt.onnx.quantization, int8"}


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Write `request["file"]` of `request["source"]`, and return what the manifest says of it.

    `request`: `source`, `file`, `precision`, `form`, `runtime` (of the one that opens ONNX files), and `samples`, those
    that int8 ranges are taken from. `settings.engine` is set, so that the adapter loads no weights.

    Raises:
        FileError: the written file is not of the precision, or not sound.
    """
    precision, source, file = str(request["precision"]), str(request["source"]), str(request["file"])
    fixes = list(adapter.load(settings) or [])
    network = load_network(adapter, str(request.get("form") or DEFAULT_FORM))
    session = load_runtime(request["runtime"]).open(source, device="cpu")
    feeds = [network.example({})]
    if precision == INT8:
        samples = request["samples"]
        tell("reading {} calibration samples".format(len(samples)))
        feeds = collect_feeds(adapter, network, session, samples)
        tell("quantising")
        quantize(source, file, feeds)
    else:
        tell("writing {}".format(precision))
        cast(source, file)
    verdicts = _check(network, session, source, file, precision, feeds[0], request["runtime"])
    names = ("modelopt", "onnx", "onnxruntime", "numpy", "torch")
    return {
        "fixes": fixes,
        "exporter": TOOLS[precision],
        "opset": verdicts["opset"],
        "versions": {name: str(import_module(name).__version__) for name in names},
        "verdicts": verdicts,
    }


def collect_feeds(
    adapter: Adapter, network: Network, session: Session, samples: Sequence[Dict[str, Any]]
) -> List[Arrays]:
    """Return what the network is called with for samples, scene by scene, its carried state from the float32 file."""
    found: List[Arrays] = []
    state: Arrays = {}
    scene = None
    for sample in samples:
        if sample["scene"] != scene:
            scene = sample["scene"]
            adapter.start_scene(scene)
            network.start_scene()
            state = network.first_state()
        for feed in network.feeds(adapter.prepare(sample)):
            whole = {**feed, **state}
            found.append(whole)
            if network.carried:
                outputs = session.run(whole)
                state = {own: outputs[name] for name, own in network.carried.items()}
    return found


def cast(source: str, file: str) -> None:
    """Write the fp16 file; operators that overflow in it stay float32."""
    autocast = import_module("modelopt.onnx.autocast")
    save(autocast.convert_to_mixed_precision(onnx_path=source, low_precision_type="fp16", keep_io_types=True), file)


def quantize(source: str, file: str, feeds: Sequence[Arrays]) -> None:
    """Write the int8 file, with ranges taken from `feeds`."""
    numpy, quantization = import_module("numpy"), import_module("modelopt.onnx.quantization")
    ranges = {name: numpy.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    quantization.quantize(
        source,
        quantize_mode="int8",
        calibration_data=ranges,
        calibration_eps=["cpu"],
        high_precision_dtype="fp32",
        output_path=file,
    )


def require_precision(model: Any, wanted: str) -> None:
    """Raise FileError for a file that is called fp16 or int8 and holds no such tensor."""
    found = find_precision(model)
    if found != wanted:
        raise FileError(
            "the file is {}, and {} was asked for: none of its tensors is {}".format(found, wanted, wanted),
            fault="precision",
        )


def _check(
    network: Network,
    session: Session,
    source: str,
    file: str,
    precision: str,
    feed: Arrays,
    runtime: Mapping[str, Any],
) -> Dict[str, Any]:
    """Hold the written file to its name, to the network's inputs and outputs, and to the float32 file."""
    onnx, numpy = import_module("onnx"), import_module("numpy")
    model = onnx.load(file)
    require_precision(model, precision)
    # The writer may need a later opset than the exporter was asked for: int8's scales by channel do.
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    checked = check_file(model, inputs=network.inputs(), outputs=network.outputs(), opset=opset)
    reference = session.run(feed)
    ours = load_runtime(runtime).open(file, device="cpu").run(feed)
    for name in reference:
        if not numpy.isfinite(ours[name]).all():
            raise FileError("{} is not finite in {}".format(name, precision))
    paired = network.pair(ours, reference)
    return {
        **checked,
        "slimmed": "no: written of a slimmed file",
        "nodes": len(model.graph.node),
        "largest_difference": {
            name: difference(paired.ours[name], paired.theirs[name], name=name) for name in reference
        },
        **({"unpaired_rows": dict(paired.unpaired)} if paired.unpaired else {}),
        "of": os.path.basename(source),
        "float32_bytes": os.path.getsize(source),
    }
