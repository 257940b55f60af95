"""The precompiled header of a build: taken by the objects, gone afterwards, and no obstacle where it cannot be made."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.environments.ops_fixtures import make_tool_environment

from admlops.environments.install.ops.precompiled import COMMON_HEADER, SCRIPT, precompiling_folder

pytestmark = pytest.mark.skipif(shutil.which("g++", path="/usr/bin:/bin") is None, reason="needs g++ in /usr/bin")
BUILD_FILE = """ninja_required_version = 1.3
cxx = /usr/bin/g++

cflags = -g0 -fPIC -I{folder} -c
post_cflags = -std=c++17 -DNAME=_ext $
 -DMORE=1
ldflags =

rule compile
  command = $cxx -MMD -MF $out.d $cflags -c $in -o $out $post_cflags
  depfile = $out.d
  deps = gcc

build {folder}/one.o: compile {folder}/one.cpp
build {folder}/two.o: compile {folder}/two.cpp
build {folder}/three.o: compile {folder}/three.cpp
"""


@pytest.fixture(scope="module")
def ninja(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tool_environment(tmp_path_factory.mktemp("tools") / "prefix") / "bin" / "ninja"


def write_sources(folder: Path, *, header: str, before: str = "") -> None:
    folder.mkdir()
    (folder / "build.ninja").write_text(BUILD_FILE.replace("{folder}", str(folder)))
    (folder / "common.hpp").write_text(f"#pragma once\n#include <vector>\n{header}\ninline int size() {{ return 3; }}")
    for name in ("one", "two"):
        source = f'// A comment.\n{before}#include "common.hpp"\nint {name}() {{ return size() + MORE; }}\n'
        (folder / f"{name}.cpp").write_text(source)
    (folder / "three.cpp").write_text("int three() { return 3; }\n")


def run_script(ninja: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), str(ninja), str(folder / "common.hpp"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_objects_take_the_header_and_hold_what_they_held(ninja: Path, tmp_path: Path) -> None:
    with_header, without = tmp_path / "with", tmp_path / "without"
    for folder in (with_header, without):
        write_sources(folder, header="")
    ran = run_script(ninja, with_header, "-v")
    assert ran.returncode == 0, ran.stderr
    assert "MB, and taken by the compiler" in ran.stdout
    assert "2 of 3 C++ sources begin with it" in ran.stdout
    assert list(with_header.glob("common.hpp.*")) == [], "what was precompiled is no part of the wheel"
    subprocess.run([ninja], cwd=without, check=True, capture_output=True)
    for name in ("one.o", "two.o", "three.o"):
        assert (with_header / name).read_bytes() == (without / name).read_bytes()


def test_a_header_that_cannot_be_compiled_alone_is_no_obstacle(ninja: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    write_sources(folder, header="#ifndef READY\n#error not alone\n#endif", before="#define READY 1\n")
    ran = run_script(ninja, folder)
    assert ran.returncode == 0, ran.stderr
    assert "common.hpp is not precompiled" in ran.stdout
    assert "not alone" in ran.stdout
    assert (folder / "two.o").exists()
    assert not (folder / "common.hpp.gch").exists()


def test_a_failed_build_keeps_ninjas_exit_code_and_leaves_no_header(ninja: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    write_sources(folder, header="")
    (folder / "three.cpp").write_text("int three() { return undeclared; }\n")
    ran = run_script(ninja, folder)
    assert ran.returncode == 1
    assert "undeclared" in ran.stdout
    assert not (folder / "common.hpp.gch").exists()
    assert run_script(ninja, folder, "--version").stdout.strip().startswith("1."), "what torch asks first is passed on"


def test_only_packages_with_a_common_header_get_a_ninja_of_their_own(ninja: Path, tmp_path: Path) -> None:
    tree = tmp_path / "mmcv with a blank"
    header = tree / COMMON_HEADER["mmcv-full"]
    python = Path(sys.executable)
    assert precompiling_folder("mmcv-full", tree, tmp_path, python=python, ninja=ninja) is None
    header.parent.mkdir(parents=True)
    header.touch()
    assert precompiling_folder("torch", tree, tmp_path, python=python, ninja=ninja) is None
    folder = precompiling_folder("mmcv-full", tree, tmp_path, python=python, ninja=ninja)
    assert folder is not None
    said = subprocess.run([folder / "ninja", "--version"], capture_output=True, text=True, check=True).stdout
    assert said == subprocess.run([ninja, "--version"], capture_output=True, text=True, check=True).stdout
    assert shlex.quote(str(header)) in (folder / "ninja").read_text()
