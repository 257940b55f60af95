"""What the test channel holds: interpreters, packages of PyPA, and small packages that each pose one problem."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conda_channel.interpreters import distribution_package, python_package, wheel_package
from tests.conda_channel.packages import PLACEHOLDER, Format, Package

from admlops.core.errors import EnvError
from admlops.environments.spec.interpreter import find_interpreter

PYTHON_MINORS = ("3.8", "3.11")
BUNDLED_WHEELS = ("lib/python3.*/ensurepip/_bundled", "share/python-wheels")
BIG_BYTES = 8_000_000
TRIPLE = "x86_64-conda-linux-gnu"
CONDA_FORGE, NVIDIA = "conda-forge", "nvidia"


def channel_packages() -> Iterator[tuple[str, Package, Format]]:
    """(channel, package, archive format) of everything in the test channels."""
    for package in _pythons():
        yield CONDA_FORGE, package, ".conda"
    for package in _python_tools():
        yield CONDA_FORGE, package, ".conda"
    for version in ("10.3.0", "13.3.0"):
        yield CONDA_FORGE, _compiler_programs(version), ".conda"
        yield CONDA_FORGE, _compiler_activation(version), ".tar.bz2"
    yield CONDA_FORGE, _nvcc("12.8.93"), ".conda"
    yield CONDA_FORGE, Package(name="libdemo", version="1.0").add("lib/libdemo.txt", "x" * 500_000), ".conda"
    yield CONDA_FORGE, _post_link(), ".conda"
    yield CONDA_FORGE, Package(name="clash-one", version="1.0").add("share/clash/both.txt", "one"), ".conda"
    yield CONDA_FORGE, Package(name="clash-two", version="1.0").add("share/clash/both.txt", "two"), ".conda"
    yield CONDA_FORGE, _big(), ".conda"
    for channel in (CONDA_FORGE, NVIDIA):  # the same name, version and build, and not the same content
        rebuilt = Package(name="rebuilt", version="1.0").add("share/rebuilt.txt", f"from {channel}\n")
        yield channel, rebuilt, ".conda"


def _pythons() -> Iterator[Package]:
    for minor in PYTHON_MINORS:
        try:
            interpreter = find_interpreter(f"=={minor}.*")
        except EnvError:
            continue
        yield python_package(interpreter.executable)


def _python_tools() -> Iterator[Package]:
    """pip and setuptools out of the wheels that come with an interpreter, and wheel out of its hashed lock."""
    wheel = _locked_distribution("wheel")
    if wheel is not None:
        yield distribution_package(wheel, depends=["python >=3.8"])
    for name in ("setuptools", "pip"):
        needs = ["python >=3.7"] + (["setuptools"] + (["wheel"] if wheel else []) if name == "pip" else [])
        yield wheel_package(_bundled_wheel(name), depends=needs)


def _bundled_wheel(name: str) -> Path:
    roots = [find_interpreter(">=3.8").executable.parents[1], Path(sys.base_prefix), Path("/usr")]
    found = [wheel for root in roots for place in BUNDLED_WHEELS for wheel in root.glob(f"{place}/{name}-*.whl")]
    assert found, f"neither {roots} nor /usr/share/python-wheels holds the wheel of {name} that ensurepip installs"
    return found[0]


def _locked_distribution(name: str) -> dict[str, bytes] | None:
    """The files of one entry of wheels.txt, or None where the package index cannot be reached."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    with tempfile.TemporaryDirectory() as target:
        options = ["--quiet", "--require-hashes", "--no-deps", "--target", target]
        lock = Path(__file__).with_name("wheels.txt")
        installed = subprocess.run(
            [uv, "pip", "install", *options, "--python", sys.executable, "-r", lock], check=False, capture_output=True
        )
        if installed.returncode:
            return None
        files = [path for path in Path(target).rglob("*") if path.is_file() and "bin" not in path.parts]
        contents = {str(path.relative_to(target)): path.read_bytes() for path in files}
    parts = (name, f"{name}-")
    return {path: content for path, content in contents.items() if path.startswith(parts)}


def _compiler_programs(version: str) -> Package:
    """The machine's own compiler, if it has one, under the names that conda-forge's compilers have."""
    package = Package(name="gxx_impl_linux-64", version=version, depends=("libdemo >=1.0",))
    for name in ("gcc", "g++"):
        found = shutil.which(name) or "/bin/false"
        package.add(f"bin/{TRIPLE}-{name}", f'#!/bin/sh\nexec {found} "$@"\n', mode=0o755)
    package.add("lib/gcc/specs.bin", b"\x7fBIN\0" + PLACEHOLDER.encode() + b"/lib/gcc\0tail\0" + b"Z" * 1000)
    package.add("include/demo_header.h", "#define DEMO_HEADER 1\n")
    return package.link("bin/cc-of-conda", f"{TRIPLE}-gcc")


def _compiler_activation(version: str) -> Package:
    package = Package(name="gxx_linux-64", version=version, depends=(f"gxx_impl_linux-64 =={version}",))
    package.add(
        "etc/conda/activate.d/activate-gxx_linux-64.sh",
        f'export CC="$CONDA_PREFIX/bin/{TRIPLE}-gcc"\n'
        f'export CXX="$CONDA_PREFIX/bin/{TRIPLE}-g++"\n'
        f'export CXXFLAGS="${{CXXFLAGS:-}}${{CXXFLAGS:+ }}-O2 -isystem $CONDA_PREFIX/include"\n'
        'export LDFLAGS="${LDFLAGS:-}${LDFLAGS:+ }-L$CONDA_PREFIX/lib"\n',
    )
    package.add("etc/conda/deactivate.d/deactivate-gxx_linux-64.sh", "unset CC CXX CXXFLAGS LDFLAGS\n")
    return package.add("etc/conda/env_vars.d/gxx.json", json.dumps({"CUDAHOSTCXX": f"{TRIPLE}-g++"}))


def _nvcc(version: str) -> Package:
    package = Package(name="cuda-nvcc", version=version, depends=("__cuda >=12", "gxx_linux-64 >=11"))
    says = f'#!/bin/sh\necho "Cuda compilation tools, release {version[:4]}, V{version}"\n'
    package.add("bin/nvcc", says, mode=0o755)
    activation = 'export NVCC_PREPEND_FLAGS="-ccbin=$CXX"\n'
    return package.add("etc/conda/activate.d/~cuda-nvcc_activate.sh", activation)


def _post_link() -> Package:
    package = Package(name="post-link", version="1.0")
    package.add("bin/.post-link-post-link.sh", '#!/bin/sh\necho ran > "$PREFIX/post-link-ran"\n', mode=0o755)
    return package.add("share/post-link.txt", "installed\n")


def _big() -> Package:
    noise = random.Random(7)
    return Package(name="big", version="1.0").add("share/big.bin", noise.randbytes(BIG_BYTES))
