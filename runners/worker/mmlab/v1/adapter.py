"""The adapter of a model built on mmcv 1.x, mmdet 2 and mmdet3d up to 1.0: everything but what is the model's own."""

import os
from typing import Any, Callable, Dict, Mapping, Optional

from ...adapter import DataError
from ...precision import InForce
from ..catalogue import read_configs
from ..common.adapter import BaseMmAdapter
from ..common.libraries import load_library
from ..common.log import say
from .inputs import SamplePipeline
from .network import build_network, import_plugin, read_config
from .overlay import last_registration_wins
from .precision import read_precision
from .training.config import set_info_file
from .training.converter import Converter, convert


class MmAdapter(BaseMmAdapter):
    """One model of the first generation; a subclass says where it differs."""

    libraries_asked = ("torch", "torchvision", "mmcv", "mmdet", "mmseg", "numpy", "cv2")

    def dataset_attributes(self, config: Any) -> Dict[str, Any]:
        """Return what else the data set class's `get_data_info` reads of itself."""
        return {}

    converter: Optional[Converter] = None
    """What makes the info files that its training reads; None for a model that reads none."""

    def adjust_training(self, config: Any) -> None:
        """Change the configuration of a training as this adapter needs it; as for running, unless it differs."""
        self.adjust(config)

    def make_training_infos(self, root: str, version: str) -> str:
        """Make the info files below `root`, and return the path of training's; the libraries are imported.

        Raises:
            DataError: the model has no converter, or it wrote no file.
        """
        if self.converter is None:
            raise DataError("{} has no converter: its adapter names none".format(self.name))
        return convert(self.converter, root, version)

    def set_training_data(self, config: Any, data: Mapping[str, Any]) -> None:
        """Point the configuration at what the host prepared: `train`, the info file, and `root`, what it names."""
        set_info_file(config.data.train, data["train"], data["root"])

    def make_pipeline(self, config: Any) -> Callable[[Dict[str, Any]], Dict[str, Any]]:
        """Return what makes the network's keyword arguments, for a batch of one, of a sample's info."""
        return SamplePipeline(config, self.dataset_attributes(config), self.pictures)

    def read_model(self, config_path: str) -> Any:
        """Import the libraries and the plugin, and read the configuration at an absolute path."""
        with last_registration_wins() as replaced:
            self.import_libraries()
            known = (self.default_config, *read_configs(self).values())
            config = read_config(config_path, list(dict.fromkeys(os.path.dirname(path) for path in known)))
            import_plugin(config, os.path.relpath(config_path, self._root))
            self.import_extension()
        if replaced:
            say("layers that the model's source brings in place of the libraries': {}".format(", ".join(replaced)))
        return config

    def build(self, config: Any, *, device: str, precision: str, half_positions: bool = False) -> Any:
        """Build the network as mmdet3d's tools do. Raises as the base's."""
        return build_network(config, device=device, precision=precision, name=self.name, half_positions=half_positions)

    def forward(self, inputs: Dict[str, Any]) -> Any:
        """The network's call, as upstream's test loop makes it."""
        with load_library("torch").no_grad():
            return self._model(return_loss=False, rescale=True, **inputs)

    def precision(self) -> InForce:
        """Return the arithmetic in force, read from the network and from PyTorch."""
        return read_precision(self._model, device=self._device)
