"""Describes an environment for a person: versions, kernels, sizes, and how far its hashes can be trusted."""

from __future__ import annotations

from typing import Any

from packaging.utils import canonicalize_name

from admlops.environments.activation import read_activation
from admlops.environments.integrity.records import read_distributions
from admlops.environments.integrity.verification import reader_of
from admlops.environments.integrity.walking import disk_usage_bytes
from admlops.environments.inventory import InstalledEnvironment
from admlops.environments.prefix import INSTALLER_KEY


def describe(one: InstalledEnvironment) -> dict[str, Any]:
    """Collect every fact of `env show`, in the order it is printed; `weak_hashes` are packages known by md5 only."""
    records = reader_of(one.prefix).read_packages(one.prefix)
    distributions = read_distributions(one.prefix, owned={file.path for record in records for file in record.files})
    versions = {each.name: each.version for each in distributions}
    versions |= {record.name: record.version for record in records if record.name not in versions}
    spec = one.spec
    compiled = spec.compiled if spec is not None else ()
    return {
        "name": one.name,
        "state": one.state,
        "prefix": str(one.prefix),
        "digest": one.digest,
        "asked_for_by_a_lock": spec is not None,
        "installer": one.details.get(INSTALLER_KEY),
        "device": one.details.get("device"),
        "python": versions.get("python") or one.details.get("python"),
        "torch": versions.get("torch"),
        "kernels_for": list(spec.arch) if spec is not None else [],
        "compiled_operations": [f"{name} {versions.get(canonicalize_name(name), 'missing')}" for name in compiled],
        "conda_packages": sum(record.manager == "conda" for record in records),
        "python_packages": len(distributions),
        "size_bytes": disk_usage_bytes(one.prefix),
        "built_s": one.details.get("built_s"),
        "weak_hashes": [f"{each.name} (md5 only)" for each in records if each.md5 and not each.sha256],
        "lock_notes": _lock_notes(one),
        "variables": read_activation(one.prefix) or {},
    }


def _lock_notes(one: InstalledEnvironment) -> list[str]:
    """Return what a person should know of the conda lock before trusting it; nothing if none was used."""
    lock = None if one.spec is None else one.spec.installer_locks.get("conda")
    if lock is None or one.details.get(INSTALLER_KEY) != "conda":
        return []
    from admlops.environments.spec.conda_lock import describe_trust, read_conda_lock

    return describe_trust(read_conda_lock(lock))
