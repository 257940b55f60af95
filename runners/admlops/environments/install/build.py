"""Building an environment: at its final path, under a lock, with `ready` written after everything was verified.

A build goes through the same steps for both backends: the base (an interpreter in a virtual environment, or the
packages of a conda lock), Python packages of the hashed locks, compiled operations, the smoke test, the verification.
A build that was killed leaves the state `building`, one that failed `broken`; either is built anew by the next call,
from caches that hold all that came whole.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admlops.catalog import load_model
from admlops.core.errors import AdmlopsError, EnvError
from admlops.core.paths import Layout
from admlops.core.processes import run
from admlops.core.types import Progress, Say, Watch
from admlops.environments.activation import write_activation
from admlops.environments.install.backends import Base, choose_base
from admlops.environments.install.caches import cache_folder
from admlops.environments.install.conda import install_conda
from admlops.environments.install.options import BuildOptions
from admlops.environments.install.prefix_lock import clear_prefix, disk_usage_bytes, hold_prefix
from admlops.environments.install.preflight import estimate_bytes, preflight
from admlops.environments.install.venv import checked, find_uv, install_python, install_wheels, trust_unknown
from admlops.environments.integrity.file_manifest import Found, list_contents
from admlops.environments.integrity.record_overrides import accept, add_accepted, recall, remember
from admlops.environments.integrity.verification import Report, verify
from admlops.environments.prefix import Environment, prefix_of, write_state
from admlops.environments.reuse.aside import contents_aside, restore_from_aside
from admlops.environments.reuse.libraries import Libraries
from admlops.environments.spec.requirements import LockedPackage, read_lock
from admlops.environments.spec.specification import Recipe

__all__ = ["BuildOptions", "build", "locked_packages"]

SHOWN_DIFFERENCES = 5
WATCH_INTERVAL_S = 0.1
KEPT_CHARACTERS = 8000
"""Of what a failed build said, kept in its state file."""


@dataclass(frozen=True, kw_only=True)
class _Build:
    """One build, and what it found out on its way."""

    layout: Layout
    recipe: Recipe
    base: Base
    locked: tuple[LockedPackage, ...]
    digest: str
    prefix: Path
    options: BuildOptions
    say: Say
    durations_s: dict[str, float] = field(default_factory=dict)
    trusted: list[str] = field(default_factory=list)
    wheels: list[str] = field(default_factory=list)

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure how long a step takes."""
        begun = time.monotonic()
        yield
        self.durations_s[name] = self.durations_s.get(name, 0.0) + time.monotonic() - begun

    def watch(self, phase: str) -> Watch:
        """Tells how far a phase is, a few times a second."""
        said_s = 0.0

        def watch(done: int, total: int) -> None:
            nonlocal said_s
            now = time.monotonic()
            if done == total or now - said_s > WATCH_INTERVAL_S:
                said_s = now
                self.options.progress(Progress(phase=phase, done=done, total=total, unit="bytes"))

        return watch

    def write_state(self, state: str, **details: Any) -> None:
        write_state(
            self.prefix,
            name=self.recipe.name,
            state=state,
            digest=self.digest,
            backend=self.base.backend,
            details={"device": self.recipe.device, "python": self.base.python_version, **details},
        )

    def finish(self, found: Found, **details: Any) -> None:
        """Write down what the environment consists of, and then that it is ready."""
        found.write(self.prefix, name=self.recipe.name, digest=self.digest, state=details)
        self.write_state("ready", **details)


def build(layout: Layout, recipe: Recipe, *, say: Say, options: BuildOptions | None = None) -> Environment:
    """Build a recipe's environment, or wait for another process that is building it.

    Raises:
        EnvError: a lock is missing or not whole, a hash does not match, no backend works here, the machine will not do.
        DownloadError: something cannot be fetched.
        StorageError: too little disk, or a folder cannot be written.
    """
    chosen = options or BuildOptions()
    base = choose_base(recipe, chosen.backend, cache=cache_folder(layout), say=say)
    trusted = trust_unknown(recipe.requirements, layout=layout, say=say) if chosen.trust_first_use else []
    locked = locked_packages(recipe, base.python_version)
    digest = recipe.digest(base.backend, base.interpreter)
    prefix = prefix_of(layout, recipe.name, digest)
    plan = _Build(
        layout=layout,
        recipe=recipe,
        base=base,
        locked=locked,
        digest=digest,
        prefix=prefix,
        options=chosen,
        say=say,
        trusted=trusted,
    )
    aside = _is_aside(plan)
    preflight(
        layout,
        recipe,
        device=recipe.device,
        backend=base.backend,
        bytes_needed=0 if aside else estimate_bytes(base.packages, locked, device=recipe.device),
        compiles=() if aside else _expect_compiling(plan),
        packages=base.packages,
        cache=cache_folder(layout),
        model=None if recipe.model is None else load_model(layout, recipe.model),
        say=say,
    )
    with hold_prefix(prefix, say):
        ready = Environment.load(prefix, digest=digest)
        if ready is None:
            _make(plan)
            ready = Environment.load(prefix, digest=digest)
    if ready is None:
        raise EnvError(f"{prefix} was built but is not ready", hint=f"rm -r {prefix}   # then run the command again")
    return ready


def locked_packages(recipe: Recipe, python_version: str) -> tuple[LockedPackage, ...]:
    """The packages of a recipe's Python locks that are for this version of Python, X.Y.Z; compiled ones included."""
    markers = {
        "python_version": ".".join(python_version.split(".")[:2]),
        "python_full_version": python_version,
        "implementation_version": python_version,
    }
    packages = [package for lock in recipe.requirements for package in read_lock(lock)]
    return tuple(package for package in packages if package.applies_to(markers))


def _expect_compiling(plan: _Build) -> tuple[str, ...]:
    """The packages to compile, where neither a pack nor wheels are at hand."""
    from admlops.environments.install.ops.expected import expect_compiling
    from admlops.environments.reuse.packs import pack_path

    if plan.options.use_packs and pack_path(plan.layout.packs, plan.prefix).is_file():
        return ()
    version = plan.base.python_version
    return expect_compiling(plan.recipe, plan.locked, python_version=version, wheels=plan.layout.wheels)


def _is_aside(plan: _Build) -> bool:
    """Whether the environment was set aside here; if it was changed there, its disk is free again before the build."""
    return plan.options.use_packs and contents_aside(plan.prefix, digest=plan.digest) is not None


def _make(plan: _Build) -> None:
    """From whatever is at the prefix to a ready environment; a failure is written down before it goes on."""
    begun = time.monotonic()
    _begin_again(plan)
    restored = _restore(plan)
    if restored is not None:
        plan.say(f"{restored} in {time.monotonic() - begun:.1f} s")
        return
    plan.say(f"building {plan.recipe.name}: {_describe(plan)}, into {plan.prefix}")
    try:
        report = _run_steps(plan)
        with plan.step("recording files"):
            found = list_contents(plan.prefix, plan.watch("recording files"))
            shared_bytes = Libraries(plan.layout.libraries).share(plan.prefix, found.entries)
    except AdmlopsError as error:
        if plan.recipe.model is not None:
            error.hint = re.sub(r"\bMODEL\b", plan.recipe.model, error.hint)
        reason, _, said = error.message.partition("\n")
        plan.write_state("broken", reason=reason, said=said[-KEPT_CHARACTERS:], hint=error.hint)
        raise
    size_bytes = disk_usage_bytes(plan.prefix)
    built_s = time.monotonic() - begun
    plan.finish(
        found,
        built_s=round(built_s, 3),
        size_bytes=size_bytes,
        packages=report.packages,
        wheels=plan.wheels,
        trusted_on_first_use=plan.trusted,
    )
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in plan.durations_s.items())
    shared = f", {shared_bytes / 1e6:.0f} MB of it shared with other environments" if shared_bytes else ""
    plan.say(f"built {plan.recipe.name} in {built_s:.1f} s ({steps}); {size_bytes / 1e6:.0f} MB on disk{shared}")


def _restore(plan: _Build) -> str | None:
    """Have the environment back from where it was set aside, or from its pack; what was done, or None."""
    from admlops.environments.reuse.packs import restore_from_pack

    if not plan.options.use_packs:
        return None
    state = restore_from_aside(
        plan.prefix, digest=plan.digest, say=plan.say, watch=plan.watch("checking what was set aside")
    )
    if state is not None:
        plan.write_state("ready", **_details(state))
        return f"took back {plan.recipe.name}, which was set aside and is as it was built,"
    _begin_again(plan)
    manifest = restore_from_pack(
        plan.layout.packs,
        plan.prefix,
        digest=plan.digest,
        say=plan.say,
        libraries=Libraries(plan.layout.libraries),
        on_progress=plan.watch("unpacking"),
    )
    if manifest is not None:
        found = Found(entries=manifest.entries, interpreter=manifest.interpreter)
        plan.finish(found, **{**_details(manifest.state), "restored_from_pack": True})
        return f"restored {plan.recipe.name} from its pack"
    _begin_again(plan)
    return None


def _begin_again(plan: _Build) -> None:
    clear_prefix(plan.prefix)
    plan.write_state("building")


def _details(state: Mapping[str, Any]) -> dict[str, Any]:
    """What a state file says besides what every one does."""
    described = ("schema", "name", "state", "digest", "backend", "device", "python")
    return {name: value for name, value in state.items() if name not in described}


def _describe(plan: _Build) -> str:
    base = plan.base
    if base.interpreter is not None:
        stands_on = f"Python {base.interpreter.version} of this machine"
    else:
        size_bytes = sum(package.size_bytes or 0 for package in base.packages)
        stands_on = f"{len(base.packages)} conda packages ({size_bytes / 1e6:.0f} MB)"
    return f"{stands_on}, {len(plan.locked)} locked Python packages"


def _run_steps(plan: _Build) -> Report:
    with plan.step("base"):
        _lay_base(plan)
    with plan.step("Python packages"):
        compiled = set(plan.recipe.compiled)
        _install_locked(plan, [package for package in plan.locked if package.name not in compiled])
        variables = write_activation(plan.prefix, backend=plan.base.backend)
    if plan.recipe.compiled:
        with plan.step("operations"):
            _install_compiled(plan, variables)
    if plan.recipe.smoke:
        with plan.step("smoke test"):
            _smoke(plan, variables)
    with plan.step("verification"):
        return _verify(plan)


def _lay_base(plan: _Build) -> None:
    if plan.base.interpreter is not None:
        options = ["--quiet", "--allow-existing", "--python", str(plan.base.interpreter.executable)]
        checked(run([find_uv(), "venv", *options, plan.prefix], timeout_s=120), plan.recipe.name)
        # For an old Python uv leaves a module and a .pth file of its own there.
        own = (path.relative_to(plan.prefix) for path in plan.prefix.glob("lib/python3*/site-packages/*"))
        accept(plan.prefix, [(str(path), None) for path in own])
        return
    _install_conda(plan, ())


def _install_conda(plan: _Build, reinstall: tuple[str, ...]) -> None:
    install_conda(
        plan.prefix,
        plan.base.packages,
        cache=cache_folder(plan.layout),
        say=plan.say,
        progress=plan.options.progress,
        reinstall=reinstall,
    )


def _install_locked(plan: _Build, packages: list[LockedPackage], *, reinstall: bool = False) -> None:
    install_python(
        plan.prefix,
        packages,
        layout=plan.layout,
        name=plan.recipe.name,
        say=plan.say,
        progress=plan.options.progress,
        locks=plan.recipe.requirements,
        reinstall=reinstall,
    )


def _install_compiled(plan: _Build, variables: dict[str, str | None]) -> None:
    from admlops.environments.install.ops import build_ops

    wheels = build_ops(
        plan.recipe,
        prefix=plan.prefix,
        python=plan.python,
        variables=variables,
        backend=plan.base.backend,
        device=plan.recipe.device,
        layout=plan.layout,
        say=plan.say,
        jobs=plan.options.jobs,
    )
    install_wheels(plan.prefix, wheels, layout=plan.layout, name=plan.recipe.name)
    plan.wheels[:] = sorted({wheel.parent.name for wheel in wheels})


def _smoke(plan: _Build, variables: dict[str, str | None]) -> None:
    from admlops.environments.install.ops import smoke_test

    smoke_test(
        plan.python,
        variables=variables,
        modules=plan.recipe.smoke,
        compiled=plan.recipe.compiled,
        device=plan.recipe.device,
        name=plan.recipe.name,
    )


def _verify(plan: _Build) -> Report:
    """Hash every file; what an edited cache brought in is fetched and installed anew, once.

    Raises:
        EnvError: files still differ; names them.
    """
    for package in plan.locked:
        add_accepted(plan.prefix, recall(cache_folder(plan.layout), package, plan.base.python_version))
    report = _look(plan)
    if report.clean:
        return report
    compiled = set(plan.recipe.compiled)
    python = {one.package for one in report.differences if one.manager == "python"} - compiled
    conda = {one.package for one in report.differences if one.manager == "conda" and one.package}
    plan.say(f"installing {', '.join(sorted(map(str, python | conda)))} anew: files are not as their packages say")
    if conda:
        _install_conda(plan, tuple(sorted(conda)))
    again = [package for package in plan.locked if package.name in python]
    if again:
        _install_locked(plan, again, reinstall=True)
    report = _look(plan)
    _accept_wrong_records(plan, report, again)
    report = report if report.clean else _look(plan)
    if report.clean:
        return report
    shown = "; ".join(f"{one.path} {one.reason}" for one in report.differences[:SHOWN_DIFFERENCES])
    more = len(report.differences) - SHOWN_DIFFERENCES
    raise EnvError(
        f"{plan.recipe.name}: after the installation {plan.prefix} is not what its locks say: {shown}"
        + (f"; and {more} more" if more > 0 else ""),
        hint="run the command again; if it stays, the lock and the index disagree",
    )


def _accept_wrong_records(plan: _Build, report: Report, fresh: list[LockedPackage]) -> None:
    """Write down what differs from RECORD in packages that were just fetched anew and checked against the lock."""
    for package in fresh:
        changed = [one for one in report.differences if one.package == package.name and one.kind == "changed"]
        if changed:
            files = accept(plan.prefix, [(one.path, package.name) for one in changed])
            remember(cache_folder(plan.layout), package, plan.base.python_version, files)
            plan.say(f"{len(files)} files of {package.name} {package.version} are not what its own RECORD states")


def _look(plan: _Build) -> Report:
    conda = plan.base.packages if plan.base.backend == "conda" else None
    return verify(plan.prefix, full=True, conda=conda, python=plan.locked)
