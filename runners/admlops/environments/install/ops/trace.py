"""Checking after a build that every header and every program came from where it may.

Two records are read. Ninja keeps the headers each object was made from (`ninja -t deps`) and its commands name the
programs and search folders. Without ninja, the compiler itself lists the headers it opened in the file that
`SUNPRO_DEPENDENCIES` names.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.processes import run
from admlops.environments.install.ops.toolchain import Toolchain

HEADERS_FILE = "headers.d"
NINJA_TIMEOUT_S = 120.0
SEARCH_OPTION = re.compile(r"(?:^|(?<=\s))(?:-I|-isystem|-iquote|-include|-B|-L)\s*(/[^\s'\"]+)")
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a build was seen to use: `headers` opened, `folders` it was told to search, `programs` that compiled."""

    headers: frozenset[Path]
    folders: frozenset[Path]
    programs: frozenset[Path]


def tracing_variables(scratch: Path) -> dict[str, str | None]:
    """Variables that make the compiler write down the headers it opens."""
    return {"SUNPRO_DEPENDENCIES": str(scratch / HEADERS_FILE)}


def read_trace(tree: Path, scratch: Path, *, ninja: Path, variables: Mapping[str, str | None]) -> Trace:
    """The trace of the build that was made in `tree` with `tracing_variables(scratch)`."""
    headers: set[Path] = set()
    folders: set[Path] = set()
    programs: set[Path] = set()
    recorded = scratch / HEADERS_FILE
    if recorded.is_file():
        headers |= _existing(_makefile_words(recorded.read_text(errors="replace")), tree)
    for build_file in sorted(tree.rglob("build.ninja")):
        text = build_file.read_text()
        folders |= {Path(found) for found in SEARCH_OPTION.findall(text)}
        programs |= {Path(program) for program in _ninja_programs(text)}
        if (build_file.parent / ".ninja_deps").is_file():
            asked = run([ninja, "-t", "deps"], timeout_s=NINJA_TIMEOUT_S, cwd=build_file.parent, variables=variables)
            listed = (line.strip() for line in asked.stdout.splitlines() if line.startswith(" "))
            headers |= _existing(listed, build_file.parent)
    return Trace(headers=frozenset(headers), folders=frozenset(folders), programs=frozenset(programs))


def check_trace(trace: Trace, toolchain: Toolchain, *, tree: Path, what: str) -> None:
    """Raise EnvError if the build of `what` in `tree` used anything from outside its toolchain."""
    allowed = {folder.resolve() for folder in (*toolchain.headers, tree)}
    headers = _outside(trace.headers, allowed)
    folders = _outside((folder for folder in trace.folders if folder.exists()), allowed)
    programs = _outside(trace.programs, {folder.resolve() for folder in toolchain.programs}, resolve=False)
    for kind, found in (("headers", headers), ("search folders", folders), ("programs", programs)):
        if found:
            shown = ", ".join(map(str, found[:SHOWN])) + (f" and {len(found) - SHOWN} more" if found[SHOWN:] else "")
            raise EnvError(
                f"{what}: the build used {kind} from outside its environment: {shown}",
                hint="the wheel was not kept; find out what leads there (a CFLAGS of an activation script, a setup.py)",
            )


def _normal(path: Path) -> Path:
    """The path without `..`, links kept."""
    return Path(os.path.normpath(path))


def _outside(paths: Iterable[Path], allowed: set[Path], *, resolve: bool = True) -> list[Path]:
    found = []
    for path in sorted(set(paths)):
        # A program keeps its name: a compiler in /usr/bin is often a link to another of the system's folders.
        real = path.resolve() if resolve else _normal(path)
        if not any(real.is_relative_to(folder) or path.is_relative_to(folder) for folder in allowed):
            found.append(path)
    return found


def _makefile_words(text: str) -> Iterator[str]:
    """The prerequisites of make rules such as `a.o: /usr/include/x.h \\`."""
    for rule in text.replace("\\\n", " ").splitlines():
        _, _, prerequisites = rule.partition(": ")
        yield from (word.replace("\\ ", " ") for word in re.split(r"(?<!\\)\s+", prerequisites) if word)


def _existing(words: Iterable[str], folder: Path) -> set[Path]:
    """Return the words that are files; compilers that write to one list at once may garble a name."""
    paths = {folder / word for word in words}
    return {_normal(path) for path in paths if path.is_file()}


def _ninja_programs(text: str) -> Iterator[str]:
    """The programs that torch's build files name: `cxx = ccache g++`, `nvcc = /…/nvcc`."""
    for found in re.findall(r"^(?:cxx|nvcc)\s*=\s*(.+)$", text, re.MULTILINE):
        yield from (word for word in shlex.split(found) if os.sep in word)
