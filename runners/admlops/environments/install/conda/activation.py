"""Activation without conda: runs the scripts of a prefix once and keeps what they changed.

A conda prefix states its variables in `etc/conda/activate.d/*.sh` and in two kinds of JSON file. Those scripts append
to what they inherit (CFLAGS, PATH), so they run in a bash that starts with nothing.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from admlops.core.errors import EnvError
from admlops.core.paths import home_folder
from admlops.core.processes import run
from admlops.environments.activation import Variables, isolating_variables, search_path_of

SCRIPTS_TIMEOUT_S = 60.0

_IGNORED = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = "--- admlops activation: "
_ERROR_LINE = re.compile(r"^\s*error\b", re.IGNORECASE | re.MULTILINE)
_COMPLAINT = re.compile(r"error|fail|cannot|not found|no such file", re.IGNORECASE)
_UNSET_MARKER = "***unset***"  # conda's own way to say so in conda-meta/state


def compute_variables(prefix: Path) -> Variables:
    """Compute the variables that a process of a conda environment gets, independent of the caller's own.

    Raises:
        EnvError: an activation script failed; the message holds its name and what it said.
    """
    return isolating_variables() | _activate(prefix)


def _activate(prefix: Path) -> Variables:
    given: Variables = {
        "PATH": search_path_of(prefix),
        "CONDA_PREFIX": str(prefix),
        "CONDA_DEFAULT_ENV": prefix.name,
        "CONDA_SHLVL": "1",
        **_stated_variables(prefix),
    }
    if (prefix / "bin" / "nvcc").exists():
        given["CUDA_HOME"] = str(prefix)  # no activation script of conda's sets it, and torch looks nowhere else
    scripts = sorted((prefix / "etc" / "conda" / "activate.d").glob("*.sh"))
    return given | _run_scripts(prefix, scripts, given) if scripts else given


def _stated_variables(prefix: Path) -> Variables:
    """`etc/conda/env_vars.d/*.json` of the packages, then `conda-meta/state`, which is a person's and wins."""
    stated: Variables = {}
    for path in sorted((prefix / "etc" / "conda" / "env_vars.d").glob("*.json")):
        stated |= _text_values(prefix, path, _read_object(prefix, path))
    state = prefix / "conda-meta" / "state"
    if state.is_file():
        stated |= _text_values(prefix, state, _read_object(prefix, state).get("env_vars", {}))
    return stated


def _read_object(prefix: Path, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise EnvError(f"{path} cannot be read: {error}", hint=f"admlops env repair {prefix.name}") from error
    if not isinstance(content, dict):
        raise EnvError(f"{path} does not hold an object of variables", hint=f"admlops env repair {prefix.name}")
    return content


def _text_values(prefix: Path, path: Path, values: Mapping[str, Any]) -> Variables:
    for name in values:
        if not _NAME.fullmatch(name):
            raise EnvError(
                f"{path} names a variable {name!r}, which no shell can set", hint=f"admlops env repair {prefix.name}"
            )
    return {name: None if value == _UNSET_MARKER else str(value) for name, value in values.items()}


def _run_scripts(prefix: Path, scripts: list[Path], given: Variables) -> Variables:
    """Return what the scripts changed, removed or added, run in order in one bash that starts with `given` alone."""
    start = {name: value for name, value in given.items() if value is not None}
    start.setdefault("HOME", str(home_folder()))
    start.setdefault("LANG", "C.UTF-8")
    command = ["env", "-i", *(f"{name}={value}" for name, value in start.items()), "/bin/bash", "--noprofile", "--norc"]
    ended = run([*command, "-c", _driver(scripts)], timeout_s=SCRIPTS_TIMEOUT_S, cwd=prefix)
    _check_scripts(prefix, ended.stderr, completed=ended.stdout.endswith("\0end\0"))
    before, after = (_read_dump(part) for part in ended.stdout.removesuffix("\0end\0").split("\0between\0"))
    changed: Variables = {name: value for name, value in after.items() if before.get(name) != value}
    return changed | {name: None for name in before if name not in after}


def _driver(scripts: list[Path]) -> str:
    """The bash program: a dump of all variables, the scripts with a mark around each, a second dump."""
    lines = ["/usr/bin/env -0; printf '\\0between\\0'"]
    for script in scripts:
        quoted = shlex.quote(str(script))
        mark = shlex.quote(_MARK)
        lines.append(f"printf '\\n%sbegin %s\\n' {mark} {quoted} >&2")
        lines.append(f". {quoted} >&2 </dev/null")
        lines.append(f"printf '\\n%sstatus %d\\n' {mark} $? >&2")
    lines.append("/usr/bin/env -0; printf '\\0end\\0'")
    return "\n".join(lines)


def _check_scripts(prefix: Path, said: str, *, completed: bool) -> None:
    """Tell a script that failed from one whose last line was merely a test that was not met.

    A script failed if it ended the shell, printed a line that begins with "ERROR" (the compilers' scripts do, and
    return zero), or returned non-zero and complained.
    """
    for part in said.split(f"\n{_MARK}begin ")[1:]:
        name, _, rest = part.partition("\n")
        text, marked, status = rest.rpartition(f"\n{_MARK}status ")
        spoke = text.strip() if marked else rest.strip()
        returned = int(status) if marked else 1
        if not marked or (returned and _COMPLAINT.search(spoke)) or _ERROR_LINE.search(spoke):
            how = f"returned {returned}" if marked else "ended the shell"
            raise _failed_script(prefix, Path(name), f"{how}: {spoke or '(it said nothing)'}")
    if not completed:
        raise _failed_script(prefix, prefix, "bash ended before the last script")


def _failed_script(prefix: Path, script: Path, reason: str) -> EnvError:
    return EnvError(
        f"{prefix} cannot be activated; {script.name} {reason}",
        hint=f"admlops env repair {prefix.name}   # if it stays, the package that owns the script is at fault",
    )


def _read_dump(text: str) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in text.split("\0") if entry)
    return {name: value for name, _, value in pairs if _NAME.fullmatch(name) and name not in _IGNORED}
