"""The host's own packages: what is installed against the lock requirements.txt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from packaging.markers import default_environment
from packaging.version import InvalidVersion, Version

from admlops.environments.spec.requirements import LockedPackage, read_lock
from admlops.pipeline.health.check import Finding, HealthCheck, Place

LOCK = "requirements.txt"
ADVICE = "./install/bootstrap.sh --force"
SHOWN = 5


def _look(place: Place) -> Iterator[Finding]:
    lock = place.layout.root / LOCK
    if not place.layout.is_checkout or not lock.is_file():
        yield Finding(measure="lock", value="none: the package is installed alone")
        return
    environment = {name: str(value) for name, value in default_environment().items()}
    wanted = [one for one in read_lock(lock) if one.applies_to(environment)]
    missing = [one.name for one in wanted if _installed(one.name) is None]
    others = list(_of_another_version(wanted))
    yield Finding(measure="locked packages", value=len(wanted))
    yield Finding(
        measure="missing packages",
        value=len(missing),
        status="fail" if missing else "pass",
        problem=_list(missing),
        advice=ADVICE,
    )
    yield Finding(
        measure="packages of another version",
        value=len(others),
        status="warn" if others else "pass",
        problem=_list(others),
        advice=ADVICE,
    )


def _of_another_version(wanted: Sequence[LockedPackage]) -> Iterator[str]:
    for one in wanted:
        found = _installed(one.name)
        if found is not None and not _equal(found, one.version):
            yield f"{one.name} {found} (the lock has {one.version})"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _equal(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


CHECK = HealthCheck(id="dependencies", title="Host packages", look=_look)
