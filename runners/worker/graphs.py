"""CUDA graphs (`--graphs`): parts of a network whose launches are recorded once and replayed for every sample.

A part is a module that the adapter names: its outputs depend on its tensors alone. The first call with a form of input
(shapes, types, strides) runs as ever. After that sample, outside its times, the part is run again on a stream of its
own, recorded, replayed and compared with what the first call gave; it is replayed from then on only where both are
equal to the last bit, or within BOUNDS. Every other part goes on as ever, and the reason is told.

What PyTorch's documentation asks for ("CUDA Graphs", 2.10): warm-up and recording on one side stream; no gradients;
inputs in buffers that stay; a memory pool of the graphs' own; autocast without its cache, whose tensors are freed after
a region ends while the graph would read them; nothing that waits for the device, which PyTorch refuses while it
records. Algorithms that cuDNN measures are chosen in the warm-up.
"""

import gc
import inspect
from collections import OrderedDict
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

from .adapter import Adapter, Settings

REPLAYED, RECORDED, EAGER = "replayed", "recorded", "eager"
"""How a part ran in a sample: as a graph; as ever, and recorded after it; as ever, now and from then on."""
WARM_UP = 3
BOUNDS = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}
"""Type → how far an output may be from the first call's, of its largest value: a unit or two of its last digit in
half precision, some hundred in float32, where another order of sums gives as much. Other types are equal or not."""
Form = Tuple[Any, ...]


class GraphsError(ValueError):
    """Nothing of the model can be recorded here. The text names the model and says why."""


class UnknownForm(Exception):  # noqa: N818  a reason, not an error
    """A value among a part's inputs or outputs that no buffer can hold."""


class Mode(NamedTuple):
    """What PyTorch's modes were at a call; a graph is of one of each."""

    inference: bool
    autocast: bool
    dtype: Any


class Recording(NamedTuple):
    """A graph, the buffers that it reads, and its outputs: `form` of `tensors`, which the next replay overwrites."""

    graph: Any
    inputs: List[Any]
    form: Form
    tensors: List[Any]

    def replay(self, inputs: List[Any]) -> Any:
        """Run the graph on these inputs, and return outputs of the caller's own."""
        for buffer, given in zip(self.inputs, inputs):
            buffer.copy_(given)
        self.graph.replay()
        return join(self.form, iter([tensor.clone() for tensor in self.tensors]))


class Recorder:
    """Records calls, on one stream and into one pool of memory for all parts of a worker.

    Parts may share the pool: each leaves copies of its outputs before another graph runs.
    """

    def __init__(self, torch: Any, device: str) -> None:
        self.torch = torch
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        known = inspect.signature(torch.cuda.graph.__init__).parameters
        # Other threads of the worker may reserve memory meanwhile. PyTorch before 2.1 has no such choice.
        self._more = {"capture_error_mode": "thread_local"} if "capture_error_mode" in known else {}

    def record(self, call: Callable[[List[Any]], Any], inputs: List[Any], mode: Mode) -> Recording:
        """Record `call` on copies of the inputs. Raises whatever it or PyTorch raises; the stream is as before then."""
        cuda, graph = self.torch.cuda, self.torch.cuda.CUDAGraph()
        gc.collect()  # a tensor that is freed while PyTorch records may end the recording
        self._stream.wait_stream(cuda.current_stream(self._device))
        # Around all of it: PyTorch's own block leaves its stream current where the end of a recording fails.
        with cuda.device(self._device), cuda.stream(self._stream):
            with self.as_called(mode):
                buffers = [tensor.clone() for tensor in inputs]
            for _ in range(WARM_UP):
                with self.as_called(mode):  # left each time: the end of a region empties autocast's cache
                    call(buffers)
            cuda.synchronize(self._device)
            try:
                with cuda.graph(graph, pool=self._pool, stream=self._stream, **self._more), self.as_called(mode):
                    form, tensors = split(call(buffers))
            except Exception:
                self._pool = cuda.graph_pool_handle()  # PyTorch takes the old one for still in use
                raise
        cuda.synchronize(self._device)
        return Recording(graph, buffers, form, tensors)

    def mode(self) -> Mode:
        """Return what PyTorch's modes are now."""
        torch = self.torch
        inference = bool(torch.is_inference_mode_enabled())
        if not torch.is_autocast_enabled():
            return Mode(inference, False, None)
        dtype = torch.get_autocast_dtype("cuda") if hasattr(torch, "get_autocast_dtype") else None
        return Mode(inference, True, dtype or torch.get_autocast_gpu_dtype())

    @contextmanager
    def as_called(self, mode: Mode) -> Iterator[None]:
        """Run the block in a call's modes, without autocast's cache."""
        torch = self.torch
        more = {"dtype": mode.dtype} if mode.autocast else {}
        cast = torch.autocast("cuda", enabled=mode.autocast, cache_enabled=False, **more)
        with torch.inference_mode(mode.inference), torch.no_grad(), cast:
            yield

    def synchronize(self) -> None:
        """Wait for the device. Raises what CUDA raises where an error has left it of no use."""
        self.torch.cuda.synchronize(self._device)


class _Pending(NamedTuple):
    """A first call with a form: its inputs as they came, its outputs as it gave them, both copies."""

    mode: Mode
    form: Form
    inputs: List[Any]
    given: Form
    outputs: List[Any]


class Part:
    """A module's `forward` that is replayed once it is recorded. `reason` says why it is not, where it never will be.

    `most_forms` is for how many forms of input graphs are kept. At one more, all of them are given up: a module that
    keeps tensors by its last input's form has replaced those that earlier graphs read.
    """

    def __init__(self, name: str, module: Any, recorder: Recorder, *, most_forms: int) -> None:
        self.name = name
        self.reason = ""
        self._eager = module.forward
        self._recorder = recorder
        self._most_forms = most_forms
        self._recordings: Dict[Form, Recording] = {}
        self._pending: Dict[Form, _Pending] = {}
        self._states: List[str] = []
        module.forward = self

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Replay, or call the module as ever."""
        if self.reason or self._recorder.torch.is_grad_enabled():
            return self._call_eager(given, named)
        try:
            form, inputs = split((given, named))
        except UnknownForm as unknown:
            self.give_up("its input holds {}".format(unknown))
            return self._call_eager(given, named)
        mode = self._recorder.mode()
        key = (mode, form)
        if key in self._recordings:
            self._states.append(REPLAYED)
            return self._recordings[key].replay(inputs)
        if key not in self._pending and len(self._recordings) + len(self._pending) >= self._most_forms:
            more = "its input came in more than {} forms".format(self._most_forms)
            self.give_up(more if self._most_forms > 1 else "its input changed its form")
            return self._call_eager(given, named)
        kept = [tensor.clone() for tensor in inputs]  # a module may write into its inputs
        raw = self._call_eager(given, named, state=RECORDED)
        if any(not self._recorder.torch.equal(before, now) for before, now in zip(kept, inputs)):
            self.give_up("it writes into its input")
        elif key not in self._pending:
            self._keep(key, _Pending(mode, form, kept, (), []), raw)
        return raw

    def finish(self) -> None:
        """Record what the sample's calls have shown; its outputs and times are done."""
        pending, self._pending = self._pending, {}
        for key, one in pending.items():
            if self.reason:
                return
            try:
                recording = self._recorder.record(partial(self._run, one.form), one.inputs, one.mode)
                with self._recorder.as_called(one.mode):
                    problem = self._compare(recording, one)
            except Exception as error:  # noqa: BLE001  whatever stops a recording is why the part runs as ever
                self._recorder.synchronize()
                problem = "{}: {}".format(type(error).__name__, (str(error).splitlines() or [""])[0])
            if problem:
                self.give_up(problem)
            else:
                self._recordings[key] = recording

    def take_state(self) -> str:
        """Return how the part ran since the last call of this: as the least of its calls; empty for none."""
        states, self._states = set(self._states), []
        return next((state for state in (RECORDED, EAGER, REPLAYED) if state in states), "")

    def forget(self) -> None:
        """Leave what a failed sample has shown."""
        self._pending, self._states = {}, []

    def give_up(self, reason: str) -> None:
        """Run as ever from now on."""
        self.reason = reason
        self._recordings, self._pending = {}, {}

    def _call_eager(self, given: Tuple[Any, ...], named: Dict[str, Any], *, state: str = EAGER) -> Any:
        self._states.append(state)
        return self._eager(*given, **named)

    def _keep(self, key: Form, pending: _Pending, raw: Any) -> None:
        try:
            form, outputs = split(raw)
        except UnknownForm as unknown:
            self.give_up("its output holds {}".format(unknown))
            return
        copies = [tensor.clone() for tensor in outputs]
        self._pending[key] = pending._replace(given=form, outputs=copies)

    def _run(self, form: Form, inputs: List[Any]) -> Any:
        given, named = join(form, iter(inputs))
        return self._eager(*given, **named)

    def _compare(self, recording: Recording, one: _Pending) -> str:
        """Replay on the first call's inputs. Returns what is wrong with the outputs; nothing where they are right."""
        found, outputs = split(recording.replay(one.inputs))
        if found != one.given:
            return "its outputs have another form than without a graph"
        for own, first in zip(outputs, one.outputs):
            problem = find_difference(self._recorder.torch, own, first)
            if problem:
                return problem
        return ""


class Graphs:
    """The parts of a worker's network."""

    def __init__(self, parts: List[Part]) -> None:
        self._parts = parts
        self._told: List[str] = []

    def finish(self) -> Dict[str, Any]:
        """Record what is new after a sample. Returns what its result says: `graphs`, and reasons that are new."""
        states = {part.name: part.take_state() for part in self._parts}
        for part in self._parts:
            part.finish()
        refused = {part.name: part.reason for part in self._parts if part.reason and part.name not in self._told}
        self._told += refused
        said: Dict[str, Any] = {"graphs": {name: state for name, state in states.items() if state}}
        return {**said, "graphs_refused": refused} if refused else said

    def forget(self) -> None:
        """Leave what a failed sample has shown."""
        for part in self._parts:
            part.forget()


def record_graphs(adapter: Adapter, settings: Settings) -> Graphs:
    """Prepare a loaded adapter's network for graphs.

    Raises:
        GraphsError: the device is no GPU, PyTorch has no graphs, or the adapter names no part.
    """
    modules = adapter.graph_parts()
    if not modules:
        raise GraphsError("{} names no part of its network that --graphs can record: leave it out".format(adapter.name))
    if not settings.device.startswith("cuda"):
        raise GraphsError(
            "{} runs on {}, which has no CUDA graphs: leave --graphs out".format(adapter.name, settings.device)
        )
    torch = import_module("torch")
    if not hasattr(torch.cuda, "CUDAGraph"):
        text = "{} cannot run with --graphs: PyTorch {} has none, 1.10 has; choose another --variant"
        raise GraphsError(text.format(adapter.name, torch.__version__))
    training = [name for name, module in modules.items() if any(one.training for one in module.modules())]
    if training:
        raise GraphsError("{} runs its {} in training mode, which draws at random".format(adapter.name, training[0]))
    recorder = Recorder(torch, settings.device)
    return Graphs([Part(name, module, recorder, most_forms=adapter.graph_forms) for name, module in modules.items()])


def find_modules(network: Any, names: Tuple[str, ...]) -> Dict[str, Any]:
    """Return the modules of a network that have these dotted names, those that it has; `""` is the whole of it."""
    known = dict(network.named_modules())
    return {name or "network": known[name] for name in names if name in known}


def find_difference(torch: Any, own: Any, first: Any) -> str:
    """Say how far a replayed tensor is from the first call's; nothing where it is equal, or within BOUNDS."""
    if torch.equal(own, first):
        return ""
    kind = str(own.dtype).rpartition(".")[2]
    if kind not in BOUNDS or not own.numel():
        return "its outputs of type {} are others than without a graph".format(kind)
    difference = float((own.double() - first.double()).abs().max())
    largest = float(first.double().abs().max())
    if difference <= BOUNDS[kind] * largest:
        return ""
    text = "its outputs differ by {:.1e} of {:.2g} from those without a graph, and {:.1e} is the bound"
    return text.format(difference, largest, BOUNDS[kind] * largest)


def split(value: Any) -> Tuple[Form, List[Any]]:
    """Return a value's form, which can be compared and looked up, and its tensors.

    Raises:
        UnknownForm: something in it is neither a tensor, a list, a tuple, a dictionary nor a plain value.
    """
    tensors: List[Any] = []
    return _form_of(value, tensors), tensors


def join(form: Form, tensors: Iterator[Any]) -> Any:
    """Return the value of a form with these tensors in it."""
    kind, rest = form[0], form[1:]
    if kind == "tensor":
        return next(tensors)
    if kind == "value":
        return rest[0]
    if kind in ("list", "tuple"):
        items = [join(one, tensors) for one in rest]
        return items if kind == "list" else tuple(items)
    made = OrderedDict() if kind == "OrderedDict" else {}  # type: Dict[Any, Any]
    for key, one in rest:
        made[key] = join(one, tensors)
    return made


def _form_of(value: Any, tensors: List[Any]) -> Form:
    if hasattr(value, "data_ptr"):
        tensors.append(value)
        return ("tensor", tuple(value.shape), tuple(value.stride()), str(value.dtype), str(value.device))
    kind = type(value)
    if kind in (list, tuple):
        return (kind.__name__, *[_form_of(one, tensors) for one in value])
    if kind in (dict, OrderedDict):
        return (kind.__name__, *[(key, _form_of(one, tensors)) for key, one in value.items()])
    if value is None or kind in (bool, int, float, str):
        return ("value", value, kind.__name__)  # True and 1 are equal, and not the same
    raise UnknownForm("a {}".format(kind.__name__))
