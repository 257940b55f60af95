"""All of `worker` runs under Python 3.8 with nothing but its standard library."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tests.interpreters import PYTHON38

import worker
from worker.wire import FrameParser

FOLDER = Path(worker.__file__).parent
needs_38 = pytest.mark.skipif(PYTHON38 is None, reason="needs a python3.8 on PATH or in ~/.pyenv/versions")


THIRD_PARTY = {"mmlab": {"mmcv", "mmdet", "mmdet3d", "numpy", "torch"}, "runtimes": {"torch"}}
"""Folder of `worker` → what its modules may import besides: they run where it is installed."""


def modules() -> list[Path]:
    return sorted(FOLDER.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the module's name: `samples/nuscenes.py` is `worker.samples.nuscenes`."""
    parts = path.relative_to(FOLDER.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(path: Path) -> set[str]:
    """Return the top-level packages that a module imports, anywhere in it."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("worker" if node.level else (node.module or "").partition(".")[0])
    return imported


def is_bare(path: Path) -> bool:
    """Whether the module needs the standard library alone."""
    return imported_by(path) <= set(sys.stdlib_module_names) | {"worker"} and not {"mmlab", "pictures"} & set(
        path.parts
    )


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_the_syntax_is_python_38(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_standard_library_is_imported(path: Path) -> None:
    folder = path.relative_to(FOLDER).parts[0]
    assert imported_by(path) <= set(sys.stdlib_module_names) | {"worker"} | THIRD_PARTY.get(folder, set())


@needs_38
def test_every_module_imports_in_a_bare_python_38() -> None:
    names = [name_of(path) for path in modules() if is_bare(path)]
    assert {"worker.serve", "worker.samples.openlane", "worker.runtimes.torch"} <= set(names)
    done = subprocess.run(
        [
            str(PYTHON38),
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(FOLDER.parent)!r}); import {', '.join(names)}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_38
def test_frames_and_numbers_under_python_38() -> None:
    """The host reads what a 3.8 writes: the two sides run the same source, but not the same interpreter."""
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER.parent)!r})\n"
        "from worker.compact_json import encode\n"
        "from worker.wire import RESULT, frame_bytes\n"
        "sys.stdout.buffer.write(frame_bytes(RESULT, encode({'a': [[1.5, 2.0], [3.25, 4.0]], 'b': 'ü%', 'c': None})))\n"
    )
    done = subprocess.run([str(PYTHON38), "-I", "-c", code], capture_output=True, check=True)
    parser = FrameParser()
    parser.feed(done.stdout)
    assert [frame.decode() for frame in parser.frames()] == [{"a": [[1.5, 2.0], [3.25, 4.0]], "b": "ü%", "c": None}]
