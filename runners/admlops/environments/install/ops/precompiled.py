"""A precompiled header for packages whose C++ sources all begin with the same one: minutes in place of a half hour."""

from __future__ import annotations

import shlex
from pathlib import Path

from admlops.worker import precompiled_header

COMMON_HEADER = {
    "mmcv": "mmcv/ops/csrc/common/pytorch_cpp_helper.hpp",
    "mmcv-full": "mmcv/ops/csrc/common/pytorch_cpp_helper.hpp",
}
"""The first header of a package's sources, below its root: it includes torch's, which take most of the time."""
SCRIPT = Path(precompiled_header.__file__)


def precompiling_folder(name: str, tree: Path, scratch: Path, *, python: Path, ninja: Path) -> Path | None:
    """Make a folder for the front of PATH whose `ninja` compiles the package's common header first.

    None if the package has no such header, or there is no ninja: the build then runs without it.
    """
    header = tree / COMMON_HEADER.get(name, "")
    if not header.is_file() or not ninja.exists():
        return None
    folder = scratch / "precompiling"
    folder.mkdir()
    command = shlex.join([str(python), "-I", str(SCRIPT), str(ninja), str(header)])
    (folder / "ninja").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (folder / "ninja").chmod(0o755)
    return folder
