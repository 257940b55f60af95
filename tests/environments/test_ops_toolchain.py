"""Nothing of the machine gets into a build but what is meant to: decoys on PATH, in CPATH, CUDA_HOME and CFLAGS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from tests.environments.ops_fixtures import Workshop, make_spec, make_tool_environment, make_workshop, needs_compiler

from admlops.core.errors import EnvError
from admlops.core.processes import run
from admlops.environments.install.ops import build_ops
from admlops.environments.install.ops import toolchain as toolchains
from admlops.environments.install.ops.build import build_options
from admlops.environments.install.ops.compile import compiled_modules
from admlops.environments.install.ops.describe import Described
from admlops.environments.install.ops.toolchain import closed_environment, closed_path, find_toolchain, index_settings
from admlops.environments.install.ops.trace import check_trace, read_trace, tracing_variables

pytestmark = needs_compiler


@pytest.fixture(scope="module")
def tool_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tool_environment(tmp_path_factory.mktemp("tools") / "prefix")


@pytest.fixture
def workshop(tmp_path: Path, tool_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return make_workshop(tmp_path, tool_environment, monkeypatch)


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def c_search_folders() -> list[Path]:
    """The folders in which the machine's C compiler looks for headers."""
    command = ["gcc", "-E", "-v", "-x", "c", "/dev/null"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    folders = [Path(line.strip()) for line in said.splitlines() if line.startswith(" /")]
    return [folder.resolve() for folder in folders if folder.is_dir()]


def test_decoys_do_not_get_into_a_build(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touched = tmp_path / "touched"
    decoys = tmp_path / "decoys"
    for name in ("gcc", "g++", "cc", "c++", "nvcc", "ld", "as", "ninja", "python", "sh", "x86_64-linux-gnu-gcc"):
        write_program(decoys / name, f"touch {touched}; exit 1")
    write_program(decoys / "cuda" / "bin" / "nvcc", f"touch {touched}; exit 1")
    (decoys / "stdio.h").write_text("#error a decoy\n")
    (decoys / "sitecustomize.py").write_text(f"open({str(touched)!r}, 'w')\n")
    (decoys / ".pydistutils.cfg").write_text(f"[build_ext]\ninclude_dirs={decoys}\n")
    monkeypatch.setenv("HOME", str(decoys))
    monkeypatch.setenv("PATH", f"{decoys}{os.pathsep}{os.environ['PATH']}")
    for name in ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "PYTHONPATH", "LIBRARY_PATH", "COMPILER_PATH"):
        monkeypatch.setenv(name, str(decoys))
    for name in ("CC", "CXX", "LDSHARED", "CUDAHOSTCXX"):
        monkeypatch.setenv(name, str(decoys / "gcc"))
    for name in ("CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "NVCC_PREPEND_FLAGS"):
        monkeypatch.setenv(name, f"-I{decoys} -B{decoys} --no-such-option")
    monkeypatch.setenv("CUDA_HOME", str(decoys / "cuda"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(decoys))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (wheel,) = workshop.build(workshop.publish())
    assert compiled_modules(wheel)
    assert not touched.exists()


def test_a_build_sees_only_who_and_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("SOME_SETTING", "1")
    closed = closed_environment()
    assert closed["SOME_SETTING"] is None
    assert closed["PATH"] is None
    assert "HOME" not in closed
    assert "HTTPS_PROXY" not in closed


def test_fetching_keeps_the_indexs_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_FIND_LINKS", "/elsewhere")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mirror/simple")
    assert index_settings() == {"PIP_INDEX_URL": "https://mirror/simple"}
    monkeypatch.setenv("PIP_INDEX_URL", "https://nearer/simple")
    assert index_settings() == {"PIP_INDEX_URL": "https://nearer/simple"}


CONDA_VARIABLES = {"CC": "x86_64-conda-linux-gnu-cc", "CXX": "x86_64-conda-linux-gnu-c++"}


class TestConda:
    """A conda prefix whose compiler is a script of ours."""

    @pytest.fixture
    def prefix(self, tmp_path: Path) -> Path:
        prefix = tmp_path / "prefix"
        for name, program in {"cc": "gcc", "c++": "g++"}.items():
            write_program(prefix / "bin" / f"x86_64-conda-linux-gnu-{name}", f'exec /usr/bin/{program} "$@"')
        return prefix

    def test_the_compiler_is_the_prefixs_own(self, prefix: Path) -> None:
        found = find_toolchain(prefix, "prefix", "cpu", variables=CONDA_VARIABLES)
        assert found.cxx == prefix / "bin" / "x86_64-conda-linux-gnu-c++"
        assert found.headers == found.programs == (prefix,)
        assert found.libc == "", "the environment brings its own C library to link against"

    def test_a_compiler_outside_is_refused(self, prefix: Path) -> None:
        with pytest.raises(EnvError, match=rf"CXX=/usr/bin/g\+\+ is .*, outside {prefix}"):
            find_toolchain(prefix, "prefix", "cpu", variables={**CONDA_VARIABLES, "CXX": "/usr/bin/g++"})

    def test_a_link_to_a_compiler_outside_is_refused(self, prefix: Path) -> None:
        cxx = prefix / "bin" / CONDA_VARIABLES["CXX"]
        cxx.unlink()
        cxx.symlink_to("/usr/bin/g++")
        with pytest.raises(EnvError, match="outside"):
            find_toolchain(prefix, "prefix", "cpu", variables=CONDA_VARIABLES)

    def test_no_compiler_and_no_nvcc_are_named(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(EnvError, match="has no compiler: its activation scripts set no CC"):
            find_toolchain(prefix, "prefix", "cpu", variables={})
        monkeypatch.setenv("CUDA_HOME", str(prefix.parent))
        write_program(prefix.parent / "bin" / "nvcc", "echo release 12.8, V12.8.93")
        with pytest.raises(EnvError, match="no nvcc"):
            find_toolchain(prefix, "prefix", "cuda", variables=CONDA_VARIABLES)

    def test_its_own_nvcc_is_found(self, prefix: Path) -> None:
        write_program(prefix / "bin" / "nvcc", "echo Cuda compilation tools, release 12.8, V12.8.93")
        found = find_toolchain(prefix, "prefix", "cuda", variables=CONDA_VARIABLES)
        assert (found.nvcc, found.cuda) == (prefix / "bin" / "nvcc", "12.8")
        assert found.variables["CUDA_HOME"] == str(prefix)

    def test_no_compiler_of_the_machine_is_on_its_path(self, prefix: Path, tmp_path: Path) -> None:
        path = closed_path(prefix, "prefix", tmp_path)
        for name in ("gcc", "g++", "cc", "c++", "ld", "as", "make", "cmake", "nvcc", "ninja", "python3", "pip"):
            assert shutil.which(name, path=path) is None, name
        assert run(["sh", "-c", "uname && which sh"], timeout_s=30, variables={"PATH": path}).returncode == 0

    def build(self, workshop: Workshop) -> list[Path]:
        return build_ops(
            workshop.publish(),
            prefix=workshop.prefix,
            python=workshop.prefix / "bin" / "python",
            variables={**CONDA_VARIABLES, "CFLAGS": f"-I{workshop.prefix / 'include' / 'python'}"},
            compilers="prefix",
            device="cpu",
            layout=workshop.layout,
            say=workshop.said.append,
        )

    def test_neither_programs_nor_headers_of_the_machine_are_used(self, prefix: Path, workshop: Workshop) -> None:
        """The script is the machine's compiler in disguise: first it lacks the machine's assembler, and once it has
        one it finds the machine's headers, which must not go unnoticed."""
        shutil.copytree(prefix / "bin", workshop.prefix / "bin", dirs_exist_ok=True)
        with pytest.raises(EnvError, match="the compiler's own as is not in the environment"):
            self.build(workshop)
        for name in ("as", "ld"):
            write_program(workshop.prefix / "bin" / name, f'exec /usr/bin/{name} "$@"')
        with pytest.raises(EnvError, match=r"used headers from outside its environment: /\S+\.h") as caught:
            self.build(workshop)
        assert "wheel was not kept" in caught.value.hint
        assert workshop.wheels() == workshop.leftovers() == []

    def test_with_headers_of_its_own_the_wheel_is_kept(self, prefix: Path, workshop: Workshop) -> None:
        """As a conda environment has them: Python's under its prefix, the system's in a sysroot."""
        shutil.copytree(prefix / "bin", workshop.prefix / "bin", dirs_exist_ok=True)
        for name in ("as", "ld"):
            write_program(workshop.prefix / "bin" / name, f'exec /usr/bin/{name} "$@"')
        shutil.copytree(sysconfig.get_paths()["include"], workshop.prefix / "include" / "python")
        listed = subprocess.run(
            ["gcc", "-M", "-x", "c", "-", f"-I{sysconfig.get_paths()['include']}"],
            input="#include <Python.h>\n",
            capture_output=True,
            text=True,
            check=True,
        )
        sysroot = workshop.prefix / "sysroot"
        for word in listed.stdout.replace("\\\n", " ").split():
            if word.startswith("/usr/"):
                target = sysroot / word.removeprefix("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(word, target)
        searched = [f"-isystem {sysroot / str(folder).removeprefix('/')}" for folder in c_search_folders()]
        compiler = workshop.prefix / "bin" / CONDA_VARIABLES["CC"]
        write_program(compiler, f'exec /usr/bin/gcc -nostdinc {" ".join(searched)} "$@"')
        (wheel,) = self.build(workshop)
        assert compiled_modules(wheel)


class TestTrace:
    """What ninja remembers of a build: one source, one header of the tree, one from elsewhere."""

    @pytest.fixture
    def tree(self, tmp_path: Path, tool_environment: Path) -> Path:
        tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
        (tree / "build").mkdir(parents=True)
        elsewhere.mkdir()
        (tree / "own.h").touch()
        (elsewhere / "foreign.h").touch()
        (tree / "a.c").write_text('#include "own.h"\n#include "foreign.h"\nint a;\n')
        (tree / "build" / "build.ninja").write_text(
            f"cxx = /usr/bin/gcc\nflags = -I{tree} -isystem {elsewhere}\n"
            "rule compile\n  command = $cxx -MD -MF $out.d $flags -c $in -o $out\n  depfile = $out.d\n  deps = gcc\n"
            f"build a.o: compile {tree}/a.c\n"
        )
        subprocess.run([tool_environment / "bin" / "ninja"], cwd=tree / "build", check=True, capture_output=True)
        return tree

    def test_headers_folders_and_programs_are_seen(self, tree: Path, tool_environment: Path) -> None:
        trace = read_trace(tree, tree, ninja=tool_environment / "bin" / "ninja", variables={})
        elsewhere = tree.parent / "elsewhere"
        assert {tree / "own.h", elsewhere / "foreign.h"} <= trace.headers
        assert trace.folders == {tree, elsewhere}
        assert trace.programs == {Path("/usr/bin/gcc")}

    def test_what_is_outside_is_an_error_that_names_it(self, tree: Path, tool_environment: Path) -> None:
        trace = read_trace(tree, tree, ninja=tool_environment / "bin" / "ninja", variables={})
        toolchain = find_toolchain(tool_environment, "machine", "cpu", variables={})
        with pytest.raises(EnvError, match=r"tiny: the build used headers from outside .*elsewhere/foreign\.h"):
            check_trace(trace, toolchain, tree=tree, what="tiny")
        check_trace(trace, toolchain, tree=tree.parent, what="tiny")  # nothing is outside of the folder above both

    def test_without_ninja_the_compiler_tells(self, tmp_path: Path) -> None:
        (tmp_path / "a.c").write_text("#include <stdio.h>\nint a;\n")
        variables = tracing_variables(tmp_path)
        done = run(["gcc", "-c", "a.c"], timeout_s=60, cwd=tmp_path, variables=variables)
        assert done.returncode == 0, done.stderr
        trace = read_trace(tmp_path, tmp_path, ninja=Path("ninja"), variables={})
        assert Path("/usr/include/stdio.h") in trace.headers


class TestCuda:
    """The machine's toolkit, for a virtual environment."""

    @pytest.fixture
    def toolkit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(toolchains, "CUDA_FOLDER", tmp_path / "local")
        home = tmp_path / "local" / "cuda-12.8"
        write_program(home / "bin" / "nvcc", "echo Cuda compilation tools, release 12.8, V12.8.93")
        (home / "include").mkdir()
        (home / "include" / "cuda_runtime.h").touch()
        return home

    @staticmethod
    def described(folder: Path, *, torch: str = "2.10.0+cu128", cuda: str | None = "12.8") -> Described:
        return Described(
            torch=torch,
            cuda=cuda,
            abi="cpython-311",
            include=folder,
            site_packages=folder / "site-packages",
            markers={},
        )

    def test_headers_that_the_toolkit_lacks_come_from_the_environments_packages(
        self, toolkit: Path, tool_environment: Path, tmp_path: Path
    ) -> None:
        found = find_toolchain(tool_environment, "machine", "cuda", variables={})
        assert (found.nvcc, found.cuda) == (toolkit / "bin" / "nvcc", "12.8")
        spec = make_spec(tmp_path / "no-lock.txt", arch=("sm_86", "sm_120"))
        described = self.described(tmp_path)
        with pytest.raises(EnvError, match=r"have cusparse\.h, cublas_v2\.h, cusolverDn\.h"):
            build_options(spec, device="cuda", toolchain=found, described=described)
        include = described.site_packages / "nvidia" / "math" / "include"
        include.mkdir(parents=True)
        for name in ("cusparse.h", "cublas_v2.h", "cusolverDn.h"):
            (include / name).touch()
        options = build_options(spec, device="cuda", toolchain=found, described=described)
        assert options["CPLUS_INCLUDE_PATH"] == str(include)
        assert (options["FORCE_CUDA"], options["TORCH_CUDA_ARCH_LIST"]) == ("1", "8.6;12.0")

    def test_another_major_release_than_torchs_is_refused(
        self, toolkit: Path, tool_environment: Path, tmp_path: Path
    ) -> None:
        found = find_toolchain(tool_environment, "machine", "cuda", variables={})
        spec = make_spec(tmp_path / "no-lock.txt", arch=("sm_86", "sm_120"))
        old = self.described(tmp_path, torch="1.9.1+cu111", cuda="11.1")
        with pytest.raises(EnvError, match=r"torch 1\.9\.1\+cu111 is built for CUDA 11\.1, nvcc is of CUDA 12\.8"):
            build_options(spec, device="cuda", toolchain=found, described=old)

    def test_on_the_cpu_no_gpu_is_seen(self, tool_environment: Path, tmp_path: Path) -> None:
        found = find_toolchain(tool_environment, "machine", "cpu", variables={})
        spec = make_spec(tmp_path / "no-lock.txt", arch=("sm_86", "sm_120"))
        options = build_options(spec, device="cpu", toolchain=found, described=self.described(tmp_path))
        assert (options["FORCE_CUDA"], options["CUDA_VISIBLE_DEVICES"]) == ("0", "")
