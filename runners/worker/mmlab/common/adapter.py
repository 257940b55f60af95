"""The adapter of a model built on mmdetection3d, whichever generation: loading, preparing, and refusing weights.

What a generation of the mm libraries has of its own (reading a configuration, building its network, the pipeline, the
network's call) are methods that `v1.adapter.MmAdapter` and `v2.adapter.MmAdapter` fill in.
"""

import os
import tempfile
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ...adapter import Adapter, Settings
from ...extension import folder_of, import_extension
from ...graphs import find_modules
from ...precision import AUTHORS, PRECISIONS
from ..catalogue import read_configs
from .fixes import replace_value
from .inputs import check_sizes, to_device
from .libraries import load_library, versions
from .log import say
from .precision import set_tf32
from .source import enter_source
from .weights import (
    WeightsError,
    fits,
    load_into,
    parse_random,
    save_random,
    seed_initial_values,
)

AS_UPSTREAM = "as-upstream"
"""The value of the option `positions` that leaves them to the authors' code, which rounds them in half precision."""


class BaseMmAdapter(Adapter):
    """One model of any generation; a subclass says where it differs.

    `default_config` is relative to the source's root. `source_paths` are folders below the root that are imported from
    as well. `tolerated_keys` are endings of keys that a checkpoint may lack, or have and the network not, each with the
    reason why that is of no account.
    """

    precisions: Tuple[str, ...] = PRECISIONS
    imports_extension = True
    libraries_asked: Tuple[str, ...] = ("torch", "torchvision", "mmcv", "mmdet", "numpy", "cv2")
    """The libraries whose versions decide the result."""
    default_config = ""
    source_paths: Tuple[str, ...] = ()
    tolerated_keys: Mapping[str, str] = MappingProxyType({})
    graph_modules: Tuple[str, ...] = ("img_backbone", "img_neck")
    """The modules that `--graphs` records: they see pictures of one size, and nothing of the scene before."""

    def source_root(self) -> str:
        """Return where the source lies in a checkout, for those who run the adapter by hand."""
        raise NotImplementedError

    def import_libraries(self) -> None:
        """Import mmdet3d as this model needs it, with the corrections of its generation."""
        raise NotImplementedError

    def read_model(self, config_path: str) -> Any:
        """Import the libraries and the model's source, and read the configuration at an absolute path."""
        raise NotImplementedError

    def build(self, config: Any, *, device: str, precision: str, half_positions: bool = False) -> Any:
        """Build the configuration's network for inference; its weights are still its constructors'.

        Raises:
            PrecisionError: it cannot run in this precision.
        """
        raise NotImplementedError

    def import_extension(self) -> None:
        """Import the package `extension` beside the adapter, if there is one: it registers classes of its own."""
        import_extension(folder_of(type(self)))

    def make_info(self, sample: Dict[str, Any]) -> Dict[str, Any]:
        """The sample's info, as upstream's converter would write it."""
        raise NotImplementedError

    def make_pipeline(self, config: Any) -> Callable[[Dict[str, Any]], Dict[str, Any]]:
        """Return what makes the network's keyword arguments, for a batch of one, of a sample's info."""
        raise NotImplementedError

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

    def change_state(self, state: Any, own: Mapping[str, Any]) -> List[str]:
        """Change a checkpoint's tensors, under the network's own keys, to what its layers take. Returns notes."""
        return []

    def adjust(self, config: Any) -> None:
        """Change the configuration as this adapter needs it; fixes are applied already."""

    def load(self, settings: Settings) -> List[str]:
        """Import, build and fill the network."""
        config_path = self._absolute(settings.config)
        checkpoint = self._absolute(settings.checkpoint)
        self._root = enter_source(self.source_root(), below=self.source_paths)
        self._device = settings.device
        self._config = self.read_model(config_path or os.path.join(self._root, self.default_config))
        fixes = dict(settings.options.get("fixes") or {})
        for fix in fixes.values():
            self.apply_fix(self._config, fix)
        self.adjust(self._config)
        seed_initial_values()
        set_tf32(settings.precision)
        self._model = self.build(
            self._config,
            device=settings.device,
            precision=settings.precision,
            half_positions=settings.options.get("positions") == AS_UPSTREAM,
        )
        notes = self._fill(checkpoint, settings.options) if settings.engine is None else ()
        self._model.to(settings.device)
        self._inputs = self.make_pipeline(self._config)
        return [*fixes, *notes]

    def start_scene(self, scene: str) -> None:
        """Forget the scene before."""
        self.reset(self._model)

    def describe(self, sample: Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
        """The sample's info and its cameras."""
        return self.make_info(sample), sample["cameras"]

    def read(self, described: Tuple[Dict[str, Any], Dict[str, Any]]) -> Dict[str, Any]:
        """The network's input, on the host. Raises DataError for pictures that are missing, damaged or scaled."""
        info, cameras = described
        if self.pictures(info):
            check_sizes(cameras)
        return self._inputs(info)

    def place(self, read: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The network's input, on its device."""
        return {key: to_device(value, self._device) for key, value in read.items()}

    def graph_parts(self) -> Dict[str, Any]:
        """Those of `graph_modules` that the configuration's network has."""
        return find_modules(self._model, self.graph_modules)

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self._device != "cpu":
            load_library("torch").cuda.synchronize(self._device)

    def libraries(self) -> Dict[str, str]:
        """The libraries that decide the result."""
        return versions(self.libraries_asked)

    def _fill(self, checkpoint: str, options: Mapping[str, Any]) -> Tuple[str, ...]:
        """Load the checkpoint, or draw one: random weights take the same way in, through a file. Returns its notes."""
        weights = str(options.get("weights") or "")
        if weights:
            with tempfile.TemporaryDirectory(prefix="admlops-weights-") as folder:
                path = os.path.join(folder, "random.pth")
                save_random(self._model, parse_random(weights), path)
                loaded = load_into(self._model, path, tolerated=self.tolerated_keys, change=self.change_state)
            say("{}: RANDOM WEIGHTS ({}); {}".format(self.name, weights, loaded.summary()))
        elif checkpoint:
            ema = {"use": True, "leave": False}.get(str(options.get("ema")))
            loaded = load_into(
                self._model,
                checkpoint,
                tolerated=self.tolerated_keys,
                ema=ema,
                fitting=self._name_fitting,
                change=self.change_state,
            )
            say("{}: {}; {}".format(self.name, checkpoint, loaded.summary()))
        else:
            raise WeightsError("{} needs weights: --checkpoint FILE, or --weights random:SEED".format(self.name))
        return loaded.notes

    def _name_fitting(self, state: Any) -> str:
        """Which of the catalogue's configurations a state that does not fit belongs to, found by building each."""
        names = []
        configs = read_configs(self)
        for name, path in configs.items():
            say("{}: trying whether the weights are of the config {}".format(self.name, name))
            network = self._try_building(os.path.join(self._root, path))
            if network is not None and fits(network, state, tolerated=self.tolerated_keys, change=self.change_state):
                names.append(name)
        if names:
            return "Its tensors fit the config {0}: pass --config {1}".format(" and ".join(names), names[0])
        if configs:
            return "None of the catalogue's configs of {} that can be built here fits it ({})".format(
                self.name, ", ".join(configs)
            )
        return "Is it for another configuration? Pass --config"

    def _try_building(self, path: str) -> Optional[Any]:
        try:
            config = self.read_model(path)
            self.adjust(config)
            return self.build(config, device="cpu", precision=AUTHORS)
        except Exception as error:  # noqa: BLE001  the user's run has failed already; a config that cannot be built fits nothing
            say("{} cannot be built here: {}".format(path, error))
            return None

    @staticmethod
    def _absolute(path: Any) -> str:
        return os.path.abspath(path) if path else ""
