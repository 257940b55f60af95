"""Known vulnerabilities of every locked Python package, as pip-audit finds them in its database.

A database that does not answer, or does not know a package, is no clean result: such packages are counted as unasked.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from admlops.core.addresses import hide_users
from admlops.core.errors import AdmlopsError, EnvError
from admlops.core.processes import run
from admlops.pipeline.audit.locks import Locked

AUDIT_S = 900.0
LIBRARY = "pip_audit"


@dataclass(frozen=True, kw_only=True)
class Vulnerability:
    """A known fault of one version of a package. `fixed_in` are versions without it; `used_by` who locks it."""

    package: str
    version: str
    id: str
    aliases: tuple[str, ...]
    fixed_in: tuple[str, ...]
    used_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Vulnerabilities:
    """What was found. `asked` and `unasked` count versions of packages; `reason` says why some were not asked."""

    found: tuple[Vulnerability, ...]
    asked: int
    unasked: int
    reason: str = ""


def find_vulnerabilities(locked: Iterable[Locked], *, options: Sequence[str] = ()) -> Vulnerabilities:
    """Ask pip-audit for every version of every locked Python package, once. `options` are further arguments of it."""
    users: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in locked:
        if one.index == "python":
            users[one.name, one.version].add(one.used_by)
    if find_spec(LIBRARY) is None:
        return Vulnerabilities(found=(), asked=0, unasked=len(users), reason="pip-audit is not installed")
    answers: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="admlops-audit-") as folder:
        for file in _write_lists(sorted(users), Path(folder)):
            try:
                answers += _ask(file, options)
            except AdmlopsError as error:
                return Vulnerabilities(found=(), asked=0, unasked=len(users), reason=error.message)
    return _read(answers, users)


def _ask(file: Path, options: Sequence[str]) -> list[dict[str, object]]:
    """Return pip-audit's answers for a list. Raises EnvError: it, or its database, does not answer."""
    command = [sys.executable, "-m", LIBRARY, "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = run([*command, "--format", "json", *options, "-r", str(file)], timeout_s=AUDIT_S)
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError, TypeError) as error:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        reason = hide_users(said[-1]) if said else f"pip-audit ended with code {done.returncode}"
        raise EnvError(reason, hint="pip-audit -v   # says more") from error


def _write_lists(packages: Sequence[tuple[str, str]], folder: Path) -> Iterator[Path]:
    """Write lists of `name==version`, none of which has two versions of one package: pip-audit refuses that."""
    lists: list[dict[str, str]] = []
    for name, version in packages:
        place = next((one for one in lists if name not in one), None)
        if place is None:
            lists.append(place := {})
        place[name] = version
    for number, one in enumerate(lists):
        file = folder / f"{number}.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in one.items()))
        yield file


def _read(answers: Sequence[dict[str, object]], users: dict[tuple[str, str], set[str]]) -> Vulnerabilities:
    found: dict[tuple[str, str, str], Vulnerability] = {}
    asked: set[tuple[str, str]] = set()
    for one in answers:
        key = (str(one["name"]), str(one.get("version", "")))
        if "skip_reason" in one:
            continue
        asked.add(key)
        for fault in _list(one.get("vulns")):
            found[(*key, str(fault["id"]))] = Vulnerability(
                package=key[0],
                version=key[1],
                id=str(fault["id"]),
                aliases=tuple(map(str, _list(fault.get("aliases")))),
                fixed_in=tuple(map(str, _list(fault.get("fix_versions")))),
                used_by=tuple(sorted(users.get(key, ()))),
            )
    unasked = len(users.keys() - asked)
    reason = "the database does not know them" if unasked else ""
    if unasked and not asked:
        reason = "the database answered for no package at all: what was asked is no database of vulnerabilities"
    return Vulnerabilities(
        found=tuple(found[key] for key in sorted(found)), asked=len(asked), unasked=unasked, reason=reason
    )


def _list(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []
