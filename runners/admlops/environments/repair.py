"""Repairs an environment: what differs is installed anew, the rest stays, and nothing of a person's is lost."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.core.types import ProgressWatch, Say, Watch, unwatched
from admlops.environments.activation import ACTIVATION_FILE, write_activation
from admlops.environments.install.build import LOCK_TIMEOUT_S, build, finish
from admlops.environments.install.installer import (
    Base,
    ChosenBase,
    FillContext,
    Installer,
    SizedPackage,
    find_installer,
)
from admlops.environments.install.options import BuildOptions
from admlops.environments.install.plan import BuildPlan, locked_packages
from admlops.environments.install.python_packages import uninstall
from admlops.environments.install.steps import install_compiled, install_locked, verify_filled
from admlops.environments.integrity.verification import Difference, Report, verify
from admlops.environments.inventory import InstalledEnvironment, locked_base, locked_python, replaced_folder
from admlops.environments.prefix import INSTALLER_KEY, details_of, lock_of
from admlops.environments.removal import check_unused
from admlops.environments.reuse.libraries import Libraries
from admlops.environments.spec.environment_spec import EnvironmentSpec


@dataclass(frozen=True, kw_only=True)
class RepairResult:
    """What a repair did. `replaced` is the folder of a person's edited and added files, if there were any."""

    reinstalled: tuple[str, ...]
    rebuilt: bool
    replaced: Path | None
    report: Report


def repair(
    layout: Layout,
    one: InstalledEnvironment,
    *,
    say: Say,
    progress: ProgressWatch = unwatched,
    watch: Watch | None = None,
) -> RepairResult:
    """Make a prefix what its locks say: reinstall the packages that differ, or build it anew if it was never complete.

    Raises:
        EnvError: no lock asks for it any more, a process uses it, something cannot be installed, or it still differs
            afterwards.
        DownloadError: a package cannot be had.
        StorageError: a disk is full, or the folder cannot be written.
    """
    if one.spec is None:
        raise EnvError(
            f"no lock asks for {one.prefix.name} any more; there is nothing to repair it from",
            hint="admlops env gc   # removes it",
        )
    if one.state != "ready":
        check_unused(one.prefix)
        return _rebuild(layout, one, one.spec, say, progress, why=f"it is {one.state}")
    plan = _plan_of(layout, one, one.spec, say=say, progress=progress)
    what = f"repairing {one.prefix.name}"
    with hold(lock_of(one.prefix), what=what, say=say, timeout_s=LOCK_TIMEOUT_S):
        try:
            report = _verify(one, watch)
        except EnvError as error:
            report = None
            say(error.message)
        if report is not None and not _needs_rebuild(report):
            return _mend(plan, one, report)
        check_unused(one.prefix)
        plan.write_state("broken", _facts_of(one))
        replaced = None if report is None else _keep_work(one.prefix, report.differences)
    return _rebuild(
        layout, one, one.spec, say, progress, why="a file that no package owns is damaged", replaced=replaced
    )


def _plan_of(
    layout: Layout, one: InstalledEnvironment, spec: EnvironmentSpec, *, say: Say, progress: ProgressWatch
) -> BuildPlan:
    """Plan the work on an existing prefix: its Python is the one that it was built on."""
    installer = find_installer(str(one.details[INSTALLER_KEY]))
    version = str(one.details.get("python"))
    return BuildPlan(
        layout=layout,
        spec=spec,
        chosen=ChosenBase(installer=installer, base=_LateBase(installer, spec, version)),
        locked=locked_packages(spec, version),
        digest=str(one.digest),
        prefix=one.prefix,
        options=BuildOptions(installer=installer.id, progress=progress),
        say=say,
    )


class _LateBase:
    """The base of an existing prefix, prepared only if something of it must be installed again."""

    def __init__(self, installer: Installer, spec: EnvironmentSpec, python_version: str) -> None:
        self._installer, self._spec, self.python_version = installer, spec, python_version

    def _prepare(self) -> Base:
        return self._installer.prepare(self._spec)

    @property
    def packages(self) -> Sequence[SizedPackage]:
        return self._prepare().packages

    def describe(self) -> str:
        return self._prepare().describe()

    def missing_bytes(self, cache: Path) -> int:
        return self._prepare().missing_bytes(cache)

    def fill(self, prefix: Path, context: FillContext, *, reinstall: Collection[str] = ()) -> None:
        base = self._prepare()
        known = {package.name for package in base.packages}
        base.fill(prefix, context, reinstall=[name for name in reinstall if name in known])


def _verify(one: InstalledEnvironment, watch: Watch | None) -> Report:
    return verify(one.prefix, full=True, base=locked_base(one), python=locked_python(one), watch=watch)


def _needs_rebuild(report: Report) -> bool:
    """Decide whether something that no package brought differs: only a build can bring it back."""
    return any(
        one.package is None and one.kind in ("missing", "changed") and one.path != ACTIVATION_FILE
        for one in report.differences
    )


def _rebuild(
    layout: Layout,
    one: InstalledEnvironment,
    spec: EnvironmentSpec,
    say: Say,
    progress: ProgressWatch,
    *,
    why: str,
    replaced: Path | None = None,
) -> RepairResult:
    say(f"building {one.prefix.name} anew: {why}")
    options = BuildOptions(installer=str(one.details[INSTALLER_KEY]), progress=progress)
    build(layout, spec, say=say, options=options)
    return RepairResult(reinstalled=(), rebuilt=True, replaced=replaced, report=_verify(one, None))


def _mend(plan: BuildPlan, one: InstalledEnvironment, report: Report) -> RepairResult:
    """Reinstall what differs; the prefix is not ready meanwhile, so that no worker starts in half an environment."""
    names = tuple(sorted({difference.package for difference in report.differences if difference.package}))
    replaced = None
    if not report.clean:
        check_unused(one.prefix)
        plan.write_state("broken", _facts_of(one))
        replaced = _keep_work(one.prefix, report.differences)
        if names:
            plan.say(f"installing {', '.join(names)} anew")
        _reinstall(plan, report.differences)
    if not report.clean or not report.by_manifest:
        write_activation(plan.prefix, plan.chosen.installer.compute_variables(plan.prefix))
        inspection = verify_filled(plan)
        Libraries(plan.layout.libraries).share(plan.prefix, inspection.listing.entries)
        finish(plan, inspection.listing, _facts_of(one))
        report = inspection.report
    return RepairResult(reinstalled=names, rebuilt=False, replaced=replaced, report=report)


def _facts_of(one: InstalledEnvironment) -> dict[str, object]:
    return {key: value for key, value in details_of(one.details).items() if key not in ("device", "python")}


def _keep_work(prefix: Path, differences: Sequence[Difference]) -> Path | None:
    """Move additional files out of the prefix and copy changed ones: they may be somebody's work."""
    folder = replaced_folder(prefix, time.strftime("%Y%m%d-%H%M%S"))
    try:
        for difference in differences:
            source, target = prefix / difference.path, folder / difference.path
            there = os.path.lexists(source) and not source.is_dir()
            if not there or difference.kind not in ("added", "changed"):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if difference.kind == "added":
                shutil.move(source, target)
            else:
                shutil.copy2(source, target, follow_symlinks=False)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    return folder if folder.is_dir() else None


def _reinstall(plan: BuildPlan, differences: Sequence[Difference]) -> None:
    base = {one.package for one in differences if one.manager not in ("python", None)}
    if base:
        plan.chosen.base.fill(plan.prefix, plan.fill_context, reinstall=sorted(name for name in base if name))
    wanted = {one.package for one in differences if one.manager == "python"}
    locked = {package.name: package for package in plan.locked}
    compiled = set(plan.spec.compiled)
    unlocked = sorted(name for name in wanted if name and name not in locked)
    uninstall(plan.prefix, unlocked, layout=plan.layout, name=plan.spec.name)
    plain = [package for name, package in locked.items() if name in wanted and name not in compiled]
    if plain:
        install_locked(plan, plain, reinstall=True)
    if wanted & compiled:
        install_compiled(plan, plan.chosen.installer.compute_variables(plan.prefix))
