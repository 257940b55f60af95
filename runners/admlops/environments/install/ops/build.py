"""The wheels that a variant's `compiled` packages need."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from packaging.utils import canonicalize_name

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.environments.install.installer import Compilers
from admlops.environments.install.ops.compile import Builder, CompileWatch
from admlops.environments.install.ops.describe import Described, describe_environment
from admlops.environments.install.ops.key import WheelKey, torch_arch_list
from admlops.environments.install.ops.patches import patches_digest, select_patches
from admlops.environments.install.ops.source import fetch_source, source_sha256, unpack_source
from admlops.environments.install.ops.toolchain import Toolchain, closed_path, find_toolchain, index_settings
from admlops.environments.install.ops.wheel import ensure_wheel
from admlops.environments.spec.environment_spec import EnvironmentSpec
from admlops.environments.spec.requirements import LockedPackage, read_lock

TOOLKIT_HEADERS = ("cuda_runtime.h", "cusparse.h", "cublas_v2.h", "cusolverDn.h")
"""What torch's own CUDA headers include."""


def build_ops(
    spec: EnvironmentSpec,
    *,
    prefix: Path,
    python: Path,
    variables: Mapping[str, str | None],
    compilers: Compilers,
    device: str | None,
    layout: Layout,
    say: Say,
    jobs: int | None = None,
    progress: CompileWatch | None = None,
) -> list[Path]:
    """Return the wheels of `spec.compiled`, in that order, from `layout.wheels`; build those that are missing.

    The environment must hold what its lock says but for these packages: torch, pip, setuptools, wheel and ninja are
    its own. `progress` gets (package, objects done, objects in all); without it `say` tells now and then.

    Raises:
        EnvError: the lock does not name a package, the toolchain is incomplete, or a build failed; says why.
        StorageError: a folder cannot be written.
    """
    if not spec.compiled:
        return []
    if device not in ("cpu", "cuda"):
        raise EnvError(
            f"{spec.name} has compiled operations, which differ by device, and no device was chosen",
            hint="admlops env install MODEL --device cuda   # or cpu",
        )
    described = describe_environment(python, variables)
    if described.torch is None:
        raise EnvError(
            f"{prefix} has no torch, which its operations are compiled against", hint="admlops env repair MODEL"
        )
    packages = find_compiled(spec, described)
    toolchain = find_toolchain(prefix, compilers, device, variables=variables, includes=(described.include.resolve(),))
    options = build_options(spec, device=device, toolchain=toolchain, described=described)
    wheels = []
    for package in packages:
        patches = select_patches(spec.patches, package.name)
        key = make_key(package, spec, described=described, toolchain=toolchain, patches=patches)
        builder = Builder(
            python=python,
            prefix=prefix,
            compilers=compilers,
            device=device,
            toolchain=toolchain,
            wheels=layout.wheels,
            scratch=layout.environments,
            get_source=partial(_get_source, package, python, prefix, compilers, toolchain),
            patches=patches,
            options=options,
            say=say,
            jobs=jobs,
            progress=progress,
        )
        wheels.append(ensure_wheel(key, builder))
    return wheels


def find_compiled(spec: EnvironmentSpec, described: Described) -> list[LockedPackage]:
    """The lock's entries of the packages to compile. Raises EnvError for one that it does not have."""
    locked = {
        package.name: package
        for path in spec.requirements
        for package in read_lock(path)
        if package.applies_to(described.markers)
    }
    wanted = [canonicalize_name(name) for name in spec.compiled]
    for name in wanted:
        if name not in locked:
            raise EnvError(
                f"{spec.name} is to compile {name}, which none of its locks names: "
                f"{', '.join(str(path) for path in spec.requirements)}",
                hint="git checkout -- envs   # or: admlops env lock MODEL",
            )
    return [locked[name] for name in wanted]


def make_key(
    package: LockedPackage,
    spec: EnvironmentSpec,
    *,
    described: Described,
    toolchain: Toolchain,
    patches: tuple[Path, ...],
) -> WheelKey:
    """Return what this package's wheel depends on, in this environment."""
    return WheelKey(
        name=package.name,
        version=package.version,
        source_sha256=source_sha256(package),
        patches=patches_digest(patches),
        torch=described.torch or "",
        cuda=toolchain.cuda or "cpu",
        arch=torch_arch_list(spec.arch) if toolchain.cuda else (),
        python=described.abi,
        compiler=toolchain.compiler,
        libc=toolchain.libc,
    )


def build_options(spec: EnvironmentSpec, *, device: str, toolchain: Toolchain, described: Described) -> dict[str, str]:
    """The variables that setup.py files of extensions for torch read.

    Raises:
        EnvError: torch has no CUDA, or another major release than nvcc, or headers that torch includes are missing.
    """
    # Python's own flags ask for debugging information, which doubles the time and makes files ten times as large.
    options = {name: f"{toolchain.variables.get(name) or ''} -g0".strip() for name in ("CFLAGS", "CXXFLAGS")}
    if device == "cpu":
        # A GPU that torch can see would make setup.py compile CUDA code all the same.
        return {**options, "MMCV_WITH_OPS": "1", "FORCE_CUDA": "0", "CUDA_VISIBLE_DEVICES": ""}
    if described.cuda is None or toolchain.cuda is None or _major(described.cuda) != _major(toolchain.cuda):
        raise EnvError(
            f"{spec.name}: torch {described.torch} is built for CUDA {described.cuda or 'none'}, nvcc is of CUDA "
            f"{toolchain.cuda}: they must be of one major release",
            hint="admlops env install MODEL --installer conda   # brings the nvcc that its torch needs",
        )
    options |= {
        "MMCV_WITH_OPS": "1",
        "FORCE_CUDA": "1",
        "TORCH_CUDA_ARCH_LIST": ";".join(torch_arch_list(spec.arch)),
    }
    wheels_includes = sorted(described.site_packages.glob("nvidia/*/include"))
    missing = _missing_headers(toolchain, wheels_includes)
    if missing:
        raise EnvError(
            f"{spec.name}: neither the CUDA toolkit at {toolchain.nvcc} nor the environment's packages have "
            f"{', '.join(missing)}",
            hint="admlops env install MODEL --installer conda   # brings a whole toolkit",
        )
    # nvcc finds its own headers wherever they are; the C++ compiler is only told of `include`.
    targets = [folder for folder in _toolkit_folders(toolchain)[1:] if folder.is_dir()]
    more = targets + (wheels_includes if _missing_headers(toolchain, []) else [])
    return {**options, "CPLUS_INCLUDE_PATH": ":".join(map(str, more))} if more else options


def _missing_headers(toolchain: Toolchain, more: list[Path]) -> list[str]:
    folders = [*_toolkit_folders(toolchain), *more]
    return [name for name in TOOLKIT_HEADERS if not any((folder / name).is_file() for folder in folders)]


def _toolkit_folders(toolchain: Toolchain) -> list[Path]:
    """Return where a toolkit keeps its headers: NVIDIA's place, then conda-forge's."""
    home = toolchain.nvcc.parent.parent if toolchain.nvcc else Path("/")
    return [home / "include", home / "targets" / "x86_64-linux" / "include"]


def _get_source(
    package: LockedPackage, python: Path, prefix: Path, compilers: Compilers, toolchain: Toolchain, scratch: Path
) -> Path:
    fetching = scratch / "fetch"
    fetching.mkdir()
    path = closed_path(prefix, compilers, fetching)
    variables = {**toolchain.variables, **index_settings(), "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return unpack_source(fetch_source(package, fetching, python=python, variables=variables), scratch)


def _major(release: str) -> str:
    return release.split(".")[0]
