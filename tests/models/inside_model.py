# ruff: noqa: UP006, UP035  the classic environments have Python 3.8
"""What the programs of this folder share that run inside a model's environment; it lets them import `worker`.

The adapter's way is `load_adapter` and `load_drawn`; upstream's own is `enter_upstream`, a data set, `read_batch` and
`build_upstream`: its configuration, its layers, mmcv's collation and loader.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any, Dict

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "runners"))

import numpy as np  # noqa: E402

from worker.adapter import Adapter, Settings  # noqa: E402
from worker.mmlab.common.libraries import load_library  # noqa: E402
from worker.mmlab.common.source import enter_source  # noqa: E402
from worker.mmlab.common.weights import save_random  # noqa: E402
from worker.mmlab.v1.inputs import unwrap  # noqa: E402
from worker.mmlab.v1.network import beside_library, import_plugin  # noqa: E402
from worker.mmlab.v1.overlay import last_registration_wins  # noqa: E402


def read_request() -> Dict[str, Any]:
    """What the test wants: JSON, the program's only argument."""
    wanted: Dict[str, Any] = json.loads(sys.argv[1])
    return wanted


def stop_clocks() -> None:
    """Let suppression in YOLOv5 and ultralytics take as long as it takes: their limit depends on the machine's load."""
    for name in ("utils.general", "ultralytics.utils.nms"):
        if name in sys.modules:
            sys.modules[name].time = types.SimpleNamespace(time=lambda: 0.0)  # type: ignore[attr-defined]


def load_adapter(name: str) -> Any:
    """An instance of the model's adapter class, from its demo.py."""
    folder = CHECKOUT / "envs" / name
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("demo", str(folder / "demo.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Adapter)]
    return next(kind for kind in kinds if kind.name == name and kind.__module__ == "demo")()


def load_drawn(adapter: Any, wanted: Dict[str, Any], **options: Any) -> Any:
    """Load the network of `config` with weights drawn from the seed `draw`, and write them to `checkpoint`.

    Returns the fixes that the adapter names.
    """
    options["weights"] = "random:{}".format(wanted["draw"])
    fixes = adapter.load(Settings(config=wanted["config"] or None, options=options))
    save_random(adapter._model, wanted["draw"], wanted["checkpoint"])
    return fixes


def enter_upstream(adapter: Any, config: str = "") -> Any:
    """Go to the source, import it as the adapter imports it, and read the configuration, as it is in the file.

    `config` is a path, absolute or below the source's root; the adapter's default if empty.
    """
    root = enter_source(adapter.source_root(), below=adapter.source_paths)
    with last_registration_wins():
        adapter.import_libraries()
        with beside_library(str(Path(root) / (config or adapter.default_config))) as path:
            found = load_library("mmcv").Config.fromfile(path)
        import_plugin(found, config)
    return found


def read_batch(dataset: Any, number: int) -> Dict[str, Any]:
    """The network's arguments for one sample of upstream's data set, by mmcv's collation."""
    batch = load_library("mmcv.parallel").collate([dataset[number]], samples_per_gpu=1)
    return {key: unwrap(value) for key, value in batch.items()}


def build_upstream(config: Any, checkpoint: str) -> Any:
    """Upstream's model with mmcv's loader, as tools/test.py makes it, without half precision: a CPU has none."""
    config.model.pretrained = None
    config.model.train_cfg = None
    model = load_library("mmdet3d.models").build_model(config.model, test_cfg=config.get("test_cfg"))
    load_library("mmcv.runner").load_checkpoint(model, checkpoint, map_location="cpu")
    return model.eval()


def describe_bev_inputs(inputs: Dict[str, Any], *, can_bus: str) -> Dict[str, Any]:
    """Copies of what goes into MapTR or VAD: the call changes it. `can_bus` is the name for the CAN bus's vector."""
    metas = inputs["img_metas"][0][0]
    return {
        "img": inputs["img"][0].numpy().copy(),
        can_bus: metas["can_bus"].copy(),
        "lidar2img": np.stack(metas["lidar2img"]),
    }
