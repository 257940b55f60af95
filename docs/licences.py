"""Writes docs/licences.md from the locks and the table docs/licences.json: `python -m docs.generate` calls it.

`python -m docs.licences --collect` adds what is missing to the table, from metadata that is on this machine: of
packages that are installed here and in the environments, of wheels in uv's cache, and of wheels in folders that are
named; of conda's packages from `repodata.json` of channels in folders that are named. It asks no index: after an
installation the metadata is here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email import message_from_string
from email.message import Message
from pathlib import Path

from packaging.utils import canonicalize_name

from admlops.core.paths import find_layout
from admlops.environments.install.uv import find_uv
from admlops.pipeline.audit.licences import (
    TABLE,
    UNKNOWN,
    copyleft_of,
    likely_licence_of,
    missing,
    name_licence,
    read_table,
)
from admlops.pipeline.audit.locks import Locked, list_conda_locks, list_locked

DOCS = Path(__file__).parent
UNRECORDED = "not recorded"
Table = dict[str, dict[str, dict[str, str]]]

HEAD = """\
# Licences

Every package of every lock, with the licence that its own metadata names. `python -m docs.generate` writes this page
from the locks and `docs/licences.json`. After a lock has changed and was installed, `python -m docs.licences --collect`
adds what is new to that table; until then `(as 2.1)` says of which version the licence is known. Conda's packages (of
{conda} locks: compilers, CUDA, C libraries, Python) have what their channels' records say.
The models' own licences are in their `model.toml`; `admlops models show` prints them.

{packages} packages. {counts}.

{copyleft}
## All packages

| package | version | licence | used by |
|---|---|---|---|
"""


def write_licences() -> str:
    """Return the page; a package whose licence is not in the table is shown as unknown."""
    layout = find_layout()
    table, locked = read_table(layout), list_locked(layout)
    users: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    versions: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for one in locked:
        key = (one.index, one.name, likely_licence_of(one, table) or UNRECORDED)
        users[key].add(one.used_by)
        versions[key].add(one.version)
    rows = [_row(key, versions[key], users[key]) for key in sorted(users)]
    head = HEAD.format(
        conda=len(list_conda_locks(layout)),
        packages=len({(one.index, one.name) for one in locked}),
        counts=_count(users),
        copyleft=_list_copyleft(users),
    )
    return head + "\n".join(rows) + "\n"


def _row(key: tuple[str, str, str], versions: set[str], users: set[str]) -> str:
    index, name, licence = key
    shown = name if index == "python" else f"{name} ({index})"
    return f"| {shown} | {', '.join(sorted(versions))} | {licence} | {', '.join(sorted(users))} |"


def _count(users: Mapping[tuple[str, str, str], set[str]]) -> str:
    """Count packages by licence, the commonest first."""
    names: dict[str, set[str]] = defaultdict(set)
    for index, name, licence in users:
        names[licence].add(f"{index}:{name}")
    common = sorted(names.items(), key=lambda one: (-len(one[1]), one[0]))[:6]
    return ", ".join(f"{len(found)} {licence}" for licence, found in common)


def _list_copyleft(users: Mapping[tuple[str, str, str], set[str]]) -> str:
    """List what asks for something in return, the strongest first."""
    families: dict[str, list[str]] = defaultdict(list)
    for (_, name, licence), by in sorted(users.items()):
        family = copyleft_of(licence)
        if family:
            families[family].append(f"{name} ({licence}; {', '.join(sorted(by))})")
    parts = [
        f"## {family}\n\n" + "\n".join(f"- {one}" for one in families[family]) + "\n" for family in sorted(families)
    ]
    return "\n".join(parts)


def collect(wanted: Iterable[Locked], table: Table, folders: Sequence[Path]) -> None:
    """Put the licences of these packages into the table, as far as their metadata lies in one of the folders."""
    open_ = {(one.name, one.version): one for one in wanted if one.index == "python"}
    for text in _metadata_in(folders):
        found = message_from_string(text)
        key = (canonicalize_name(found["Name"] or ""), (found["Version"] or "").partition("+")[0])
        one = open_.pop(key, None)
        if one is not None:
            _keep(one, _name(found), table)


def collect_conda(wanted: Iterable[Locked], table: Table, folders: Sequence[Path]) -> None:
    """Put the licences of conda's packages into the table, as far as a channel's records in a folder name them."""
    open_ = {(one.name, one.version): one for one in wanted if one.index == "conda"}
    for file in (file for folder in folders for file in folder.rglob("repodata.json")):
        content = json.loads(file.read_text())
        for record in [*content.get("packages", {}).values(), *content.get("packages.conda", {}).values()]:
            one = open_.get((record["name"], record["version"]))
            if one is not None and record.get("license"):
                _keep(one, name_licence(expression=None, text=record["license"], classifiers=()), table)


def _name(found: Message) -> str:
    return name_licence(
        expression=found.get("License-Expression"),
        text=found.get("License"),
        classifiers=found.get_all("Classifier") or (),
    )


def _metadata_in(folders: Sequence[Path]) -> Iterator[str]:
    """Yield the metadata of every installed package, unpacked wheel and wheel below the folders."""
    for folder in folders:
        for path in folder.rglob("*.dist-info/METADATA"):
            yield path.read_text(errors="replace")
        for wheel in folder.rglob("*.whl"):
            try:
                with zipfile.ZipFile(wheel) as archive:
                    names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
                    yield from (archive.read(name).decode(errors="replace") for name in names)
            except (OSError, zipfile.BadZipFile):
                continue


def known_folders() -> list[Path]:
    """Return where metadata lies on a machine that has installed things: this Python's, environments, uv's cache."""
    uv = subprocess.run([find_uv(), "cache", "dir"], capture_output=True, text=True, check=False).stdout.strip()
    return [Path(sys.prefix), find_layout().environments, *([Path(uv) / "archive-v0"] if uv else [])]


def _keep(one: Locked, licence: str, table: Table) -> None:
    table.setdefault(one.index, {}).setdefault(one.name, {})[one.version] = licence or UNKNOWN


def _write(table: Table) -> None:
    (DOCS.parent / TABLE).write_text(json.dumps(table, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collect", action="store_true", help="add what is missing to the table")
    parser.add_argument("folders", nargs="*", type=Path, help="more folders with wheels or installed packages")
    chosen = parser.parse_args()
    layout = find_layout()
    locked, table = list_locked(layout), read_table(layout)
    unknown = missing(locked, table)
    if chosen.collect:
        collect(unknown, table, [*known_folders(), *chosen.folders])
        collect_conda(unknown, table, chosen.folders)
        _write(table)
        unknown = missing(locked, table)
    names = sorted({one.name for one in locked if likely_licence_of(one, table) is None})
    print(
        f"{len(unknown)} of {len(locked)} locked packages are not recorded in this version; in none: {', '.join(names)}"
    )
    (DOCS / "licences.md").write_text(write_licences())
    return 0


if __name__ == "__main__":
    sys.exit(main())
