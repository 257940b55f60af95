"""Repair: what differs in an environment is installed anew, the rest stays, and nothing of a person's is lost."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.processes import run
from admlops.core.storage import explain_os_error
from admlops.core.types import ProgressWatch, Say, Watch, unwatched
from admlops.environments.activation import write_activation
from admlops.environments.install.caches import cache_folder
from admlops.environments.install.prefix_lock import hold_prefix
from admlops.environments.install.venv import checked, find_uv, install_python, install_wheels
from admlops.environments.integrity.file_manifest import list_contents
from admlops.environments.integrity.verification import Difference, Report, verify
from admlops.environments.inventory import Installed, locked_conda, locked_python
from admlops.environments.prefix import Backend, write_state
from admlops.environments.removal import check_unused
from admlops.environments.reuse.libraries import Libraries
from admlops.environments.spec.requirements import LockedPackage
from admlops.environments.spec.specification import Recipe

SHOWN_DIFFERENCES = 5
BASE_FILES = ("pyvenv.cfg", "bin/python")
"""A virtual environment in which one of these is wrong stands on nothing: it is built anew."""


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """What a repair did. `aside` holds a person's edited and added files, if there were any."""

    reinstalled: tuple[str, ...]
    rebuilt: bool
    aside: Path | None
    report: Report


def repair(
    layout: Layout, one: Installed, *, say: Say, progress: ProgressWatch = unwatched, watch: Watch | None = None
) -> Repaired:
    """Make a prefix what its locks say: reinstall the packages that differ, or build it anew if it was never whole.

    Raises:
        EnvError: no lock asks for it any more, a process uses it, something cannot be installed, or it still differs
            afterwards.
        DownloadError: a package cannot be had.
        StorageError: a disk is full, or the folder cannot be written.
    """
    if one.recipe is None:
        raise EnvError(
            f"no lock asks for {one.prefix.name} any more; there is nothing to repair it from",
            hint="admlops env gc   # removes it",
        )
    if one.state != "ready":
        check_unused(one.prefix)
        return _rebuild(layout, one, one.recipe, say, why=f"it is {one.state}")
    with hold_prefix(one.prefix, say):
        try:
            report = _look(one, watch)
        except EnvError as error:
            report = None
            say(error.message)
        if report is not None and not _lacks_base(report):
            return _mend(layout, one, one.recipe, report, say=say, progress=progress, watch=watch)
        check_unused(one.prefix)
        _write_state(one, "broken")
    return _rebuild(layout, one, one.recipe, say, why="what it stands on is damaged")


def _look(one: Installed, watch: Watch | None) -> Report:
    return verify(one.prefix, full=True, conda=locked_conda(one), python=locked_python(one), watch=watch)


def _lacks_base(report: Report) -> bool:
    return any(difference.path in BASE_FILES and difference.package is None for difference in report.differences)


def _rebuild(layout: Layout, one: Installed, recipe: Recipe, say: Say, *, why: str) -> Repaired:
    from admlops.environments.install.build import BuildOptions, build

    say(f"building {one.prefix.name} anew: {why}")
    backend: Backend = one.details["backend"]
    build(layout, recipe, say=say, options=BuildOptions(backend=backend))
    return Repaired(reinstalled=(), rebuilt=True, aside=None, report=_look(one, None))


def _mend(
    layout: Layout,
    one: Installed,
    recipe: Recipe,
    report: Report,
    *,
    say: Say,
    progress: ProgressWatch,
    watch: Watch | None,
) -> Repaired:
    """Not ready until it is whole again: a worker that starts meanwhile must not get half an environment."""
    names = tuple(sorted({difference.package for difference in report.differences if difference.package}))
    aside = None
    if not report.clean:
        check_unused(one.prefix)
        _write_state(one, "broken")
        aside = _set_aside(one.prefix, report.differences)
        if names:
            say(f"installing {', '.join(names)} anew")
        _reinstall(layout, one, recipe, report.differences, say=say, progress=progress)
        report = _look(one, watch)
        _check_clean(one, report)
        Libraries(layout.libraries).share(one.prefix, list_contents(one.prefix).entries)
    write_activation(one.prefix, backend=one.details["backend"])
    _write_state(one, "ready")
    return Repaired(reinstalled=names, rebuilt=False, aside=aside, report=report)


def _write_state(one: Installed, state: str) -> None:
    fixed = ("schema", "name", "state", "digest", "backend")
    write_state(
        one.prefix,
        name=one.name,
        state=state,
        digest=str(one.digest),
        backend=one.details["backend"],
        details={key: value for key, value in one.details.items() if key not in fixed},
    )


def _set_aside(prefix: Path, differences: Sequence[Difference]) -> Path | None:
    """Move additional files out of the prefix and copy changed ones: they may be somebody's work."""
    aside = prefix.with_name(f"{prefix.name}.aside-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        for difference in differences:
            source, target = prefix / difference.path, aside / difference.path
            there = os.path.lexists(source) and not source.is_dir()
            if not there or difference.kind not in ("added", "changed"):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if difference.kind == "added":
                shutil.move(source, target)
            else:
                shutil.copy2(source, target, follow_symlinks=False)
    except OSError as error:
        raise explain_os_error(error, aside) from error
    return aside if aside.is_dir() else None


def _reinstall(
    layout: Layout,
    one: Installed,
    recipe: Recipe,
    differences: Sequence[Difference],
    *,
    say: Say,
    progress: ProgressWatch,
) -> None:
    conda = {difference.package for difference in differences if difference.manager == "conda"}
    if conda:
        _reinstall_conda(layout, one, recipe, sorted(name for name in conda if name), say, progress)
    wanted = {difference.package for difference in differences if difference.manager == "python"}
    locked = {package.name: package for package in locked_python(one) or ()}
    _uninstall(one, sorted(name for name in wanted if name and name not in locked))
    plain = [package for name, package in locked.items() if name in wanted and name not in recipe.compiled]
    if plain:
        _reinstall_python(layout, one, recipe, plain, say, progress)
    if wanted & set(recipe.compiled):
        _reinstall_compiled(layout, one, recipe, say)


def _reinstall_conda(
    layout: Layout, one: Installed, recipe: Recipe, names: Sequence[str], say: Say, progress: ProgressWatch
) -> None:
    from admlops.environments.install.backends import read_conda_packages
    from admlops.environments.install.conda import install_conda

    packages = read_conda_packages(recipe)
    there = [name for name in names if any(package.name == name for package in packages)]
    install_conda(one.prefix, packages, cache=cache_folder(layout), say=say, progress=progress, reinstall=there)


def _reinstall_python(
    layout: Layout,
    one: Installed,
    recipe: Recipe,
    packages: Sequence[LockedPackage],
    say: Say,
    progress: ProgressWatch,
) -> None:
    install_python(
        one.prefix,
        packages,
        layout=layout,
        name=one.name,
        say=say,
        progress=progress,
        locks=recipe.requirements,
        reinstall=True,
    )


def _reinstall_compiled(layout: Layout, one: Installed, recipe: Recipe, say: Say) -> None:
    from admlops.environments.install.ops import build_ops

    wheels = build_ops(
        recipe,
        prefix=one.prefix,
        python=one.prefix / "bin" / "python",
        variables=write_activation(one.prefix, backend=one.details["backend"]),
        backend=one.details["backend"],
        device=recipe.device,
        layout=layout,
        say=say,
    )
    install_wheels(one.prefix, wheels, layout=layout, name=one.name)


def _uninstall(one: Installed, names: Sequence[str]) -> None:
    if names:
        command: list[str | Path] = [
            find_uv(),
            "pip",
            "uninstall",
            "--quiet",
            "--python",
            one.prefix / "bin" / "python",
            *names,
        ]
        checked(run(command, timeout_s=300), one.name)


def _check_clean(one: Installed, report: Report) -> None:
    if report.clean:
        return
    shown = "; ".join(f"{each.path} {each.reason}" for each in report.differences[:SHOWN_DIFFERENCES])
    raise EnvError(
        f"{one.prefix.name} still differs in {len(report.differences)} places after the repair: {shown}",
        hint=f"admlops env remove {one.prefix.name}   # then install it again",
    )
