"""The job that makes a model's info files by its authors' converter, and checks the convention of their boxes.

Loaded by `worker.jobs`. `request` has `root` (the folder of links to the data), `version`, `convention` (of
`model.toml`, null for a model without boxes), and `made`: training's file, if it is there and is checked alone.
"""

from typing import Any, Dict, Mapping

from .adapter import Settings
from .jobs import tell
from .mmlab.common.source import enter_source
from .mmlab.v1.overlay import last_registration_wins


def run(adapter: Any, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Make and check the info files; returns the path of training's, and what was compared."""
    from .mmlab.v1.training.converter import check_convention  # NumPy's

    root, version, path = request["root"], request["version"], request["made"]
    if path is None:
        enter_source(adapter.source_root(), below=adapter.source_paths)
        tell("making info files by the authors' converter")
        with last_registration_wins():
            adapter.import_libraries()
            path = adapter.make_training_infos(root, version)
    compared = ""
    if request["convention"] is not None:
        compared = check_convention(path, root, version, request["convention"])
        tell(compared)
    return {"train": path, "compared": compared}
