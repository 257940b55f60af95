"""Compiling one wheel: pip, in a closed environment, with the log kept and the outcome checked."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.processes import run
from admlops.core.types import Say
from admlops.doctor import Site, diagnose
from admlops.environments.install.installer import Compilers
from admlops.environments.install.ops.key import WheelKey
from admlops.environments.install.ops.log import follow, read_tail
from admlops.environments.install.ops.patches import apply_patches
from admlops.environments.install.ops.precompiled import precompiling_folder
from admlops.environments.install.ops.toolchain import Toolchain, closed_path
from admlops.environments.install.ops.trace import check_trace, read_trace, tracing_variables

BUILD_TIMEOUT_S = 6 * 3600.0
EXPECTED_MODULE = {"mmcv": "mmcv/_ext.", "mmcv-full": "mmcv/_ext."}
"""What a wheel must hold to be more than its Python half; for other packages, any compiled module."""
RUN_INTO_LOG = """
log=$1; shift; admlops=$PPID
"$@" >>"$log" 2>&1 &
build=$!
(
  while kill -0 "$admlops" && kill -0 "$build"; do sleep 1; done
  kill -0 "$build" || exit
  read -r own < /proc/self/stat
  set -- ${own##*) }; session=$4; own=${own%% *}
  for stat in /proc/[0-9]*/stat; do
    read -r line < "$stat" || continue
    set -- ${line##*) }
    [ "$4" != "$session" ] || [ "${line%% *}" = "$own" ] || kill -KILL "${line%% *}"
  done
) >/dev/null 2>&1 &
wait "$build"
"""
"""Runs a command with both its outputs in a log, in order. If admlops is killed, its whole session is: ninja gives each
compiler a process group of its own."""

CompileWatch = Callable[[str, int, int], None]
GetSource = Callable[[Path], Path]


@dataclass(frozen=True, kw_only=True)
class Builder:
    """All that a build needs besides its key: the environment, its toolchain, where to work and whom to tell.

    `get_source` puts the unpacked source tree into a scratch folder and returns it.
    """

    python: Path
    prefix: Path
    compilers: Compilers
    device: str
    toolchain: Toolchain
    wheels: Path
    scratch: Path
    get_source: GetSource
    patches: tuple[Path, ...]
    options: Mapping[str, str | None]
    say: Say
    jobs: int | None
    progress: CompileWatch | None


def compile_wheel(key: WheelKey, builder: Builder, *, scratch: Path, log: Path, jobs: int) -> Path:
    """Compile in `scratch`, with all output in `log`; returns the checked wheel, still in scratch.

    Raises:
        EnvError: no source, a patch that does not apply, a failed build, no compiled module, or something from outside.
    """
    tree = builder.get_source(scratch)
    apply_patches(tree, builder.patches)
    toolchain = builder.toolchain
    variables = {
        **toolchain.variables,
        **builder.options,
        **tracing_variables(scratch),
        "PATH": _search_path(key, builder, tree, scratch),
        "MAX_JOBS": str(jobs),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(_made(scratch / "tmp")),
        "HOME": str(_made(scratch / "home")),  # no ~/.pydistutils.cfg: setuptools would take folders from it
        "PIP_CONFIG_FILE": os.devnull,
    }
    builder.say(
        f"compiling {key.name} {key.version} for {builder.device} with {toolchain.cxx.name} {toolchain.compiler}"
        f"{'' if toolchain.cuda is None else f', nvcc {toolchain.cuda}'}, {jobs} at once; log {log}"
    )
    options = ["--verbose", "--no-build-isolation", "--no-deps", "--no-index", "--no-cache-dir", "--no-input"]
    command = [
        str(builder.python),
        "-I",
        "-m",
        "pip",
        "wheel",
        *options,
        "--wheel-dir",
        str(scratch / "out"),
        str(tree),
    ]
    log.write_text(f"# {json.dumps(key.to_dict())}\n# {' '.join(command)}\n")
    with follow(log, name=key.name, say=builder.say, progress=builder.progress):
        into_log = ["/bin/sh", "-c", RUN_INTO_LOG, "sh", str(log), *command]
        built = run(into_log, timeout_s=BUILD_TIMEOUT_S, variables=variables, cwd=tree)
    wheels = sorted((scratch / "out").glob("*.whl"))
    if built.returncode != 0 or len(wheels) != 1:
        raise _explain_failure(key, log, builder.prefix)
    _check_compiled(wheels[0], key, log)
    trace = read_trace(tree, scratch, ninja=builder.prefix / "bin" / "ninja", variables=variables)
    check_trace(trace, toolchain, tree=tree, what=f"{key.name} {key.version}")
    return wheels[0]


def _search_path(key: WheelKey, builder: Builder, tree: Path, scratch: Path) -> str:
    """The PATH of the build, with a ninja in front that precompiles the package's common header, where it has one."""
    path = closed_path(builder.prefix, builder.compilers, scratch)
    ninja = builder.prefix / "bin" / "ninja"
    first = precompiling_folder(key.name, tree, scratch, python=builder.python, ninja=ninja)
    return path if first is None else os.pathsep.join((str(first), path))


def compiled_modules(wheel: Path) -> list[str]:
    """The compiled modules in a wheel, as paths within it."""
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name for name in archive.namelist() if name.endswith(".so"))


def _check_compiled(wheel: Path, key: WheelKey, log: Path) -> None:
    """A setup.py that does not find torch makes a wheel without operations, and says nothing."""
    expected = EXPECTED_MODULE.get(key.name, "")
    if not any(name.startswith(expected) for name in compiled_modules(wheel)):
        raise EnvError(
            f"{key.name} {key.version}: the build made {wheel.name} without compiled operations"
            f"{f' ({expected}*.so)' if expected else ''}; its log is {log}\n{read_tail(log)}",
            hint="admlops env repair MODEL   # torch must be importable in the environment, then run the command again",
        )


def _explain_failure(key: WheelKey, log: Path, prefix: Path) -> EnvError:
    known = diagnose(log.read_text(errors="replace"), phases=["compile"], site=Site(prefix=prefix))
    what = f"{key.name} {key.version} could not be compiled" + (f": {known.cause}" if known else "")
    return EnvError(f"{what}\n{read_tail(log)}", hint=known.hint if known else f"less {log}   # the whole log")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
