# ruff: noqa: UP006, UP035  the classic environments have Python 3.8
"""Runs under a Python that has torch: an adapter of a small network, asked to load checkpoints of several configs.

    python demo.py FOLDER

The adapter's own ways of choosing, filling and refusing are the product's; only what mm libraries do, reading a
configuration and building its network, is done here with torch alone. Prints, as JSON, what each load said.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any, Dict

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "runners"))

import torch  # type: ignore[import-not-found]  # noqa: E402

from worker.adapter import Settings  # noqa: E402
from worker.mmlab.common import adapter as adapter_module  # noqa: E402
from worker.mmlab.common.weights import WeightsError  # noqa: E402
from worker.mmlab.v1.adapter import MmAdapter  # noqa: E402


class Config(dict):  # type: ignore[type-arg]
    """A configuration with attributes."""

    __getattr__ = dict.__getitem__


def build_network(config: Any) -> Any:
    """The network of a configuration: its queries differ, and one has a part more."""
    if config["queries"] < 0:
        raise RuntimeError("bev_pool_ext is a compiled operation that this environment does not have")
    parts = {"backbone": torch.nn.Linear(4, 4), "reference_points": torch.nn.Embedding(config["queries"], 3)}
    if config["lidar"]:
        parts["lidar_backbone"] = torch.nn.Linear(2, 2)
    return torch.nn.ModuleDict(parts).eval()


def enter(root: str, below: Any = ()) -> str:
    """The source lies beside this file, and nothing is imported from it."""
    return root


class Tiny(MmAdapter):
    """The adapter of the model.toml beside this file."""

    name = "Tiny"
    default_config = "configs/small.py"

    def source_root(self) -> str:
        return str(HERE)

    def make_pipeline(self, config: Any) -> Any:
        return None

    def read_model(self, config_path: str) -> Any:
        return Config(runpy.run_path(config_path))

    def build(self, config: Any, *, device: str, precision: str, half_positions: bool = False) -> Any:
        """It knows float32 on a CPU alone."""
        return build_network(config)


def main(folder: Path) -> None:
    setattr(adapter_module, "enter_source", enter)  # noqa: B010
    networks = {name: {"queries": count, "lidar": lidar} for name, count, lidar in NETWORKS}
    said: Dict[str, Any] = {}
    for name, config in networks.items():
        torch.manual_seed(7)
        path = folder / (name + ".pth")
        torch.save({"state_dict": build_network(config).state_dict()}, str(path))
        said[name] = load(str(path))
    torch.save({"state_dict": {"transformer.weight": torch.ones(2)}}, str(folder / "other.pth"))
    said["other"] = load(str(folder / "other.pth"))
    said["large by its config"] = load(str(folder / "large.pth"), config=str(HERE / "configs" / "large.py"))
    said["random"] = load(None, options={"weights": "random:1"})
    print(json.dumps(said))


NETWORKS = [("small", 6, False), ("large", 9, False), ("fusion", 6, True), ("none", 7, False)]


def load(path: Any, config: Any = None, options: Any = None) -> str:
    """What loading says: the notes, or the error."""
    try:
        notes = Tiny().load(Settings(config=config, checkpoint=path, options=options or {}))
    except WeightsError as error:
        return str(error)
    return f"loaded {notes}"


main(Path(sys.argv[1]))
