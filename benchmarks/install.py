"""How long environments take to install when everything is cached, beside what the standard tools take.

    .venv/bin/python benchmarks/install.py [--lock FILE] [--runs N] [--json]

All sides in one run, each with a warm cache, each into a new folder, one after the other:
  stored pack      `env install --pack`, `env remove`, `env install` on one disk: the pack is not compressed, and its
                   compiled libraries stay on the disk; every file is hashed
  stored, alone    the same without those libraries, as on a new disk
  compressed pack  the same from a compressed pack, without any library at hand
  packages         `admlops` builds it anew from the cached packages: every file checked
  pip              `python -m venv` and `pip install --no-deps --require-hashes` of the same lock: nothing checked after
  no-op            `admlops env install GroundPlane`, the whole command, when it is ready
The lock is MapTR's modern one without the GPU's part (torch, triton, CUDA and mmcv-full, which is compiled), unless
another one is given.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from admlops.core.paths import Layout, find_layout
from admlops.environments import Environment, EnvironmentSpec, ensure
from admlops.environments.install.options import BuildOptions
from admlops.environments.inventory import list_installed
from admlops.environments.reuse.packs import COMPRESSED, STORED, pack_environment
from admlops.environments.spec.interpreter import find_interpreter
from admlops.environments.spec.requirements import read_lock

PYTHON = ">=3.11,<3.12"
GPU_PART = re.compile(r"^(torch|torchvision|triton|mmcv-full|nvidia-|cuda-)")
BARS = {"stored": 15.0, "compressed": 5.0, "no-op": 0.3}
SETTLE_S = 5.0
"""What a disk gets to write what is buffered."""
BUILD_ANEW = BuildOptions(use_packs=False)
SIDES = {
    "stored": "admlops, a stored pack",
    "stored_alone": "admlops, a stored pack alone",
    "compressed": "admlops, a compressed pack alone",
    "packages": "admlops, from cached packages",
}
SIDES_OF_PACKS = (("stored", STORED, True), ("stored_alone", STORED, False), ("compressed", COMPRESSED, False))
"""(side, level of its pack, whether the libraries that the pack keeps are at hand)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, help="a hashed requirements.txt")
    parser.add_argument("--runs", type=int, default=2, help="timed runs of each side, after one that warms the caches")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="admlops-install-") as name:
        folder = Path(name)
        lock = options.lock or write_lock(folder / "requirements.txt")
        measured = {
            "locked_packages": len(read_lock(lock)),
            **measure_installs(folder, lock, options.runs),
            "no_op_s": measure_no_op(),
        }
    for side in SIDES:
        measured[f"{side}_ratio"] = measured["pip_s"] / measured[f"{side}_s"]
    print(json.dumps(measured) if options.json else describe(measured))


def write_lock(path: Path) -> Path:
    """MapTR's modern lock without what only a GPU needs."""
    text = (find_layout().envs / "MapTR" / "modern" / "requirements.txt").read_text()
    entries = [entry for entry in re.split(r"\n(?=[a-z0-9])", text) if not entry.startswith("#")]
    path.write_text("\n".join(entry for entry in entries if not GPU_PART.match(entry)) + "\n")
    return path


def measure_installs(folder: Path, lock: Path, runs: int) -> dict[str, float]:
    """The medians of both sides [s], taken in turn so that both meet the same machine."""
    layout = Layout(root=find_layout().root, repository=folder / "repository", environments=folder / "environments")
    spec = EnvironmentSpec(name="Benchmark-modern", python=PYTHON, requirements=(lock,))
    interpreter = find_interpreter(PYTHON).executable
    times: dict[str, list[float]] = {f"{side}_s": [] for side in (*SIDES, "pip")}
    attic = folder / "attic"
    attic.mkdir()

    def install(options: BuildOptions | None = None) -> Environment:
        return ensure(layout, spec, say=lambda line: print(line, file=sys.stderr), options=options)

    def from_new(action: Callable[[], object], *, libraries: bool = False) -> float:
        """Each side begins without the environment, on a disk that rests.

        What was there is moved away and not removed: for five minutes ext4 makes no file in the place of one that was
        deleted, and looks at each such place whenever it makes one, which costs ten times the making of a file.
        """
        for gone in (folder / "venv", *(one.prefix for one in list_installed(layout))):
            if gone.exists():
                gone.rename(attic / f"{len(list(attic.iterdir()))}-{gone.name}")
        if not libraries and layout.libraries.exists():
            layout.libraries.rename(attic / f"{len(list(attic.iterdir()))}-libraries")
        os.sync()
        time.sleep(SETTLE_S)
        return timed(action)

    for run in range(runs + 1):
        seconds = {"packages_s": from_new(lambda: install(BUILD_ANEW))}
        for side, level, libraries in SIDES_OF_PACKS:
            pack_environment(install().prefix, layout.packs, level=level)
            seconds[f"{side}_s"] = from_new(install, libraries=libraries)
        seconds["pip_s"] = from_new(lambda: install_by_pip(interpreter, folder / "venv", lock))
        print(f"run {run}: {', '.join(f'{name} {value:.2f}' for name, value in seconds.items())}", file=sys.stderr)
        if run:  # the first one fills the caches
            for name, value in seconds.items():
                times[name].append(value)
    return {name: statistics.median(values) for name, values in times.items()}


def install_by_pip(interpreter: Path, venv: Path, lock: Path) -> None:
    subprocess.run([interpreter, "-m", "venv", venv], check=True)
    options = ["--quiet", "--no-deps", "--require-hashes", "--disable-pip-version-check"]
    python = str(venv / "bin" / "python")
    build_tools = [line for line in lock.read_text().splitlines() if re.match(r"^(setuptools|wheel)==", line)]
    if build_tools:
        # Source distributions of the lock build with its own tools, on both sides.
        options.append("--no-build-isolation")
        first = venv / "build-tools.txt"
        entries = re.split(r"\n(?=[a-z0-9])", lock.read_text())
        first.write_text("\n".join(entry for entry in entries if re.match(r"^(setuptools|wheel)==", entry)) + "\n")
        subprocess.run([python, "-m", "pip", "install", *options, "-r", first], check=True)
    subprocess.run([python, "-m", "pip", "install", *options, "-r", lock], check=True)


def measure_no_op() -> float:
    """The median of five no-op installations of GroundPlane by the command [s]."""
    command = [str(Path(sys.executable).parent / "admlops"), "env", "install", "GroundPlane"]
    environment = {**os.environ, "COLUMNS": "200"}

    def install() -> None:
        subprocess.run(command, check=True, capture_output=True, env=environment)

    install()
    return statistics.median(timed(install) for _ in range(5))


def timed(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def describe(measured: dict[str, float]) -> str:
    lines = [
        f"{measured['locked_packages']:.0f} packages",
        f"{'venv and pip, warm cache':<32}{measured['pip_s']:8.2f} s",
    ]
    for side, name in SIDES.items():
        bar = f"   (bar: {BARS[side]:.0f} x)" if side in BARS else ""
        lines.append(f"{name:<32}{measured[f'{side}_s']:8.2f} s   {measured[f'{side}_ratio']:5.1f} x{bar}")
    lines.append(f"{'env install of a ready one':<32}{measured['no_op_s']:8.2f} s   (bar: {BARS['no-op']} s)")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
