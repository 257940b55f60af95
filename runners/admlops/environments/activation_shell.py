"""Activation of a person's shell: code for bash and zsh that sets variables, and a `deactivate` that restores them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from admlops.core.processes import driver_folders, leaks
from admlops.environments.prefix import Environment


def target_variables(
    environment: Environment, inherited: Mapping[str, str], *, environments: Path
) -> dict[str, str | None]:
    """Return what must change in a shell that has `inherited`: a value to export, or None to unset.

    The person's own PATH stays, behind the environment's and without what another environment put there, and so do
    their secrets; everything that would leak into the environment is removed.
    """
    wanted: dict[str, str | None] = {name: None for name in inherited if leaks(name)}
    if "LD_LIBRARY_PATH" in inherited:
        wanted["LD_LIBRARY_PATH"] = driver_folders(inherited["LD_LIBRARY_PATH"]) or None
    wanted |= environment.variables
    wanted["PATH"] = _search_path(environment, inherited.get("PATH", ""), environments)
    return {name: value for name, value in wanted.items() if inherited.get(name) != value}


def _search_path(environment: Environment, inherited: str, environments: Path) -> str:
    own = [part for part in (environment.variables.get("PATH") or "").split(":") if part]
    ahead = [part for part in own if Path(part).is_relative_to(environment.prefix)]
    theirs = [part for part in inherited.split(":") if part and not Path(part).is_relative_to(environments)]
    return ":".join([*ahead, *(theirs or own[len(ahead) :])])


def activation_code(environment: Environment, inherited: Mapping[str, str], *, environments: Path) -> str:
    """Return what a shell that exports `inherited` must evaluate; it defines `deactivate`."""
    wanted = target_variables(environment, inherited, environments=environments)
    shell_only = [name for name in wanted if name not in inherited]
    prompt = f"({environment.name}) "
    lines = [
        *(f'if [ -n "${{{name}+x}}" ]; then _admlops_kept_{name}=${name}; fi' for name in shell_only),
        *(_set(name, value) for name, value in wanted.items()),
        '_admlops_function=$(typeset -f deactivate 2>/dev/null) || _admlops_function=""',
        'if [ -n "${PS1+x}" ]; then _admlops_prompt=$PS1; ' + f"PS1={shlex.quote(prompt)}$PS1; fi",
        "deactivate () {",
        *(f"  {line}" for line in _undo(wanted, inherited)),
        "}",
        "_ADMLOPS_ACTIVE=1",
        "hash -r 2>/dev/null || true",
    ]
    return "\n".join(lines) + "\n"


def _undo(wanted: Mapping[str, str | None], inherited: Mapping[str, str]) -> list[str]:
    """Return the body of `deactivate`: it restores earlier values, unexported ones and another `deactivate` too."""
    lines = []
    for name in wanted:
        if name in inherited:
            lines.append(_set(name, inherited[name]))
            continue
        kept = f"_admlops_kept_{name}"
        lines += [f"unset {name}", f'if [ -n "${{{kept}+x}}" ]; then {name}=${kept}; unset {kept}; fi']
    return [
        *lines,
        'if [ -n "${_admlops_prompt+x}" ]; then PS1=$_admlops_prompt; unset _admlops_prompt; fi',
        "unset _ADMLOPS_ACTIVE",
        "unset -f deactivate",
        'if [ -n "$_admlops_function" ]; then eval "$_admlops_function"; fi',
        "unset _admlops_function",
        "hash -r 2>/dev/null || true",
    ]


def _set(name: str, value: str | None) -> str:
    return f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"


def startup_files(activation: str, *, home: Path, folder: Path, shell: str) -> dict[str, str]:
    """Return the start-up files of a person's own interactive shell, then activated: name in `folder` → content.

    A pod's ~/.bashrc exports variables again, PATH among them, so activation must come after it. The files remove
    themselves once they are read.
    """
    clean = f"rm -rf -- {shlex.quote(str(folder))}"
    if shell == "bash":
        return {"bashrc": f"{_source(home / '.bashrc')}\n{activation}\n{clean}\n"}
    return {
        ".zshenv": f"{_source(home / '.zshenv')}\n",
        ".zshrc": f"unset ZDOTDIR\n{_source(home / '.zshrc')}\n{activation}\n{clean}\n",
    }


def _source(path: Path) -> str:
    quoted = shlex.quote(str(path))
    return f"if [ -f {quoted} ]; then . {quoted}; fi"
