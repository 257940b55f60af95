"""Make what is carried to a bare machine with a GPU: `python -m tests.gpu.pack .gpu`, from the checkout's root.

    .gpu/code.tar.xz   the stages, the worker, the adapters, the models' sources without pictures, mmcv-full's source,
                       and one synthetic scene of each kind of data
    .gpu/wheels/       packages that the machine lacks: pure Python, but for two

It needs the sources (`admlops sources fetch`), the package index, and MapTR's modern environment for its pip; sources
that are not here are left out, and the stages then say which network they skip.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from admlops.catalog import load_model
from admlops.core.errors import AdmlopsError, EnvError
from admlops.core.paths import Layout, find_layout
from admlops.core.processes import run
from admlops.datasets.base import open_data
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.environments import find_model
from admlops.environments.install.ops.source import fetch_source, unpack_source
from admlops.environments.spec.requirements import read_lock
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane

HERE = Path(__file__).resolve().parent
LIMIT_MB = 64.0
SAMPLES = 2
"""How many samples of a scene the stages use, in turn."""
SOURCE_TYPES = frozenset(
    {".py", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".mm", ".in", ".cfg", ".toml", ".patch", ".txt", ".md"}
)
SOURCE_LIMIT_BYTES = 600_000
"""Larger files of a source are data."""
LEFT_OUT = frozenset({".git", "__pycache__", "docs", "docs_zh_CN", "figs", "assets", "demo", "resources", "tests"})
"""Folders of a source that nothing imports."""
OWN = (
    "envs",
    "runners/worker",
    "tests/gpu",
    "tests/models/inside_model.py",
    "tests/models/run_adapter.py",
    "tests/models/trace_modules.py",
)
"""What is taken of the checkout itself."""
COMPILED = (("mmcv-full", "MapTR", "modern"), ("mmcv", "CenterPoint", "mm2"))
"""Packages that are carried as source, with a model and a variant whose lock names them."""
PLATFORM = ("--python-version", "3.12", "--implementation", "cp")
TAGS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "any")
PIP_TIMEOUT_S = 900.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the folder to make")
    parser.add_argument("--no-wheels", action="store_true", help="carry none: the machine's Python has all packages")
    parser.add_argument("--no-mmcv", action="store_true", help="leave mmcv-full's source out: nothing is compiled then")
    options = parser.parse_args()
    try:
        size_mb = make_pack(find_layout(), options.target, wheels=not options.no_wheels, mmcv=not options.no_mmcv)
    except AdmlopsError as error:
        print(f"{error.message}\n→ {error.hint}", file=sys.stderr)
        return 2
    print(f"{options.target}: {size_mb:.1f} MB")
    return 0


def make_pack(layout: Layout, target: Path, *, wheels: bool = True, mmcv: bool = True) -> float:
    """Write the pack into `target` and return its size [MB].

    Raises:
        EnvError: pip, the index or the environment is missing, or the pack is larger than what may be carried.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="admlops-gpu-") as name:
        scratch = Path(name)
        python = find_python(layout) if wheels or mmcv else None
        folders = list(list_sources(layout))
        if mmcv and python is not None:
            for package, model, variant in COMPILED:
                folders.append((unpack_mmcv(layout, python, scratch, package, model, variant), package))
        make_scenes(scratch / "scenes")
        write_code(layout, target / "code.tar.xz", folders, scratch / "scenes")
        if wheels and python is not None:
            fetch_wheels(python, target / "wheels")
    size_mb = sum(path.stat().st_size for path in target.rglob("*") if path.is_file()) / 1e6
    if size_mb > LIMIT_MB:
        raise EnvError(f"the pack is {size_mb:.1f} MB, and {LIMIT_MB:g} MB may be carried", hint="leave a model out")
    return size_mb


def find_python(layout: Layout) -> Path:
    """The interpreter whose pip downloads. Raises EnvError without MapTR's modern environment."""
    found = find_model(layout, load_model(layout, "MapTR"), "modern")
    if found is None:
        raise EnvError("MapTR's modern environment is not built", hint="admlops env install MapTR   # or --device cpu")
    return found.python


def list_sources(layout: Layout) -> Iterator[tuple[Path, str]]:
    """(folder, its place in the pack) of every source that is checked out."""
    for folder in sorted(path for path in layout.submodules.iterdir() if path.is_dir() and any(path.iterdir())):
        yield folder, f"submodules/{folder.name}"


def unpack_mmcv(layout: Layout, python: Path, scratch: Path, name: str, model: str, variant: str) -> Path:
    """The source of mmcv-full, or of mmcv, as the model's lock names it."""
    lock = layout.envs / model / variant / "requirements.txt"
    package = next(one for one in read_lock(lock) if one.name == name)
    own = scratch / name
    (own / "fetching").mkdir(parents=True)
    source = fetch_source(package, own / "fetching", python=python, variables={"MMCV_WITH_OPS": "1"})
    return unpack_source(source, own)


def make_scenes(target: Path) -> None:
    """One scene of each kind of data in pictures of its own size, and `scenes.json`, which says where they are."""
    nuscenes, openlane = target / "nuscenes", target / "openlanev2"
    synthesize(nuscenes, SynthesisOptions(scenes=1, samples=SAMPLES + 1, seed=1, lidar_sweeps=1, camera_sweeps=1))
    build_index(nuscenes, "v1.0-mini", say=print)
    synthesize_openlane(openlane, OpenLaneOptions(scenes=1, samples=SAMPLES, seed=1))
    listed = {}
    for root in (nuscenes, openlane):
        data = open_data(root)
        tokens = list(data.scenes()[0].samples[:SAMPLES])
        listed[root.name] = {"root": root.name, "version": data.version, "tokens": tokens}
    (target / "scenes.json").write_text(json.dumps(listed, indent=1) + "\n")


def write_code(layout: Layout, target: Path, folders: list[tuple[Path, str]], scenes: Path) -> None:
    """The archive: the checkout's own parts, sources, scenes; no times, so that equal content is an equal archive."""
    with tarfile.open(target, "w:xz") as archive:
        for part in OWN:
            for path in list_files(layout.root / part):
                add(archive, path, path.relative_to(layout.root).as_posix())
        for folder, place in folders:
            for path in list_files(folder):
                if path.suffix in SOURCE_TYPES and path.stat().st_size < SOURCE_LIMIT_BYTES:
                    add(archive, path, f"{place}/{path.relative_to(folder).as_posix()}")
        for path in list_files(scenes):
            add(archive, path, f"scenes/{path.relative_to(scenes).as_posix()}")


def list_files(root: Path) -> Iterator[Path]:
    """The files in and below `root`, in the order of their names, without what nothing imports."""
    if root.is_file():
        yield root
        return
    for path in sorted(root.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if path.name not in LEFT_OUT:
                yield from list_files(path)
        elif path.is_file() and path.suffix != ".pyc":
            yield path


def add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    entry = archive.gettarinfo(str(path), arcname=name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    with path.open("rb") as file:
        archive.addfile(entry, file)


def fetch_wheels(python: Path, target: Path) -> None:
    """The locked wheels for the machine's Python, and those that are made of a source.

    Raises:
        EnvError: pip could not have one of them.
    """
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.whl"):
        old.unlink()
    tags = [word for tag in TAGS for word in ("--platform", tag)]
    locked: list[str | Path] = ["-r", HERE / "wheels.txt", "-d", target]
    pip: list[str | Path] = [python, "-m", "pip"]
    common = ["--quiet", "--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    commands: list[list[str | Path]] = [
        [*pip, "download", *common, "--only-binary", ":all:", *PLATFORM, *tags, *locked],
        [*pip, "wheel", *common, "-r", HERE / "wheels-from-source.txt", "-w", target],
    ]
    for command in commands:
        done = run(command, timeout_s=PIP_TIMEOUT_S)
        if done.returncode:
            raise EnvError(f"pip could not fetch the wheels:\n{done.stderr[-1500:]}", hint="see tests/gpu/wheels.in")


if __name__ == "__main__":
    sys.exit(main())
