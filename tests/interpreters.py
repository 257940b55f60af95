"""The interpreters that adapters run under in these tests: the host's, and a real Python 3.8 where one is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def find_python38() -> Path | None:
    """A Python 3.8 from PATH or from pyenv's usual folder."""
    candidates = [shutil.which("python3.8")]
    candidates += [str(path) for path in sorted((Path.home() / ".pyenv" / "versions").glob("3.8*/bin/python"))]
    for candidate in filter(None, candidates):
        # A pyenv shim is there but does not run unless its version is switched on.
        answer = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False)
        if answer.stdout.startswith("Python 3.8"):
            return Path(candidate)
    return None


PYTHON38 = find_python38()
INTERPRETERS = [
    pytest.param(Path(sys.executable), id="host"),
    pytest.param(
        PYTHON38,
        id="python3.8",
        marks=pytest.mark.skipif(PYTHON38 is None, reason="needs a python3.8 on PATH or in ~/.pyenv/versions"),
    ),
]
