"""What a file of a prefix is checked against: its manifest entry, or what its package's own list states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from admlops.environments.integrity.manifest import Entry, Manifest, Owner
from admlops.environments.integrity.record_overrides import RecordOverride
from admlops.environments.integrity.records import RecordedFile

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedFile:
    """One file, link or folder; None, or an empty set, where nothing is stated. Any of `digests` is valid."""

    path: str
    owner: Owner | None
    link: bool | None
    algorithm: Literal["blake3", "sha256"]
    sizes: frozenset[int] = frozenset()
    digests: frozenset[str] = _NOTHING
    target: str | None = None
    executable: bool | None = None


def expect_listed(manifest: Manifest) -> list[ExpectedFile]:
    """Expect what a manifest lists; of folders only empty ones, for the others are seen by their files."""
    parents = {entry.path.rpartition("/")[0] for entry in manifest.entries}
    return [_expect_entry(entry) for entry in manifest.entries if entry.kind != "folder" or _is_leaf(entry, parents)]


def _is_leaf(folder: Entry, parents: set[str]) -> bool:
    return folder.path not in parents and not folder.path.endswith("__pycache__")


def _expect_entry(entry: Entry) -> ExpectedFile:
    is_file = entry.kind == "file"
    return ExpectedFile(
        path=entry.path,
        owner=Owner.parse(entry.owner),
        link=None if entry.kind == "folder" else entry.kind == "link",
        algorithm="blake3",
        sizes=frozenset({entry.size_bytes}) if is_file else frozenset(),
        digests=frozenset({entry.content}) if is_file else _NOTHING,
        target=entry.content if entry.kind == "link" else None,
        executable=bool(entry.mode & 0o100) if is_file else None,
    )


def expect_recorded(
    files: Mapping[str, RecordedFile], overrides: Mapping[str, RecordOverride] | None = None
) -> list[ExpectedFile]:
    """Expect what packages' own lists state, except where `overrides` state better values."""
    return list(_expect_records(files, overrides or {}))


def _expect_records(
    files: Mapping[str, RecordedFile], overrides: Mapping[str, RecordOverride]
) -> Iterator[ExpectedFile]:
    for path, file in files.items():
        better = overrides.get(path)
        yield ExpectedFile(
            path=path,
            owner=file.owner,
            link=file.link,
            algorithm="sha256",
            sizes=file.sizes if better is None else frozenset({better.size_bytes}),
            digests=file.digests if better is None else frozenset({better.sha256}),
        )
    for path, better in overrides.items():
        if path not in files and better.package is None:  # a file of the installer's own, recorded by admlops 0.1
            yield ExpectedFile(
                path=path,
                owner=None,
                link=False,
                algorithm="sha256",
                sizes=frozenset({better.size_bytes}),
                digests=frozenset({better.sha256}),
            )
