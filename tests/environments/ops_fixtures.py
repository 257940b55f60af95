"""A small package with a compiled operation, an index of the test's own, and an environment to compile it in."""

from __future__ import annotations

import difflib
import hashlib
import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from admlops.core.paths import Layout, find_layout
from admlops.environments import EnvironmentSpec
from admlops.environments.install.ops import build_ops

NAME = "tinyops"
BUILD_TOOLS = ("ninja", "packaging", "pip", "setuptools", "wheel")
TORCH_VERSION = "9.9.0"
SETUP = """
import os, subprocess, sys, time
from setuptools import Extension, setup
{before}
extensions = [Extension("tinyops._ext", ["tinyops/ext.c"])] if os.environ.get("MMCV_WITH_OPS") == "1" else []
setup(name="tinyops", version="1.0", packages=["tinyops"], ext_modules={extensions})
"""
EXTENSION = """
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *unused) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_ext", "", -1, methods};
PyMODINIT_FUNC PyInit__ext(void) { return PyModule_Create(&module); }
"""
needs_compiler = pytest.mark.skipif(
    shutil.which("gcc", path="/usr/bin:/bin") is None
    or not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file(),
    reason="needs a C compiler in /usr/bin and Python's headers: apt-get install gcc python3-dev",
)


def make_tool_environment(prefix: Path) -> Path:
    """A virtual environment with the build tools of MapTR's lock and a torch that is only a version."""
    lock = (find_layout().envs / "MapTR" / "modern" / "requirements.txt").read_text()
    entries = [re.search(rf"^{name}==.*?(?=^\S|\Z)", lock, re.DOTALL | re.MULTILINE) for name in BUILD_TOOLS]
    requirements = prefix.with_suffix(".txt")
    requirements.write_text("".join(entry.group(0) for entry in entries if entry is not None))
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, prefix], check=True)
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "--python",
        prefix / "bin" / "python",
    ]
    done = subprocess.run([*install, "-r", requirements], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs the package index once, for pip, setuptools, wheel and ninja: {done.stderr[-200:]}")
    torch = next((prefix / "lib").glob("python3*/site-packages")) / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise ImportError('the key must not import torch')\n")
    (torch / "version.py").write_text(f"__version__ = {TORCH_VERSION!r}\ncuda = None\n")
    return prefix


@dataclass
class Workshop:
    """What a test builds with. `publish` puts a source distribution into the index and gives a spec that wants it."""

    folder: Path
    prefix: Path
    layout: Layout
    said: list[str] = field(default_factory=list)

    def publish(
        self, *, before: str = "", extension: str = EXTENSION, extensions: str = "extensions", files: str = ""
    ) -> EnvironmentSpec:
        """`before` is code at the top of setup.py, `extensions` what it builds; `files` makes the content differ."""
        setup = SETUP.replace("{before}", before).replace("{extensions}", extensions)
        content = {"setup.py": setup, "tinyops/__init__.py": files, "tinyops/ext.c": extension}
        archive = self.folder / "simple" / NAME / f"{NAME}-1.0.tar.gz"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w:gz") as tar:
            for name, text in content.items():
                member = tarfile.TarInfo(f"{NAME}-1.0/{name}")
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        (archive.parent / "index.html").write_text(f'<a href="{archive.name}">{archive.name}</a>')
        lock = self.folder / "requirements.txt"
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        lock.write_text(f"{NAME}==1.0 --hash=sha256:{digest}\n")
        return make_spec(lock)

    def build(self, spec: EnvironmentSpec, *, jobs: int | None = None) -> list[Path]:
        """Build in this process, for the CPU."""
        return build_ops(
            spec,
            prefix=self.prefix,
            python=self.prefix / "bin" / "python",
            variables={"VIRTUAL_ENV": str(self.prefix)},
            compilers="machine",
            device="cpu",
            layout=self.layout,
            say=self.said.append,
            jobs=jobs,
        )

    def start(self, spec: EnvironmentSpec) -> subprocess.Popen[str]:
        """Build in a process of its own, a session leader."""
        program = (
            "import sys; from pathlib import Path; from admlops.environments.install.ops import build_ops\n"
            "from admlops.core.paths import Layout; from tests.environments.ops_fixtures import make_spec\n"
            "prefix, root, repository, environments, lock = map(Path, sys.argv[1:])\n"
            "layout = Layout(root=root, repository=repository, environments=environments)\n"
            "build_ops(make_spec(lock), prefix=prefix, python=prefix / 'bin' / 'python', variables={},\n"
            "          compilers='machine', device='cpu', layout=layout, say=lambda text: print(text, flush=True))\n"
        )
        folders = (self.prefix, self.layout.root, self.layout.repository, self.layout.environments)
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, folders), str(spec.requirements[0])],
            cwd=self.layout.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wheels(self) -> list[Path]:
        return sorted(self.layout.wheels.glob("*/*.whl"))

    def leftovers(self) -> list[Path]:
        """What a build that ended must not leave: scratch folders, staged wheels."""
        scratch = [*self.layout.environments.glob(".building/*")]
        return scratch + [path for path in self.layout.wheels.glob(".*") if not path.name.endswith(".lock")]


def make_workshop(folder: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A workshop in `folder`, which pip finds its index in."""
    layout = Layout(root=find_layout().root, repository=folder / "repository", environments=folder / "environments")
    monkeypatch.setenv("PIP_INDEX_URL", (folder / "simple").as_uri())
    return Workshop(folder=folder, prefix=prefix, layout=layout)


def make_spec(lock: Path, *, arch: tuple[str, ...] = ()) -> EnvironmentSpec:
    """A spec of nothing but the small package."""
    return EnvironmentSpec(
        name="Tiny-modern", python=">=3.11", requirements=(lock,), device="cpu", compiled=(NAME,), arch=arch
    )


def make_patch(name: str, before: str, after: str) -> str:
    """A unified diff of one file, as `git diff` writes it."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(lines)
