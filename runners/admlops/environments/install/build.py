"""Builds an environment at its final path, under a lock, with `ready` written after everything was verified.

A killed build leaves the state `building`, a failed one `broken`; the next call builds either anew, from caches that
hold every complete download.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from admlops.core.errors import AdmlopsError, EnvError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.environments.activation import read_activation, write_activation
from admlops.environments.install.options import BuildOptions
from admlops.environments.install.plan import BuildPlan, make_plan
from admlops.environments.install.prefix_files import clear_prefix
from admlops.environments.install.steps import StepLog, run_steps
from admlops.environments.integrity.manifest import PrefixListing, write_manifest
from admlops.environments.integrity.records import owners_of, read_records
from admlops.environments.integrity.verification import reader_of
from admlops.environments.integrity.walking import disk_usage_bytes
from admlops.environments.prefix import Environment, details_of, lock_of, read_state
from admlops.environments.reuse.libraries import Libraries
from admlops.environments.reuse.packs import PackManifest, restore_from_pack
from admlops.environments.spec.environment_spec import EnvironmentSpec

__all__ = ["BuildOptions", "build"]

LOCK_TIMEOUT_S = 4 * 3600.0
KEPT_CHARACTERS = 8000
"""How much of a failed build's output its state file keeps."""


def build(layout: Layout, spec: EnvironmentSpec, *, say: Say, options: BuildOptions | None = None) -> Environment:
    """Build a specification's environment, or wait for another process that is building it.

    Raises:
        EnvError: a lock is missing or not whole, a hash does not match, no installer works here, the machine is
            unsuitable.
        DownloadError: something cannot be fetched.
        StorageError: too little disk, a folder cannot be written, or another process has the prefix for hours.
    """
    plan = make_plan(layout, spec, say=say, options=options or BuildOptions())
    with hold(lock_of(plan.prefix), what=f"building {plan.prefix.name}", say=say, timeout_s=LOCK_TIMEOUT_S):
        ready = plan.load() or _complete_activation(plan)
        if ready is None:
            _make(plan)
            ready = plan.load()
    if ready is None:
        raise EnvError(
            f"{plan.prefix} was built but is not ready", hint=f"rm -r {plan.prefix}   # then run the command again"
        )
    return ready


def _complete_activation(plan: BuildPlan) -> Environment | None:
    """Complete an environment of an earlier admlops that lacks only the file of its variables."""
    state = read_state(plan.prefix)
    ready = state is not None and (state["state"], state["digest"]) == ("ready", plan.digest)
    if not ready or read_activation(plan.prefix) is not None or not (plan.prefix / "bin" / "python").exists():
        return None
    plan.say(f"{plan.prefix.name} has no file of its variables, as of an earlier admlops: computing them")
    write_activation(plan.prefix, plan.chosen.installer.compute_variables(plan.prefix))
    return plan.load()


def _make(plan: BuildPlan) -> None:
    """Turn whatever is at the prefix into a ready environment; a failure is written down before it is raised."""
    begun = time.monotonic()
    _begin_again(plan)
    if _restore(plan):
        plan.say(f"restored {plan.spec.name} from its pack in {time.monotonic() - begun:.1f} s")
        return
    plan.say(f"building {plan.spec.name} in {plan.prefix}: {plan.describe()}")
    log = StepLog(plan)
    try:
        built = run_steps(plan, log)
        listing = built.inspection.listing
        shared_bytes = Libraries(plan.layout.libraries).share(plan.prefix, listing.entries)
    except AdmlopsError as error:
        error.hint = re.sub(r"\bMODEL\b", plan.spec.command_name, error.hint)
        reason, _, said = error.message.partition("\n")
        plan.write_state("broken", {"reason": reason, "said": said[-KEPT_CHARACTERS:], "hint": error.hint})
        raise
    size_bytes = disk_usage_bytes(plan.prefix)
    built_s = time.monotonic() - begun
    facts = {
        "built_s": round(built_s, 3),
        "size_bytes": size_bytes,
        "packages": built.inspection.report.packages,
        "wheels": list(built.wheels),
    }
    finish(plan, listing, facts)
    shared = f", {shared_bytes / 1e6:.0f} MB of it shared with other environments or uv's cache" if shared_bytes else ""
    plan.say(f"built {plan.spec.name} in {built_s:.1f} s ({log}); {size_bytes / 1e6:.0f} MB on disk{shared}")


def finish(plan: BuildPlan, listing: PrefixListing, facts: dict[str, object]) -> None:
    """Write the manifest, and then that the environment is ready."""
    write_manifest(plan.prefix, listing, name=plan.spec.name, digest=plan.digest, state=facts)
    plan.write_state("ready", facts)


def _restore(plan: BuildPlan) -> bool:
    """Restore the environment from its pack, if there is one that fits."""
    if not plan.has_pack():
        return False
    plan.say(f"restoring {plan.spec.name} from its pack, into {plan.prefix}")
    manifest = restore_from_pack(
        plan.layout.packs,
        plan.prefix,
        digest=plan.digest,
        say=plan.say,
        libraries=Libraries(plan.layout.libraries),
        on_progress=plan.watch("unpacking"),
    )
    if manifest is None:
        _begin_again(plan)
        return False
    details = details_of(manifest.state)
    facts = {key: value for key, value in details.items() if key not in ("device", "python")}
    if read_activation(plan.prefix) is None:
        write_activation(plan.prefix, plan.chosen.installer.compute_variables(plan.prefix))
    finish(plan, _list_restored(plan.prefix, manifest), {**facts, "restored_from_pack": True})
    return True


def _list_restored(prefix: Path, manifest: PackManifest) -> PrefixListing:
    """List what a pack brought; a pack of admlops 0.1 names no packages, so their own lists are read."""
    listing = PrefixListing(entries=manifest.entries, interpreter=manifest.interpreter)
    if any(entry.owner for entry in manifest.entries):
        return listing
    packages = read_records(prefix, reader_of(prefix).read_packages(prefix))
    return listing.with_owners(owners_of(packages))


def _begin_again(plan: BuildPlan) -> None:
    clear_prefix(plan.prefix)
    plan.write_state("building", {})
