"""What an environment is, for a person: versions, kernels, sizes, and how far its hashes can be trusted."""

from __future__ import annotations

from typing import Any

from packaging.utils import canonicalize_name

from admlops.environments.activation import read_activation
from admlops.environments.integrity.files import read_conda_records, read_distributions
from admlops.environments.inventory import Installed
from admlops.environments.removal import size_bytes


def describe(one: Installed) -> dict[str, Any]:
    """Every fact of `env show`, in the order it is printed. `weak_hashes` are conda packages known by md5 only."""
    records = read_conda_records(one.prefix)
    distributions = read_distributions(one.prefix, owned_by_conda={f.path for r in records for f in r.files})
    versions = {each.name: each.version for each in distributions}
    versions |= {record.name: record.version for record in records if record.name not in versions}
    recipe = one.recipe
    compiled = recipe.compiled if recipe is not None else ()
    return {
        "name": one.name,
        "state": one.state,
        "prefix": str(one.prefix),
        "digest": one.digest,
        "asked_for_by_a_lock": recipe is not None,
        "backend": one.details.get("backend"),
        "device": one.details.get("device"),
        "python": versions.get("python") or one.details.get("python"),
        "torch": versions.get("torch"),
        "kernels_for": list(recipe.arch) if recipe is not None else [],
        "compiled_operations": [f"{name} {versions.get(canonicalize_name(name), 'missing')}" for name in compiled],
        "conda_packages": len(records),
        "python_packages": len(distributions),
        "size_bytes": size_bytes(one.prefix),
        "built_s": one.details.get("built_s"),
        "weak_hashes": [f"{record.name} (md5 only)" for record in records if record.sha256 is None],
        "lock_notes": _lock_notes(one),
        "trusted_on_first_use": list(one.details.get("trusted_on_first_use") or ()),
        "variables": read_activation(one.prefix) or {},
    }


def _lock_notes(one: Installed) -> list[str]:
    """What a person should know of the conda lock before trusting it; nothing if none was used."""
    if one.recipe is None or one.recipe.conda_lock is None or one.details.get("backend") != "conda":
        return []
    from admlops.environments.locking.conda_lock import describe_trust, read_conda_lock

    return describe_trust(read_conda_lock(one.recipe.conda_lock))
