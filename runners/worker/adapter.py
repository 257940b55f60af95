"""What a model has to say for itself: subclass `Adapter` in `envs/<Model>/demo.py`, and end it with `main`.

    class GroundPlane(Adapter):
        name = "GroundPlane"
        ...

    if __name__ == "__main__":
        sys.exit(main(GroundPlane))

The same file then works alone (`demo.py --sample-token T --dataroot D --version V --out FILE`) and as a worker
(`demo.py --serve`, started by the host). Whatever it prints goes to the log and never disturbs the protocol.
"""

import argparse
from types import MappingProxyType
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from worker.precision import AUTHORS, FLOAT32, PRECISIONS, InForce, in_force
from worker.samples.nuscenes import DataError

__all__ = ["Adapter", "DataError", "Settings", "main"]


class Settings(NamedTuple):
    """How the host wants the model built.

    `device` is torch's way of naming one ("cpu", "cuda:0"). `config` and `checkpoint` are paths, or None for a model
    that has none. `gpu_memory_limit_mb` is in megabytes (10⁶ bytes). `shrink` counts how often this scene ran out of
    GPU memory: 0 at first, then 1 and 2, and the adapter lowers what it can. `options` are the model's own, and
    `weights`: `random:SEED` in place of a checkpoint. `precision` is one of `worker.precision.PRECISIONS`.
    """

    device: str = "cpu"
    config: Optional[str] = None
    checkpoint: Optional[str] = None
    variant: str = ""
    gpu_memory_limit_mb: Optional[float] = None
    shrink: int = 0
    options: Mapping[str, Any] = MappingProxyType({})
    precision: str = AUTHORS


class Adapter:
    """One model. For every sample: `prepare`, `forward`, `convert`, in this order; the samples of a scene in order.

    An exception costs its sample and no more: `DataError` says that the input is at fault, any other that the model
    is. The three steps are timed apart, so that `inference_time` is the model call alone.
    """

    name = "Adapter"
    precisions: Tuple[str, ...] = (AUTHORS, FLOAT32)
    """What `--precision` may ask of this model."""

    def load(self, settings: Settings) -> List[str]:
        """Build the model. Returns the names of the catalogue's fixes that were applied, in a steady order."""
        raise NotImplementedError

    def start_scene(self, scene: str) -> None:
        """Forget everything of the scene before. Nothing to do for a model without memory."""

    def prepare(self, sample: Dict[str, Any]) -> Any:
        """Read and decode the input. Raises DataError where it cannot be read. Not part of `inference_time`."""
        return sample

    def forward(self, inputs: Any) -> Any:
        """The model call, alone: this is what `inference_time` measures."""
        raise NotImplementedError

    def convert(self, raw: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        """The standard record's outputs, one key a task: `{"detections_3d": [...], "map_elements": [...]}`.

        Plain JSON (no arrays, no NaN), in metres, m/s and radians, in the ego frame of the sample.
        """
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until the device has finished: `torch.cuda.synchronize()` on a GPU, nothing on a CPU."""

    def precision(self) -> InForce:
        """Return the arithmetic that is in force after `load`; single precision, unless a subclass says otherwise."""
        return in_force()

    def libraries(self) -> Dict[str, str]:
        """The libraries that matter to the result, with their versions."""
        return {}


def main(adapter: Type[Adapter], arguments: Optional[Sequence[str]] = None) -> int:
    """Run `adapter` as the command line asks, and return the exit code: 2 for a mistake of the user's."""
    options = _parser(adapter.name).parse_args(arguments)
    # Imported here, because both modes need this module.
    if options.serve:
        from worker.serve import serve

        return serve(adapter, read_fd=options.read_fd, write_fd=options.write_fd)
    from worker.standalone import run_one

    return run_one(adapter, options)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run {} on one sample of nuScenes or OpenLane-V2.".format(name))
    parser.add_argument("--sample-token", help="the sample to run on")
    parser.add_argument("--dataroot", help="the data set's folder: nuScenes' with samples/, or OpenLane-V2's")
    parser.add_argument("--version", default="v1.0-mini", help="nuScenes' folder of tables (default: %(default)s)")
    parser.add_argument("--out", default="-", help="where to write the JSON; - is standard output (default)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, … (default: %(default)s)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default=AUTHORS, help="the network's arithmetic (default: %(default)s)"
    )
    parser.add_argument("--config", help="the model's configuration file")
    parser.add_argument("--checkpoint", help="the model's weights")
    parser.add_argument("--weights", help="random:SEED draws the weights from a seed instead of a checkpoint")
    parser.add_argument("--options", help="the model's options as JSON, as settings.options in a run's run.json")
    parser.add_argument("--variant", default="", help="the variant of the environment this runs in")
    worker = parser.add_argument_group("as a worker, started by the host")
    worker.add_argument("--serve", action="store_true", help="speak the frame protocol on two inherited descriptors")
    worker.add_argument("--read-fd", type=int, default=-1, help="the descriptor requests come from")
    worker.add_argument("--write-fd", type=int, default=-1, help="the descriptor answers go to")
    return parser
