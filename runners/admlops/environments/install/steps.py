"""The steps of a build, the same for every installer: base, Python packages, operations, smoke test, verification."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from admlops.core.counting import count_of
from admlops.core.errors import EnvError
from admlops.core.types import Progress
from admlops.environments.activation import Variables, write_activation
from admlops.environments.install.plan import BuildPlan
from admlops.environments.install.python_packages import install_python, install_wheels
from admlops.environments.integrity.record_overrides import (
    RecordOverride,
    learn_overrides,
    recall_overrides,
    remember_overrides,
)
from admlops.environments.integrity.verification import Difference, Inspection, Report, inspect
from admlops.environments.spec.requirements import LockedPackage

SHOWN_DIFFERENCES = 5


@dataclass
class StepLog:
    """The duration of each step of one build [s], in order; tells each step when it begins."""

    plan: BuildPlan
    durations_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tell that a step begins, and measure it."""
        begun = time.monotonic()
        self.plan.options.progress(Progress(phase=name, done=0, total=None, unit="packages"))
        yield
        self.durations_s[name] = self.durations_s.get(name, 0.0) + time.monotonic() - begun

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.durations_s.items())


@dataclass(frozen=True, kw_only=True)
class BuiltPrefix:
    """What a build made: the inspected prefix, and the folders' names of the wheels that were installed into it."""

    inspection: Inspection
    wheels: tuple[str, ...]


def run_steps(plan: BuildPlan, log: StepLog) -> BuiltPrefix:
    """Fill an empty prefix and prove that it is what its locks say and works.

    Raises:
        EnvError: a package cannot be installed or compiled, the smoke test fails, or files differ; says which.
        DownloadError: something cannot be fetched.
        StorageError: a folder cannot be written.
    """
    wheels: tuple[str, ...] = ()
    compiled = set(plan.spec.compiled)
    with log.step("base"):
        plan.chosen.base.fill(plan.prefix, plan.fill_context)
    with log.step("Python packages"):
        install_locked(plan, [package for package in plan.locked if package.name not in compiled])
        variables = write_activation(plan.prefix, plan.chosen.installer.compute_variables(plan.prefix))
    if plan.spec.compiled:
        with log.step("operations"):
            wheels = install_compiled(plan, variables)
    if plan.spec.smoke:
        with log.step("smoke test"):
            _smoke(plan, variables)
    with log.step("verification"):
        return BuiltPrefix(inspection=verify_filled(plan), wheels=wheels)


def install_locked(plan: BuildPlan, packages: list[LockedPackage], *, reinstall: bool = False) -> None:
    """Install packages of the Python locks; `reinstall` fetches them anew."""
    install_python(
        plan.prefix,
        packages,
        layout=plan.layout,
        name=plan.spec.name,
        say=plan.say,
        progress=plan.options.progress,
        locks=plan.spec.requirements,
        reinstall=reinstall,
    )


def install_compiled(plan: BuildPlan, variables: Variables) -> tuple[str, ...]:
    """Install the wheels of compiled operations, building missing ones first; returns the names of their folders."""
    from admlops.environments.install.ops import build_ops

    wheels = build_ops(
        plan.spec,
        prefix=plan.prefix,
        python=plan.prefix / "bin" / "python",
        variables=variables,
        compilers=plan.chosen.installer.compilers,
        device=plan.spec.device,
        layout=plan.layout,
        say=plan.say,
        jobs=plan.options.jobs,
    )
    install_wheels(plan.prefix, wheels, layout=plan.layout, name=plan.spec.name)
    return tuple(sorted({wheel.parent.name for wheel in wheels}))


def _smoke(plan: BuildPlan, variables: Variables) -> None:
    from admlops.environments.install.ops import smoke_test

    smoke_test(
        plan.prefix / "bin" / "python",
        variables=variables,
        modules=plan.spec.smoke,
        compiled=plan.spec.compiled,
        device=plan.spec.device,
        name=plan.spec.name,
    )


def verify_filled(plan: BuildPlan) -> Inspection:
    """Hash every file; what an edited cache brought in is fetched and installed anew, once.

    Raises:
        EnvError: files still differ; names them.
    """
    overrides = {
        one.path: one for package in plan.locked for one in recall_overrides(plan.cache, package, plan.python_version)
    }
    inspection = _inspect(plan, overrides)
    if inspection.report.clean:
        return inspection
    again = _reinstall(plan, inspection.report)
    inspection = _inspect(plan, overrides)
    learnt = _learn(plan, inspection.report, again)
    if learnt:
        inspection = _inspect(plan, overrides | learnt)
    if inspection.report.clean:
        return inspection
    raise EnvError(
        f"{plan.spec.name}: after the installation {plan.prefix} is not what its locks say: "
        f"{list_differences(inspection.report.differences)}",
        hint="run the command again; if it stays, the lock and the index disagree",
    )


def _reinstall(plan: BuildPlan, report: Report) -> list[LockedPackage]:
    """Reinstall the packages whose files differ; return the Python packages that were fetched for it."""
    compiled = set(plan.spec.compiled)
    python = {one.package for one in report.differences if one.manager == "python"} - compiled
    base = {one.package for one in report.differences if one.manager not in ("python", None) and one.package}
    names = sorted(map(str, python | base))
    plan.say(f"installing {', '.join(names)} anew: files are not as their packages say")
    if base:
        plan.chosen.base.fill(plan.prefix, plan.fill_context, reinstall=sorted(map(str, base)))
    again = [package for package in plan.locked if package.name in python]
    if again:
        install_locked(plan, again, reinstall=True)
    return again


def _learn(plan: BuildPlan, report: Report, fresh: Collection[LockedPackage]) -> dict[str, RecordOverride]:
    """Learn what differs from RECORD in packages that were just fetched anew and checked against the lock."""
    learnt: dict[str, RecordOverride] = {}
    for package in fresh:
        changed = [one.path for one in report.differences if one.package == package.name and one.kind == "changed"]
        if changed:
            files = learn_overrides(plan.prefix, changed, package.name)
            remember_overrides(plan.cache, package, plan.python_version, files)
            plan.say(f"{count_of(len(files), 'file')} of {package.name} {package.version} not as its own RECORD states")
            learnt |= {file.path: file for file in files}
    return learnt


def list_differences(differences: Collection[Difference]) -> str:
    """List the first differences in one line, and how many more there are."""
    shown = "; ".join(f"{one.path} {one.reason}" for one in list(differences)[:SHOWN_DIFFERENCES])
    more = len(differences) - SHOWN_DIFFERENCES
    return f"{shown}; and {more} more" if more > 0 else shown


def _inspect(plan: BuildPlan, overrides: dict[str, RecordOverride]) -> Inspection:
    return inspect(
        plan.prefix,
        base=plan.chosen.installer.locked_packages(plan.spec),
        python=plan.locked,
        overrides=overrides,
        watch=plan.watch("verifying files"),
    )
