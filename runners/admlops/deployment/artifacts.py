"""The folder of exported networks: `exported/<Model>/<key>/`, each with its manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.core.errors import RecordError, UsageError
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error, file_sha256, write_atomically
from admlops.deployment.manifest import MANIFEST_FILE, Manifest, encode_manifest, read_manifest

KEY_DIGITS = 16
VERIFIED_FILE = "verified.json"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An exported network: its folder and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def file(self) -> Path:
        """The network's file."""
        return self.folder / self.manifest.file

    @property
    def name(self) -> str:
        """What a person calls it: `MapTR/0123456789abcdef`."""
        return f"{self.manifest.model}/{self.manifest.key}"


def artifact_key(identity: Mapping[str, Any]) -> str:
    """Return the key of all that determines an exported file; networks with equal keys are exported once."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def list_artifacts(layout: Layout, model: str | None = None) -> list[Artifact]:
    """List the exported networks, the oldest first; folders without a readable manifest are left out."""
    found = [one for one in _read_all(layout, model) if isinstance(one, Artifact)]
    return sorted(found, key=lambda one: (one.manifest.created, one.name))


def list_broken(layout: Layout, model: str | None = None) -> dict[Path, RecordError]:
    """Return the folders whose manifest cannot be read, with the reason."""
    return dict(one for one in _read_all(layout, model) if not isinstance(one, Artifact))


def _read_all(layout: Layout, model: str | None) -> Iterator[Artifact | tuple[Path, RecordError]]:
    for file in sorted(layout.exported.glob(f"{model or '*'}/*/{MANIFEST_FILE}")):
        if file.parent.name[0] == ".":
            continue
        try:
            yield Artifact(folder=file.parent, manifest=read_manifest(file))
        except RecordError as error:
            yield file.parent, error


def find_artifact(layout: Layout, name: str) -> Artifact:
    """Return the exported network that `MODEL/KEY` or the beginning of a key names.

    Raises:
        UsageError: none has that name, or several have.
    """
    known = list_artifacts(layout)
    found = [one for one in known if one.name == name or one.manifest.key.startswith(name)]
    if len(found) == 1:
        return found[0]
    which = "several exported networks are" if found else "no exported network is"
    raise UsageError(f"{which} called {name}", hint="admlops exported list")


def find_folder(layout: Layout, name: str) -> Path:
    """Return the folder of an exported network, also if its manifest cannot be read; errors as `find_artifact`."""
    folder = layout.exported / name
    return folder if folder in list_broken(layout) else find_artifact(layout, name).folder


@contextmanager
def new_artifact(layout: Layout, model: str) -> Iterator[Path]:
    """Give a folder to export into; it is removed at the end unless `keep_artifact` has moved it into its place."""
    folder = layout.exported / model / f".partial-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise explain_os_error(error, folder) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_artifact(layout: Layout, folder: Path, manifest: Manifest) -> Artifact:
    """Write the manifest, the last file, and move the folder to its place; an existing one is replaced."""
    write_atomically(folder / MANIFEST_FILE, encode_manifest(manifest))
    place = layout.exported / manifest.model / manifest.key
    try:
        if place.exists():
            _set_aside(place)
        folder.rename(place)
    except OSError as error:
        raise explain_os_error(error, place) from error
    return Artifact(folder=place, manifest=manifest)


def remove_artifact(folder: Path) -> None:
    """Remove an exported network's folder; it is renamed first, so that a half-removed one no longer counts."""
    try:
        _set_aside(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error


def require_whole(artifact: Artifact) -> None:
    """Raise UsageError unless the network's file is there and is the one that the manifest describes."""
    export_again = f"{artifact.manifest.export_command} --fresh"
    if not artifact.file.is_file():
        raise UsageError(f"{artifact.file} is missing", hint=export_again)
    if file_sha256(artifact.file) != artifact.manifest.sha256:
        raise UsageError(f"{artifact.file} is not the file that was exported: its sha256 differs", hint=export_again)


def read_verifications(folder: Path) -> list[dict[str, Any]]:
    """Return what `admlops verify` found of the files in a folder, the oldest first; empty if nothing."""
    try:
        found = json.loads((folder / VERIFIED_FILE).read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def add_verification(folder: Path, entry: Mapping[str, Any]) -> None:
    """Add what a verification found: at least `sha256` of the file, `provider` and `passed`."""
    content = json.dumps([*read_verifications(folder), dict(entry)], indent=1, allow_nan=False)
    write_atomically(folder / VERIFIED_FILE, content.encode() + b"\n")


def find_verification(
    folder: Path,
    *,
    sha256: str,
    provider: str,
    device: str | None = None,
    versions: Mapping[str, str] | None = None,
    code: str | None = None,
) -> dict[str, Any] | None:
    """Return the last verification of a file with a provider, None if there is none.

    An engine that is right on one GPU may be wrong on another, after an update of its runtime, or with other code that
    feeds it. Where `device` (its name), `versions` (package → version) and `code` (a digest of the model's folder) are
    given, only verifications on such a device with these count.
    """
    wanted = {"sha256": sha256, "provider": provider, "device": device, "versions": versions, "code": code}
    given = {name: value for name, value in wanted.items() if value is not None}
    own = [one for one in read_verifications(folder) if all(one.get(name) == value for name, value in given.items())]
    return own[-1] if own else None


def is_verified(folder: Path, **wanted: Any) -> bool:
    """Tell whether the last verification passed; takes what `find_verification` takes."""
    return describe_verification(find_verification(folder, **wanted))["verified"] is True


def describe_verification(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a run's header says of its engine's last verification: `verified`, and `failed_step` if one did."""
    if found is None or found.get("passed") is True:
        return {"verified": found is not None}
    failed = found.get("failed")
    return {"verified": False} if failed is None else {"verified": False, "failed_step": str(failed)}


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(f".removed-{uuid.uuid4().hex[:8]}")
    folder.rename(aside)
    shutil.rmtree(aside)
