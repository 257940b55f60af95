"""Running a model by an exported file: the adapter's own `prepare` and `convert`, and the file in between."""

from typing import Any, Dict, List, Mapping

from .adapter import Adapter, Settings
from .in_pytorch import TorchSession
from .network import DEFAULT_FORM, Arrays, Network, NetworkError, check_feed, load_network
from .precision import FLOAT32, HALF, InForce, in_force
from .runtimes.base import Runtime, Session


class EngineAdapter(Adapter):
    """A loaded adapter whose network is executed from a file by another runtime.

    State that the network carries is kept here, from sample to sample of one scene.
    """

    def __init__(
        self, adapter: Adapter, network: Network, session: Session, *, precision: str = "", export: str = ""
    ) -> None:
        self.name = adapter.name
        self.precisions = adapter.precisions
        self._adapter = adapter
        self._network = network
        self._session = session
        self._precision = precision
        self._export = export
        self._state: Arrays = {}
        self._checked = False

    def start_scene(self, scene: str) -> None:
        """Begin with the network's first state."""
        self._adapter.start_scene(scene)
        self._begin()

    def prepare(self, sample: Dict[str, Any]) -> Any:
        """Prepare as the adapter does, and make the arrays of every call of it."""
        inputs = self._adapter.prepare(sample)
        return inputs, self._network.feeds(inputs)

    def describe(self, sample: Dict[str, Any]) -> Any:
        """Describe as the adapter does."""
        return self._adapter.describe(sample)

    def read(self, described: Any) -> Any:
        """Read as the adapter does."""
        return self._adapter.read(described)

    def place(self, read: Any, sample: Dict[str, Any]) -> Any:
        """Place as the adapter does, and make the arrays of every call of it."""
        inputs = self._adapter.place(read, sample)
        return inputs, self._network.feeds(inputs)

    def reads_apart(self) -> bool:
        """Tell whether the adapter's `read` may run in another process."""
        return self._adapter.reads_apart()

    def forward(self, inputs: Any) -> Any:
        """Call the file's network and decode: what the adapter's own `forward` does, and as its time.

        Copies to the device and back are part of it. After a call that failed the scene begins anew: what `feeds`
        remembers is of a sample that the state is not of.
        """
        prepared, feeds = inputs
        try:
            return self._network.decode([self._call(feed) for feed in feeds], prepared)
        except Exception:
            self._begin()
            raise

    def convert(self, raw: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        """Convert as the adapter does."""
        return self._adapter.convert(raw, sample)

    def synchronize(self) -> None:
        """Nothing to wait for: a session returns arrays of the host."""

    def precision(self) -> InForce:
        """Return the arithmetic that the file is written in."""
        return in_force(activations=HALF if self._precision == "fp16" else FLOAT32)

    def libraries(self) -> Dict[str, str]:
        """Return the adapter's own."""
        return self._adapter.libraries()

    def _begin(self) -> None:
        self._network.start_scene()
        self._state = self._network.first_state()

    def _call(self, feed: Arrays) -> Arrays:
        whole = {**feed, **self._state}
        if not self._checked:
            check_feed(whole, self._network.inputs(), what="{}: the network's input".format(self.name))
            require_shapes(self._network, self._session, whole, export=self._export)
            self._checked = True
        outputs = self._session.run(whole)
        self._state = {own: outputs[name] for name, own in self._network.carried.items()}
        return outputs


def open_engine(adapter: Adapter, settings: Settings, runtime: Runtime) -> Adapter:
    """Return the loaded `adapter` with the file of `settings.engine` as its network.

    Raises:
        NetworkError: the file's inputs and outputs are not those of the model's network.
        RuntimeError: the runtime cannot open it on the device, or only on another one.
    """
    engine: Mapping[str, Any] = settings.engine or {}
    network = load_network(adapter, str(engine.get("form") or DEFAULT_FORM))
    runtime.use_settings(engine)
    session = runtime.open(str(engine["file"]), device=settings.device)
    require_names(network, session, where=str(engine["file"]))
    precision, export = (str(engine.get(name) or "") for name in ("precision", "export"))
    return EngineAdapter(adapter, network, session, precision=precision, export=export)


def run_exported_form(adapter: Adapter) -> Adapter:
    """Return the loaded `adapter` with the exported form of its network, executed by PyTorch, as its forward."""
    network = load_network(adapter)
    return EngineAdapter(adapter, network, TorchSession(network))


def require_names(network: Network, session: Session, *, where: str) -> None:
    """Raise NetworkError unless the session has exactly the network's inputs and outputs."""
    pairs = (("input", network.inputs(), session.inputs), ("output", network.outputs(), session.outputs))
    for what, specs, own in pairs:
        wanted = [one.name for one in specs]
        problems: List[str] = ["lacks the {} {}".format(what, name) for name in wanted if name not in own]
        problems += ["has the unknown {} {}".format(what, name) for name in own if name not in wanted]
        if problems:
            raise NetworkError("{} {}: it is no export of this model's network".format(where, ", ".join(problems)))


def require_shapes(network: Network, session: Session, whole: Arrays, *, export: str = "") -> None:
    """Raise NetworkError for an array of another size than the file was exported for, such as of other pictures.

    `export` is the command that exported the file.
    """
    for spec in network.inputs():
        own, wanted = tuple(whole[spec.name].shape), tuple(session.shapes.get(spec.name, ()))
        if any(isinstance(length, int) and length != given for length, given in zip(wanted, own)):
            axes = {axis: own[index] for index, axis in spec.dynamic_axes.items()}
            options = " ".join("--axis {}={}".format(axis, length) for axis, length in axes.items())
            raise NetworkError(
                "{} has shape {}, and the file was exported for {}".format(spec.name, own, wanted),
                hint="{} {}".format(export or "admlops export {}".format(network.adapter.name), options),
            )
