"""The interface of a model: subclass `Adapter` in `envs/<Model>/demo.py`, and call `worker.main.main` with it.

    from worker.adapter import Adapter, DataError, Settings
    from worker.main import main

    class GroundPlane(Adapter):
        name = "GroundPlane"
        ...

    if __name__ == "__main__":
        sys.exit(main(GroundPlane))

The same file then works alone (`demo.py --sample-token T --dataroot D --version V --out FILE`) and as a worker
(`demo.py --serve`, started by the host). Whatever it prints goes to the log and never disturbs the protocol.
"""

from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .precision import AUTHORS, FLOAT32, InForce, in_force
from .samples.errors import DataError

__all__ = ["Adapter", "DataError", "Settings"]


class Settings(NamedTuple):
    """How to build the model.

    `device` is torch's name of one ("cpu", "cuda:0"). `config` and `checkpoint` are paths, or None for a model
    that has none. `gpu_memory_limit_mb` is in megabytes (10⁶ bytes). `shrink` counts how often this scene ran out of
    GPU memory: 0 at first, then 1 and 2, and the adapter lowers what it can. `options` are the model's own, and
    `weights`: `random:SEED` in place of a checkpoint; `ema`: `use` or `leave` the moving average in it; `fixes`.
    `precision` is one of `worker.precision.PRECISIONS`. `engine` is set where a file executes the network: then the
    adapter builds what `prepare` and `convert` need, and leaves the network's weights as they are drawn.
    """

    device: str = "cpu"
    config: Optional[str] = None
    checkpoint: Optional[str] = None
    variant: str = ""
    gpu_memory_limit_mb: Optional[float] = None
    shrink: int = 0
    options: Mapping[str, Any] = MappingProxyType({})
    precision: str = AUTHORS
    engine: Optional[Mapping[str, Any]] = None


class Adapter:
    """One model. For every sample: `prepare`, `forward`, `convert`, in this order; the samples of a scene in order.

    An exception costs its sample and no more: `DataError` says that the input is at fault, any other that the model
    is. The three steps are timed apart, so that `inference_time` is the model call alone.
    """

    name = "Adapter"
    imports_extension = False
    """True where `load` itself imports the package `extension` beside the adapter, after the libraries it needs."""
    precisions: Tuple[str, ...] = (AUTHORS, FLOAT32)
    """What `--precision` may ask of this model."""

    graph_forms = 4
    """For how many forms of their input graphs of `graph_parts` are kept; 1 for parts that keep tensors by the last."""

    def load(self, settings: Settings) -> List[str]:
        """Build the model. Returns the names of the catalogue's fixes that were applied, in a steady order."""
        raise NotImplementedError

    def start_scene(self, scene: str) -> None:
        """Forget everything of the scene before. Nothing to do for a model without memory."""

    def prepare(self, sample: Dict[str, Any]) -> Any:
        """Read and decode the input. Raises DataError where it cannot be read. Not part of `inference_time`.

        An adapter either overrides this, or `read` and what else it needs of `describe` and `place`: then processes of
        the worker's can read its samples ahead.
        """
        return self.place(self.read(self.describe(sample)), sample)

    def describe(self, sample: Dict[str, Any]) -> Any:
        """Return what `read` needs of a sample. Called in the worker and in order, maybe several samples ahead.

        What depends on the samples before belongs here, such as which earlier pictures are read; not the reading.
        """
        return sample

    def read(self, described: Any) -> Any:
        """Read and decode the input, on the host. Raises DataError where it cannot be read.

        It may run in another process, so it depends on nothing but `described` and what `load` has left, changes
        neither, and uses no GPU. What it returns has a plain form: numbers, texts, lists, tuples, dictionaries, arrays
        of numpy, tensors on the CPU (see `worker/prefetch/plain.py`).
        """
        return described

    def place(self, read: Any, sample: Dict[str, Any]) -> Any:
        """Return what was read as `forward` takes it, on its device. Called in the worker, when the sample is due.

        On a GPU, tensors of `read` are only lent: a copy must be on the device when this returns.
        """
        return read

    def reads_apart(self) -> bool:
        """Tell whether `read` may run in another process: the adapter overrides it, and not `prepare`."""
        return type(self).prepare is Adapter.prepare and type(self).read is not Adapter.read

    def forward(self, inputs: Any) -> Any:
        """Call the model, and do nothing else: this is what `inference_time` measures."""
        raise NotImplementedError

    def forward_batch(self, inputs: List[Any]) -> List[Any]:
        """Call the model once for several samples, and return what `forward` would for each, in their order.

        Only a model whose samples do not depend on each other overrides this, and says `batches = true` in its
        model.toml. Each sample is prepared and converted by itself. What it gives for a sample must not depend on the
        others in the batch.
        """
        raise NotImplementedError

    def graph_parts(self) -> Dict[str, Any]:
        """Return the modules of the loaded network that `--graphs` may record and replay, by name.

        What a part gives depends on its tensors alone: it keeps no state from call to call, draws nothing at random and
        looks at no value on the host. See `worker/graphs.py`.
        """
        return {}

    def convert(self, raw: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        """Return the standard record's outputs, one key a task: `{"detections_3d": [...], "map_elements": [...]}`.

        Plain JSON (no arrays, no NaN), in metres, m/s and radians, in the ego frame of the sample.
        """
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until the device has finished. The runtime waits for its own GPU; override this for another device."""

    def precision(self) -> InForce:
        """Return the arithmetic that is in force after `load`; single precision, unless a subclass says otherwise."""
        return in_force()

    def libraries(self) -> Dict[str, str]:
        """Return the versions of the libraries that decide the result."""
        return {}
