"""Compile the CUDA sources of a model's operations for GPU architectures, object files alone: no GPU is needed.

    .venv/bin/python -m tests.environments.cuda_sources [--arch 80,90,100,120] [--only NAME] [--together 5] [--json]

The sources are mmcv-full's, as the lock names them, and MapTR's geometric kernel attention, with the patch beside this
file. They are compiled against the torch of the built environment MapTR-modern by the machine's nvcc. That one may be
of a later CUDA than torch's, because nothing is linked; headers that its toolkit lacks (cuSPARSE, cuBLAS, cuSOLVER) are
taken from torch's own packages.

`--together N` compiles N sources as one, which saves most of the time: torch's headers are read once. A group that
fails is compiled again one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from admlops.catalog import load_model
from admlops.core.errors import AdmlopsError, EnvError
from admlops.core.paths import Layout, find_layout
from admlops.environments import Environment, EnvironmentSpec, find_model
from admlops.environments.install.ops.patches import apply_patches
from admlops.environments.install.ops.source import fetch_source, unpack_source
from admlops.environments.install.ops.toolchain import index_settings
from admlops.environments.spec.requirements import read_lock

ARCHS = ("80", "90", "100", "120")
KERNEL_ATTENTION = Path("projects/mmdet3d_plugin/maptr/modules/ops/geometric_kernel_attn/src")
PATCH = Path(__file__).with_name("geometric_kernel_attention.patch")
TORCH_LIBRARIES = ("cusparse", "cublas", "cusolver")
FLAGS = (
    *("-c", "-w", "-std=c++17", "--expt-relaxed-constexpr", "-Xcompiler", "-fPIC", "-DMMCV_WITH_CUDA"),
    *("-DWITH_CUDA", "-DCUDA_HAS_FP16=1", "-DTORCH_API_INCLUDE_EXTENSION_H", "-D__CUDA_NO_HALF_OPERATORS__"),
    *("-D__CUDA_NO_HALF_CONVERSIONS__", "-D__CUDA_NO_BFLOAT16_CONVERSIONS__", "-D__CUDA_NO_HALF2_OPERATORS__"),
)
"""What torch's extension builder and the packages' setup.py pass."""
TIMEOUT_S = 900.0
ERROR = re.compile(r"error|fatal", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One compiler call: the sources, whether it went well, its seconds, and what it said if not."""

    sources: tuple[str, ...]
    succeeded: bool
    seconds: float
    errors: tuple[str, ...] = ()


def find_nvcc() -> Path:
    """nvcc on PATH or in the machine's toolkit. Raises EnvError."""
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if found is None:
        raise EnvError("there is no nvcc on PATH nor in /usr/local/cuda/bin", hint="apt-get install cuda-nvcc-12-8")
    return Path(found)


def find_environment(layout: Layout) -> Environment:
    """MapTR's modern environment, which has the torch to compile against. Raises EnvError."""
    found = find_model(layout, load_model(layout, "MapTR"), "modern")
    if found is None:
        raise EnvError("MapTR's modern environment is not built", hint="admlops env install MapTR --device cpu")
    return found


def fetch_mmcv(layout: Layout, environment: Environment, folder: Path) -> Path:
    """The unpacked source distribution of mmcv-full that the lock names, its hash checked. Raises EnvError."""
    spec = EnvironmentSpec.of_model(load_model(layout, "MapTR"), "modern", device="cpu")
    packages = [package for lock in spec.requirements for package in read_lock(lock)]
    wanted = next(package for package in packages if package.name == "mmcv-full")
    variables = {**environment.variables, **index_settings()}
    return unpack_source(fetch_source(wanted, folder, python=environment.python, variables=variables), folder)


def list_sources(layout: Layout, mmcv: Path, folder: Path) -> list[Path]:
    """mmcv-full's CUDA sources and MapTR's, the latter patched in a copy. Raises EnvError."""
    attention = layout.submodules / "MapTR" / KERNEL_ATTENTION
    if not attention.is_dir():
        raise EnvError("MapTR's source is not checked out", hint="admlops sources fetch MapTR")
    copy = folder / "geometric_kernel_attn"
    shutil.copytree(attention, copy)
    apply_patches(copy, [PATCH])
    return [*sorted((mmcv / "mmcv" / "ops" / "csrc" / "pytorch" / "cuda").glob("*.cu")), *sorted(copy.glob("*.cu"))]


def compile_sources(
    sources: Sequence[Path], *, environment: Environment, mmcv: Path, archs: Sequence[str], together: int, folder: Path
) -> Iterator[Compiled]:
    """Compile each source, or so many together, two at once; results come as they are ready."""
    nvcc, options = find_nvcc(), [*FLAGS, *_include_options(environment, mmcv), *_arch_options(archs)]

    def call(group: tuple[Path, ...]) -> list[Compiled]:
        done = _compile(nvcc, options, group, folder)
        if done.succeeded or len(group) == 1:
            return [done]
        return [_compile(nvcc, options, (source,), folder) for source in group]

    with ThreadPoolExecutor(max_workers=max(1, min(2, os.cpu_count() or 1))) as pool:
        for done in as_completed([pool.submit(call, group) for group in _groups(sources, together)]):
            yield from done.result()


def _groups(sources: Sequence[Path], size: int) -> list[tuple[Path, ...]]:
    return [tuple(sources[start : start + size]) for start in range(0, len(sources), size)]


def _compile(nvcc: Path, options: Sequence[str], group: tuple[Path, ...], folder: Path) -> Compiled:
    names = tuple(source.name for source in group)
    stem = f"{names[0]}-{len(names)}"
    unit = folder / f"{stem}.cu"
    unit.write_text("".join(f'#include "{source}"\n' for source in group))
    begun = time.monotonic()
    command = [str(nvcc), *options, str(unit), "-o", str(folder / f"{stem}.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    errors = tuple(line for line in (done.stdout + done.stderr).splitlines() if ERROR.search(line))
    return Compiled(
        sources=names, succeeded=done.returncode == 0, seconds=round(time.monotonic() - begun, 1), errors=errors[:5]
    )


def _include_options(environment: Environment, mmcv: Path) -> list[str]:
    (site_packages,) = environment.prefix.glob("lib/python3*/site-packages")
    asked = subprocess.run(
        [environment.python, "-c", "import sysconfig; print(sysconfig.get_paths()['include'])"],
        capture_output=True,
        text=True,
        check=True,
    )
    csrc, torch = mmcv / "mmcv" / "ops" / "csrc", site_packages / "torch" / "include"
    folders = [csrc / "pytorch", csrc / "common", csrc / "common" / "cuda", torch, torch / "torch/csrc/api/include"]
    libraries = [site_packages / "nvidia" / name / "include" for name in TORCH_LIBRARIES]
    return [f"-I{path}" for path in (*folders, *libraries, asked.stdout.strip())]


def _arch_options(archs: Sequence[str]) -> list[str]:
    return [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default=",".join(ARCHS), help="compute capabilities without their dot")
    parser.add_argument("--only", default="", help="sources whose name holds this")
    parser.add_argument("--part", default="1/1", help="2/3: the second third of the sources")
    parser.add_argument("--together", type=int, default=5, help="sources in one call")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args()
    layout = find_layout()
    try:
        environment = find_environment(layout)
        find_nvcc()
        with tempfile.TemporaryDirectory(prefix="admlops-cuda-") as name:
            folder = Path(name)
            mmcv = fetch_mmcv(layout, environment, folder)
            sources = [path for path in list_sources(layout, mmcv, folder) if options.only in path.name]
            part, parts = map(int, options.part.split("/"))
            sources = sources[part - 1 :: parts]
            archs = options.arch.split(",")
            failed = 0
            for done in compile_sources(
                sources, environment=environment, mmcv=mmcv, archs=archs, together=options.together, folder=folder
            ):
                failed += not done.succeeded
                print(json.dumps(asdict(done)) if options.json else _describe(done), flush=True)
    except AdmlopsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{len(sources)} sources for {options.arch}, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


def _describe(done: Compiled) -> str:
    said = "".join(f"\n    {line}" for line in done.errors)
    return f"{'ok    ' if done.succeeded else 'failed'} {done.seconds:6.1f} s  {' '.join(done.sources)}{said}"


if __name__ == "__main__":
    sys.exit(main())
