"""The job that holds an exported file against the model's network in PyTorch: the file first, then its tensors.

Tensors are compared frame by frame from the reference's own state: an engine that is a little off does not carry that
into the next frame, and the difference says something of the engine alone. Every frame comes twice, the second time
with another vehicle's extrinsics, so that a rig that the trace has baked in shows; once is enough for a network that
gets nothing of the rig.
"""

from importlib import import_module
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .adapter import Adapter, Settings
from .engine import require_names, require_shapes
from .in_pytorch import Call, torch_reference
from .jobs import tell
from .network import DEFAULT_FORM, Arrays, Network, NetworkError, Paired, TensorSpec, check_feed, load_network
from .onnx_file import FileError, check_file, find_precision
from .parting import find_parting
from .runtimes.base import ProviderError, Runtime, Session, load_runtime
from .samples.moved_rig import has_rig, move_rig

GIVEN, MOVED = "given", "moved"
PERCENTILE = 99.9
PLAIN = ("auto", "fp32", "fp32_tf32")
"""What a float32 file may be called."""


class Tensor:
    """How far one output of one rig is from the reference's, over the frames."""

    def __init__(self, spec: TensorSpec, rig: str) -> None:
        self.name, self.rig, self.unit = spec.name, rig, spec.unit
        self.frames: List[Dict[str, Optional[float]]] = []
        self.fault: Optional[str] = None
        self.unpaired: Optional[float] = None
        self._low, self._high = float("inf"), float("-inf")

    def require_finite(self, ours: Arrays, theirs: Arrays) -> None:
        """Note what is not finite in a call's whole outputs: rows that are no number have no counterpart, and go."""
        numpy = import_module("numpy")
        for array, whose in ((theirs[self.name], "PyTorch"), (ours[self.name], "the engine")):
            if self.fault is None and not numpy.isfinite(array).all():
                self.fault = "is not finite in {}, call {}".format(whose, len(self.frames) + 1)

    def add(self, paired: Paired) -> None:
        """Take one call's arrays: the engine's and the reference's."""
        numpy = import_module("numpy")
        ours, theirs = paired.ours[self.name], paired.theirs[self.name]
        if self.name in paired.unpaired:
            self.unpaired = max(self.unpaired or 0.0, paired.unpaired[self.name])
        if ours.shape != theirs.shape:
            self.fault = "has shape {} and not {}".format(tuple(ours.shape), tuple(theirs.shape))
            return
        if self.fault is not None:
            return
        ours, theirs = ours.astype("float64"), theirs.astype("float64")
        apart = numpy.abs(ours - theirs)
        if not apart.size:
            self.frames.append({"largest": 0.0, "p999": 0.0})
            return
        self._low, self._high = min(self._low, float(theirs.min())), max(self._high, float(theirs.max()))
        largest, p999 = float(apart.max()), float(numpy.percentile(apart, PERCENTILE))
        self.frames.append({"largest": largest, "p999": p999})

    def to_json(self) -> Dict[str, Any]:
        """Return the numbers: the largest over the frames, and the reference's range."""
        worst = max(range(len(self.frames)), key=lambda i: self.frames[i]["largest"] or 0.0, default=None)
        return {
            "tensor": self.name,
            "rig": self.rig,
            "unit": self.unit,
            "frames": len(self.frames),
            "range": max(0.0, self._high - self._low),
            "largest": max((one["largest"] or 0.0 for one in self.frames), default=None),
            "p999": max((one["p999"] or 0.0 for one in self.frames), default=None),
            "worst_frame": worst,
            "unpaired": self.unpaired,
            "fault": self.fault,
        }


class Frame(NamedTuple):
    """The whole input of one call, the reference's state in it, and which it is."""

    rig: str
    number: int
    whole: Arrays


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Load the model in PyTorch and compare the file with it.

    `request`: `file`, `form`, `precision` (what the file is called, None if nobody says), `opset` (None: whatever it
    declares), `runtime` (as in a load frame), `samples` (of one scene, with absolute paths), `bound` (what `bisect`
    takes for equal, relative to a tensor's largest value), `bisect`.

    Returns `departs` of the network, and `file` and `tensors`, each with what was found; a step that failed has `fault`
    and `reason`, and the steps after it are not there.
    """
    tell("loading {} in PyTorch".format(adapter.name))
    adapter.load(settings)
    network = load_network(adapter, str(request.get("form") or DEFAULT_FORM))
    runtime = load_runtime(request["runtime"])
    runtime.use_settings(request.get("engine") or {})
    tell("checking the file")
    try:
        facts, session = verify_file(network, runtime, device=settings.device, request=request)
    except FileError as error:
        return {"file": {"fault": error.fault, "reason": str(error)}}
    reference = torch_reference(network)

    def engine(whole: Arrays) -> Arrays:
        require_shapes(network, session, whole, export=str(request.get("export") or ""))
        return session.run(whole)

    tensors, worst = compare(network, reference, engine, request["samples"])
    answer: Dict[str, Any] = {"departs": network.departs, "file": facts, "tensors": [one.to_json() for one in tensors]}
    if request.get("bisect") and worst is not None:
        tell("looking for the first module whose output parts")
        answer["bisect"] = find_parting(
            network, runtime, str(request["file"]), worst.whole, bound=float(request["bound"]), device=settings.device
        )
        answer["bisect"].update({"frame": worst.number, "rig": worst.rig})
    return answer


def verify_file(
    network: Network, runtime: Runtime, *, device: str, request: Mapping[str, Any]
) -> Tuple[Dict[str, Any], Session]:
    """Check the file and open it; returns what was found, and the session.

    Raises:
        FileError: something is wrong with it; `fault` says what.
    """
    file, called = str(request["file"]), request.get("precision")
    facts: Dict[str, Any] = {}
    if file.endswith(".onnx"):
        facts = _check_onnx(network, file, opset=request.get("opset"))
        if called is not None and facts["precision"] != ("fp32" if called in PLAIN else called):
            text = "the file is called {}, and its arithmetic is {}".format(called, facts["precision"])
            raise FileError(text, fault="precision")
    try:
        session = runtime.open(file, device=device)
    except ProviderError as error:
        raise FileError(str(error), fault="provider") from error
    except Exception as error:  # a runtime raises classes of its own
        reason = " ".join(str(error).split())[:500]
        raise FileError("{} cannot open the file: {}".format(runtime.name, reason), fault="session") from error
    try:
        require_names(network, session, where="the file")
    except NetworkError as error:
        raise FileError(str(error), fault="names") from error
    return {**facts, "provider": session.provider}, session


def _check_onnx(network: Network, file: str, *, opset: Any) -> Dict[str, Any]:
    onnx = import_module("onnx")
    try:
        model = onnx.load(file)
    except Exception as error:  # protobuf and onnx raise classes of their own
        raise FileError("the file is no ONNX file: {}".format(error), fault="checker") from error
    declared = next((one.version for one in model.opset_import if not one.domain), None)
    wanted = int(opset if opset is not None else declared or 0)
    checked = check_file(model, inputs=network.inputs(), outputs=network.outputs(), opset=wanted)
    return {**checked, "precision": find_precision(model), "nodes": len(model.graph.node)}


def compare(
    network: Network, reference: Call, engine: Call, samples: Sequence[Dict[str, Any]]
) -> Tuple[List[Tensor], Optional[Frame]]:
    """Compare every output over the frames of a scene with each rig; also returns the frame that is furthest apart."""
    tensors: List[Tensor] = []
    worst: Optional[Frame] = None
    furthest = -1.0
    for rig in (GIVEN, MOVED) if samples and _sees_rig(network, samples[0]) else (GIVEN,):
        own = {one.name: Tensor(one, rig) for one in network.outputs()}
        told = -1
        for index, whole, theirs in frames_of(network, reference, samples, rig):
            if index != told:
                tell("frame {} of {}, {} rig".format(index + 1, len(samples), rig))
            told = index
            ours = engine(whole)
            paired = network.pair(ours, theirs)
            for tensor in own.values():
                tensor.require_finite(ours, theirs)
                tensor.add(paired)
            apart = max(_apart(paired.ours[name], paired.theirs[name]) for name in own)
            if apart > furthest:
                furthest, worst = apart, Frame(rig, index, whole)
        tensors += own.values()
    return tensors, worst


def _sees_rig(network: Network, sample: Dict[str, Any]) -> bool:
    """Tell whether the network gets anything of the rig: then another rig changes what goes into it."""
    if not has_rig(sample):
        return False
    numpy = import_module("numpy")
    fed = []
    for one in (sample, move_rig(sample)):
        network.adapter.start_scene(str(sample["scene"]))
        network.start_scene()
        fed.append(network.feeds(network.adapter.prepare(one)))
    return len(fed[0]) != len(fed[1]) or not all(
        numpy.array_equal(given[name], moved[name]) for given, moved in zip(*fed) for name in given
    )


def frames_of(network: Network, reference: Call, samples: Sequence[Dict[str, Any]], rig: str) -> Any:
    """Yield of every call the frame's number, its whole input and the reference's outputs, which carry the state."""
    adapter = network.adapter
    adapter.start_scene(str(samples[0]["scene"]))
    network.start_scene()
    state = network.first_state()
    for index, sample in enumerate(samples):
        inputs = adapter.prepare(sample if rig == GIVEN else move_rig(sample))
        for feed in network.feeds(inputs):
            whole = {**feed, **state}
            check_feed(whole, network.inputs(), what="{}: the network's input".format(adapter.name))
            theirs = reference(whole)
            yield index, whole, theirs
            state = {own: theirs[name] for name, own in network.carried.items()}


def _apart(ours: Any, theirs: Any) -> float:
    numpy = import_module("numpy")
    if ours.shape != theirs.shape:
        return float("inf")
    apart = float(numpy.abs(ours.astype("float64") - theirs.astype("float64")).max()) if ours.size else 0.0
    return apart if apart == apart else float("inf")
