"""The adapter of a model built on mmdetection3d: everything but what is the model's own."""

import os
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Tuple

from worker.adapter import Adapter, Settings
from worker.mmlab.common.inputs import SamplePipeline, check_sizes, to_device
from worker.mmlab.common.libraries import load_library, versions
from worker.mmlab.common.log import say
from worker.mmlab.v1.fixes import replace_value
from worker.mmlab.v1.network import build_network, enter_source, import_plugin, read_config
from worker.mmlab.v1.overlay import last_registration_wins
from worker.mmlab.v1.precision import read_precision, set_tf32
from worker.mmlab.v1.weights import WeightsError, load_into, parse_random, save_random
from worker.precision import PRECISIONS, InForce

AS_UPSTREAM = "as-upstream"
"""The value of the option `positions` that leaves them to the authors' code, which rounds them in half precision."""
LIBRARIES = ("torch", "torchvision", "mmcv", "mmdet", "mmseg", "numpy", "cv2")


class MmAdapter(Adapter):
    """One model; a subclass says where it differs.

    `default_config` is relative to the source's root. `source_paths` are folders below the root that are imported from
    as well. `tolerated_keys` are endings of checkpoint keys that are of no account.
    """

    precisions = PRECISIONS
    default_config = ""
    source_paths: Tuple[str, ...] = ()
    tolerated_keys: Tuple[str, ...] = ()

    def source_root(self) -> str:
        """Where the source lies in a checkout, for those who run the adapter by hand."""
        raise NotImplementedError

    def import_libraries(self) -> None:
        """Import mmdet3d as this model needs it, with the corrections of `overlay`."""
        raise NotImplementedError

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        """The sample's info, as upstream's converter would write it."""
        raise NotImplementedError

    def dataset_attributes(self, config: Any) -> Dict[str, Any]:
        """What else the data set class's `get_data_info` reads of itself."""
        return {}

    def make_pipeline(self, config: Any) -> Callable[[Dict[str, Any]], Dict[str, Any]]:
        """What makes the network's keyword arguments, for a batch of one, of a sample's info."""
        return SamplePipeline(config, self.dataset_attributes(config), self.pictures)

    def pictures(self, info: Dict[str, Any]) -> List[str]:
        """The files of the pictures that the pipeline reads for an info."""
        return [camera["data_path"] for camera in info["cams"].values()]

    def reset(self, model: Any) -> None:
        """Forget the scene before."""

    def apply_fix(self, config: Any, settings: Mapping[str, Any]) -> None:
        """Correct the configuration as one of the catalogue's fixes says: its variables, wherever it uses them.

        Raises:
            ValueError: the configuration has no such variable.
        """
        for name, value in settings.items():
            replace_value(dict(config.items()), name, value)

    def adjust(self, config: Any) -> None:
        """Change the configuration as this adapter needs it; fixes are applied already."""

    def load(self, settings: Settings) -> List[str]:
        """Import, build and fill the network."""
        config_path = self._absolute(settings.config)
        checkpoint = self._absolute(settings.checkpoint)
        self._root = enter_source(self.source_root(), below=self.source_paths)
        self._device = settings.device
        self._config = self._import(config_path or os.path.join(self._root, self.default_config))
        fixes = dict(settings.options.get("fixes") or {})
        for fix in fixes.values():
            self.apply_fix(self._config, fix)
        self.adjust(self._config)
        set_tf32(settings.precision)
        self._model = build_network(
            self._config,
            device=settings.device,
            precision=settings.precision,
            name=self.name,
            half_positions=settings.options.get("positions") == AS_UPSTREAM,
        )
        self._fill(checkpoint, str(settings.options.get("weights") or ""))
        self._model.to(settings.device)
        self._inputs = self.make_pipeline(self._config)
        return list(fixes)

    def start_scene(self, scene: str) -> None:
        """Forget the scene before."""
        self.reset(self._model)

    def prepare(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        """The network's input, on its device. Raises DataError for pictures that are missing, damaged or scaled."""
        info = self.make_info(sample)
        check_sizes(sample["cameras"])
        inputs = self._inputs(info)
        return {key: to_device(value, self._device) for key, value in inputs.items()}

    def forward(self, inputs: Dict[str, Any]) -> Any:
        """The network's call, as upstream's test loop makes it."""
        with load_library("torch").no_grad():
            return self._model(return_loss=False, rescale=True, **inputs)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self._device != "cpu":
            load_library("torch").cuda.synchronize(self._device)

    def precision(self) -> InForce:
        """Return the arithmetic in force, read from the network and from PyTorch."""
        return read_precision(self._model, device=self._device)

    def libraries(self) -> Dict[str, str]:
        """The libraries that decide the result."""
        return versions(LIBRARIES)

    def _import(self, config_path: str) -> Any:
        with last_registration_wins() as replaced:
            self.import_libraries()
            config = read_config(config_path)
            import_plugin(config, os.path.relpath(config_path, self._root))
        if replaced:
            say("layers that the model's source brings in place of the libraries': {}".format(", ".join(replaced)))
        return config

    def _fill(self, checkpoint: str, weights: str) -> None:
        """Load the checkpoint, or draw one: random weights take the same way in, through a file."""
        if weights:
            with tempfile.TemporaryDirectory(prefix="admlops-weights-") as folder:
                path = os.path.join(folder, "random.pth")
                save_random(self._model, parse_random(weights), path)
                report = load_into(self._model, path, tolerated=self.tolerated_keys)
            say("{}: RANDOM WEIGHTS ({}); {}".format(self.name, weights, report.summary()))
        elif checkpoint:
            report = load_into(self._model, checkpoint, tolerated=self.tolerated_keys)
            say("{}: {}; {}".format(self.name, checkpoint, report.summary()))
        else:
            raise WeightsError("{} needs weights: --checkpoint FILE, or --weights random:SEED".format(self.name))

    @staticmethod
    def _absolute(path: Any) -> str:
        return os.path.abspath(path) if path else ""
