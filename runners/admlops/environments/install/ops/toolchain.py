"""The compiler, nvcc and search paths that a build may use, and how nothing else gets in.

In a conda environment everything is the environment's own. A virtual environment has no compiler, so the machine's is
used, from the system's folders alone, and is named in the wheel's key. What else is on PATH, in CPATH, CUDA_HOME and
their like never reaches a build: its environment is made from nothing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.processes import run
from admlops.environments.install.installer import Compilers

SYSTEM_FOLDERS = (Path("/usr/bin"), Path("/bin"))
CUDA_FOLDER = Path("/usr/local")
KEPT = re.compile(
    r"^(HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|(HTTPS?|ALL|NO)_PROXY)$",
    re.IGNORECASE,
)
"""All that a build inherits of the caller's environment."""
INDEX_SETTINGS = re.compile(
    r"^PIP_(INDEX_URL|EXTRA_INDEX_URL|CERT|CLIENT_CERT|PROXY|TRUSTED_HOST|DEFAULT_TIMEOUT|CONFIG_FILE)$"
)
"""What pip may know of the index when it fetches a source distribution, whose hash is then checked."""
UTILITIES = (
    *("awk", "basename", "bash", "cat", "chmod", "cmp", "cp", "cut", "date", "diff", "dirname", "echo", "egrep", "env"),
    *("expr", "false", "fgrep", "find", "getconf", "grep", "gzip", "head", "hostname", "id", "install", "ldconfig"),
    *("ln", "ls", "mkdir", "mktemp", "mv", "nproc", "printf", "pwd", "readlink", "realpath", "rm", "rmdir", "sed"),
    *("sh", "sleep", "sort", "stat", "tail", "tar", "tee", "test", "touch", "tr", "true", "uname", "uniq", "wc"),
    *("which", "xargs"),
)
"""The only programs of the machine that a build in a conda environment can find: none of them compiles anything."""
QUERY_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """What compiles: `compiler` and `cuda` are the tools' own versions, `cuda` None without nvcc.

    `variables` is the whole environment of a build apart from PATH, None unsetting one. `headers` are the folders that
    a header may come from, besides the tree that is built.
    """

    cc: Path
    cxx: Path
    nvcc: Path | None
    compiler: str
    cuda: str | None
    libc: str
    variables: Mapping[str, str | None]
    headers: tuple[Path, ...]
    programs: tuple[Path, ...]


def find_toolchain(
    prefix: Path,
    compilers: Compilers,
    device: str,
    *,
    variables: Mapping[str, str | None],
    includes: tuple[Path, ...] = (),
) -> Toolchain:
    """The toolchain of an environment.

    `variables` are the environment's activation variables, which in a conda environment name its compiler; `includes`
    are further folders whose headers the build may need, such as the interpreter's own.

    Raises:
        EnvError: there is no compiler, or no nvcc for device "cuda", or one is outside a conda environment's prefix.
    """
    if compilers == "prefix":
        cc, cxx = (_inside(prefix, variables.get(name), name) for name in ("CC", "CXX"))
        activation = {name: value for name, value in variables.items() if not name.startswith("PIP_")}
        programs: tuple[Path, ...] = (prefix,)
        allowed: tuple[Path, ...] = (prefix,)
        libc = ""
    else:
        cc, cxx = _system_program("gcc", "cc"), _system_program("g++", "c++")
        activation = {"CC": str(cc), "CXX": str(cxx)}
        programs = (prefix, *SYSTEM_FOLDERS)
        allowed = (prefix, *includes)
        libc = _libc_version()
    nvcc = _find_nvcc(prefix, compilers) if device == "cuda" else None
    clean = {**closed_environment(), **activation}
    if nvcc is not None:
        home = nvcc.parent.parent
        clean |= {"CUDA_HOME": str(home), "CUDA_PATH": None}
        allowed, programs = (*allowed, home.resolve()), (*programs, home)
    searched = () if compilers == "prefix" else _searched_folders(cxx)
    return Toolchain(
        cc=cc,
        cxx=cxx,
        nvcc=nvcc,
        compiler=_compiler_version(cxx),
        cuda=None if nvcc is None else _nvcc_release(nvcc),
        libc=libc,
        variables=clean,
        headers=(*allowed, *searched),
        programs=programs,
    )


def closed_environment() -> dict[str, str | None]:
    """Variables that unset all of the caller's environment but what says who and where the caller is."""
    return {name: None for name in os.environ if not KEPT.match(name) or name == "PATH"}


def index_settings() -> dict[str, str | None]:
    """Return what fetching needs of the caller's environment, to put on top of `closed_environment`."""
    kept: dict[str, str | None] = {name: value for name, value in os.environ.items() if INDEX_SETTINGS.match(name)}
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if index:
        kept.setdefault("PIP_INDEX_URL", index)
    return kept


def closed_path(prefix: Path, compilers: Compilers, scratch: Path) -> str:
    """The PATH of a build: the prefix, then the system's folders, of which a conda environment sees only utilities.

    `scratch` is an existing folder of the build's own, which gets the links.
    """
    if compilers != "prefix":
        return os.pathsep.join(map(str, (prefix / "bin", *SYSTEM_FOLDERS)))
    links = scratch / "utilities"
    links.mkdir()
    for name in UTILITIES:
        found = shutil.which(name, path=f"{os.pathsep.join(map(str, SYSTEM_FOLDERS))}:/usr/sbin:/sbin")
        if found is not None:
            (links / name).symlink_to(found)
    return os.pathsep.join(map(str, (prefix / "bin", links)))


def _inside(prefix: Path, named: str | None, variable: str) -> Path:
    """The compiler that the activation names, which must be in the prefix, links followed."""
    if not named:
        raise EnvError(
            f"{prefix} has no compiler: its activation scripts set no {variable}",
            hint="admlops env lock MODEL --check   # the lock must hold gxx_linux-64",
        )
    path = Path(named) if os.sep in named else prefix / "bin" / named
    if not os.access(path, os.X_OK):
        raise EnvError(f"{variable}={named} is not a program of {prefix}", hint="admlops env repair MODEL")
    if not path.resolve().is_relative_to(prefix.resolve()):
        raise EnvError(
            f"{variable}={named} is {path.resolve()}, outside {prefix}: a compiler must be the environment's own",
            hint="admlops env repair MODEL",
        )
    return path


def _system_program(*names: str) -> Path:
    folders = os.pathsep.join(map(str, SYSTEM_FOLDERS))
    for name in names:
        found = shutil.which(name, path=folders)
        if found is not None:
            return Path(found)
    raise EnvError(
        f"there is no {names[0]} in {folders}, and a virtual environment brings no compiler",
        hint="apt-get install g++   # or: admlops env install MODEL --installer conda",
    )


def _find_nvcc(prefix: Path, compilers: Compilers) -> Path:
    """The environment's own nvcc, or for a virtual environment that of the newest toolkit under /usr/local."""
    if compilers == "prefix":
        own = prefix / "bin" / "nvcc"
        return _inside(prefix, str(own) if own.exists() else None, "nvcc")
    homes = sorted(CUDA_FOLDER.glob("cuda-*.*"), key=_release_of, reverse=True)
    for home in (CUDA_FOLDER / "cuda", *homes):
        if os.access(home / "bin" / "nvcc", os.X_OK):
            return home / "bin" / "nvcc"
    raise EnvError(
        f"there is no nvcc in {CUDA_FOLDER}/cuda*/bin, and a virtual environment brings none",
        hint="admlops env install MODEL --installer conda   # brings its own; or --device cpu",
    )


def _release_of(home: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", home.name))


def _compiler_version(cxx: Path) -> str:
    """The first line of `--version` without the program's name: `(Debian 12.2.0-14) 12.2.0`."""
    return _first_line(cxx).split(" ", 1)[-1]


def _nvcc_release(nvcc: Path) -> str:
    found = re.search(r"release (\d+\.\d+)", _ask(nvcc, "--version"))
    if found is None:
        raise EnvError(f"{nvcc} does not tell its release", hint=f"{nvcc} --version")
    return found.group(1)


def _searched_folders(cxx: Path) -> tuple[Path, ...]:
    """The folders in which a compiler looks for headers without being told."""
    said = _ask(cxx, "-E", "-v", "-x", "c++", "/dev/null")
    listed = said.partition("search starts here:\n#include <...> search starts here:\n")[2]
    listed = listed or said.partition("#include <...> search starts here:\n")[2]
    lines = listed.partition("End of search list.")[0].splitlines()
    return tuple(Path(line.strip()).resolve() for line in lines if line.strip())


def _libc_version() -> str:
    return os.confstr("CS_GNU_LIBC_VERSION") or ""


def _first_line(program: Path) -> str:
    return (_ask(program, "--version").splitlines() or [""])[0]


def _ask(program: Path, *arguments: str) -> str:
    answer = run([program, *arguments], timeout_s=QUERY_TIMEOUT_S, variables=closed_environment() | {"LC_ALL": "C"})
    if answer.returncode != 0:
        raise EnvError(
            f"{program} {' '.join(arguments)} failed: {(answer.stderr or answer.stdout).strip()}",
            hint="repair or reinstall this compiler, then run the command again",
        )
    return answer.stdout + answer.stderr
