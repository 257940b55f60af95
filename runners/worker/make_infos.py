"""The job that makes a model's info files by its authors' converter, and checks the convention of their boxes.

Loaded by `worker.jobs`. `request` has `root` (the folder of links to the data), `version`, `convention` (of
`model.toml`, null for a model without boxes), and `made`: whether the files are there already and are checked alone.
"""

import os
from typing import Any, Dict, Mapping

from .adapter import DataError, Settings
from .jobs import tell
from .mmlab.common.source import enter_source
from .mmlab.v1.overlay import last_registration_wins


def run(adapter: Any, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Make and check the info files; returns the path of training's, and what was compared."""
    from .mmlab.v1.training.converter import check_convention, convert  # NumPy's

    root, version = request["root"], request["version"]
    converter = adapter.converter
    if converter is None:
        raise DataError("{} has no converter: its adapter names none".format(adapter.name))
    enter_source(adapter.source_root(), below=adapter.source_paths)
    path = os.path.join(root, converter.train)
    if not request["made"]:
        with last_registration_wins():
            adapter.import_libraries()
            tell("making info files by {}".format(converter.program))
            path = convert(converter, root, version)
    compared = ""
    if request["convention"] is not None:
        compared = check_convention(path, root, version, request["convention"])
        tell(compared)
    return {"train": path, "compared": compared}
