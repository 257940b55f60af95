"""The whole audit: vulnerabilities, licences, checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.pipeline.audit.licences import copyleft_of, likely_licence_of, read_table
from admlops.pipeline.audit.locks import Locked, list_conda_locks, list_locked
from admlops.pipeline.audit.vulnerabilities import Vulnerabilities, find_vulnerabilities
from admlops.pipeline.audit.weights import AuditedFile, audit_checkpoints

UNRECORDED = "not recorded"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found. `licences` counts packages by licence; `copyleft` are those under a copyleft licence."""

    locked: int
    conda_locks: int
    vulnerabilities: Vulnerabilities
    licences: Counter[str]
    copyleft: tuple[tuple[str, str], ...]
    checkpoints: tuple[AuditedFile, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing wrong was found, in what could be asked."""
        return not self.vulnerabilities.found and not any(one.problem for one in self.checkpoints)

    @property
    def is_whole(self) -> bool:
        """Whether the database of vulnerabilities answered at all."""
        return self.vulnerabilities.asked > 0


def audit(layout: Layout, *, say: Say, options: Sequence[str] = ()) -> Audit:
    """Look at everything. `options` are further arguments of pip-audit.

    Raises:
        EnvError: a lock cannot be read.
        UsageError: there is no checkout.
    """
    locked = list_locked(layout)
    say(f"asking for known vulnerabilities of {len({(one.name, one.version) for one in locked})} versions of packages")
    vulnerabilities = find_vulnerabilities(locked, options=options)
    say("inspecting checkpoints")
    return Audit(
        locked=len(locked),
        conda_locks=len(list_conda_locks(layout)),
        vulnerabilities=vulnerabilities,
        licences=_count(layout, locked),
        copyleft=tuple(sorted(_find_copyleft(layout, locked))),
        checkpoints=tuple(audit_checkpoints(layout)),
    )


def _licences(layout: Layout, locked: Sequence[Locked]) -> dict[tuple[str, str], str]:
    """Map each package, by index and name, to the licence of the version that was looked at last."""
    table = read_table(layout)
    named = {(one.index, one.name): likely_licence_of(one, table) or UNRECORDED for one in locked}
    return {key: licence.partition(" (as ")[0] for key, licence in named.items()}


def _count(layout: Layout, locked: Sequence[Locked]) -> Counter[str]:
    return Counter(_licences(layout, locked).values())


def _find_copyleft(layout: Layout, locked: Sequence[Locked]) -> set[tuple[str, str]]:
    found = _licences(layout, locked)
    return {(name, licence) for (_, name), licence in found.items() if copyleft_of(licence)}
