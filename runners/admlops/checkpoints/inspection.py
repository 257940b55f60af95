"""What a checkpoint file holds, found out without loading it: format, tensors, and that it runs no code.

Three formats are accepted. *torch zip* is what torch.save writes since 1.6: an uncompressed archive of one pickle and
one member per storage. *torch legacy* is what it wrote before: five pickles, then the storages. *safetensors* is a JSON
header and bytes. The content decides the format, never the file's name; here and in the worker, so that no file is one
thing here and another there. Refused as well: TorchScript programs, the tar files of torch before 0.1.11, compressed
members, members that torch does not write, and storages of another length than the pickle says. `kinds` names what is
no checkpoint at all; `weights` finds the weights in what is one.
"""

from __future__ import annotations

import io
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from admlops.checkpoints.forms import UNPICKLE, Form, flatten, read_arrays
from admlops.checkpoints.kinds import AGAIN, EXPORT, TENSORS, Kind, OtherKindError, recognise
from admlops.checkpoints.pickles import LARGEST_PICKLE_BYTES, read_pickle
from admlops.checkpoints.safetensors import is_safetensors, read_tensors
from admlops.checkpoints.values import Contents, DamagedError, Items, RefusedError, Storage, shorten
from admlops.checkpoints.weights import ReadStorage, Weights, digest_tensors, find_weights, weights_of_tensors
from admlops.core.errors import CheckpointError
from admlops.core.storage import READ_BYTES

Unpickle = Callable[[BinaryIO], Contents]

INSPECTOR = 2
"""Raise when the rules change, so that files are inspected anew."""

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_SMALL_MEMBERS = frozenset({"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"})
_SMALL_BYTES = 4096
_MOST_MEMBERS = 200_000
_LOCAL_HEADER_BYTES = 30
_END_BYTES = 22
_MOST_TAR_MEMBERS = 1000
_CHECKPOINT_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".pth.tar", ".tar", ".pkl")
_NO_WEIGHTS_HINT = f"save the network's state: {TENSORS}   # docs/checkpoints.md"
_WAY_OUT = (
    "do not load it anywhere, if it is a stranger's; weights of your own: admlops checkpoints extract FILE "
    f"weights.safetensors, which runs nothing of it, or {TENSORS} where they were trained   # docs/checkpoints.md"
)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a file holds. `globals` are the classes and functions that loading it uses, as `module name`.

    `tensors_sha256` is over the weights' names, kinds, shapes and bytes, and "" unless the whole file was read: two
    files with the same one hold the same weights, in whatever form.
    """

    format: str
    tensors: int
    size_bytes: int
    globals: tuple[str, ...]
    weights: Weights
    tensors_sha256: str = ""


def inspect(path: Path, *, whole: bool = False, named: object = None, form: Form = "tensors") -> Inspection:
    """Inspect a checkpoint. `whole` also reads every byte: an archive's CRCs are checked and the tensors hashed.

    `named` is what errors call the file, where it is a copy of the user's. `form` is what the model's authors save: a
    whole network and a pickle of arrays are taken only where they save that.

    Raises:
        CheckpointError: it cannot be read, is no checkpoint, is damaged, or would run code when it is loaded.
    """
    with explain_refusals(path if named is None else named), path.open("rb") as file:
        return _inspect(file, path.stat().st_size, whole=whole, form=form)


@contextmanager
def explain_refusals(shown: object) -> Iterator[None]:
    """Report what is wrong with a file that the block reads, with its name, `shown`, and what to do.

    Raises:
        CheckpointError: it cannot be read, is no checkpoint, is damaged, or would run code when it is loaded.
    """
    try:
        yield
    except OtherKindError as error:
        hint = error.kind.hint.replace("FILE", str(shown))
        raise CheckpointError(f"{shown} is no checkpoint: it is {error.kind.what}", hint=hint) from error
    except DamagedError as error:
        raise CheckpointError(f"{shown} is refused: {error}", hint=AGAIN) from error
    except RefusedError as error:
        raise CheckpointError(f"{shown} is refused: {error}", hint=_WAY_OUT.replace("FILE", str(shown))) from error
    except OSError as error:
        raise CheckpointError(f"{shown} cannot be read: {error.strerror}", hint=f"ls -l {shown}") from error


def _inspect(file: BinaryIO, size_bytes: int, *, whole: bool, form: Form) -> Inspection:
    begin = file.read(9)
    file.seek(0)
    if begin[:4] != _ZIP_MAGIC and is_safetensors(begin):
        return _inspect_safetensors(file, size_bytes, whole=whole)
    if form == "arrays" and begin[:4] != _ZIP_MAGIC:
        saved = _open_arrays(file, size_bytes)
    else:
        saved = open_saved(file, size_bytes, whole=whole, unpickle=UNPICKLE.get(form, read_pickle))
    return _summarise(saved, size_bytes, whole=whole)


def _open_arrays(file: BinaryIO, size_bytes: int) -> Saved:
    """Read a pickle of NumPy arrays; a file of torch.save is read as such."""
    kind = recognise(file, size_bytes)
    if kind is not None:
        raise OtherKindError(kind)
    contents, held = read_arrays(file)
    if contents.value == _LEGACY_MAGIC:
        file.seek(0)
        return open_saved(file, size_bytes, whole=False)
    if file.read(1):
        raise DamagedError("something follows the pickle of its arrays")
    return Saved("NumPy pickle", contents, contents.globals, lambda storage: held[storage.key])


class Saved(NamedTuple):
    """What torch.save wrote: the format, what the pickle gives, and how to read a storage's bytes."""

    format: str
    contents: Contents
    globals: frozenset[str]
    read: ReadStorage


def open_saved(file: BinaryIO, size_bytes: int, *, whole: bool, unpickle: Unpickle = read_pickle) -> Saved:
    """Read a file of torch.save, in either of its formats; `file` stays open for the storages.

    Raises:
        OtherKindError: it is something else.
        RefusedError: it is damaged, or `unpickle` refuses it.
    """
    if file.read(4) == _ZIP_MAGIC:
        return _open_zip(file, size_bytes, whole=whole, unpickle=unpickle)
    kind = recognise(file, size_bytes)
    if kind is not None:
        raise OtherKindError(kind)
    _refuse_tar(file)
    return _open_legacy(file, size_bytes, unpickle=unpickle)


def _open_zip(file: BinaryIO, size_bytes: int, *, whole: bool, unpickle: Unpickle) -> Saved:
    try:
        archive = zipfile.ZipFile(file)
        _refuse_other_archive([info.filename for info in archive.infolist()])
        members = _check_members(archive, size_bytes)
        if whole:
            _check_sums(archive)
        if members["data.pkl"].file_size > LARGEST_PICKLE_BYTES:
            raise RefusedError(f"its pickle has {members['data.pkl'].file_size} bytes")
        contents = unpickle(io.BytesIO(archive.read(members["data.pkl"])))
    except zipfile.BadZipFile as error:
        if _is_cut(file, size_bytes):
            raise DamagedError("it is cut: an archive without its end, so the download or copy did not end") from error
        raise DamagedError(f"the archive is damaged: {error}") from error
    except (NotImplementedError, struct.error, UnicodeDecodeError, EOFError) as error:
        raise DamagedError(f"the archive is damaged: {error}") from error
    for storage in contents.storages:
        member = members.get(f"data/{storage.key}")
        if member is None or member.file_size != storage.size_bytes:
            has = "is missing" if member is None else f"has {member.file_size} bytes"
            raise DamagedError(f"the storage {storage.key} {has}, and the pickle says {storage.size_bytes}")

    def read(storage: Storage) -> bytes:
        try:
            return archive.read(members[f"data/{storage.key}"])
        except (zipfile.BadZipFile, EOFError) as error:
            raise DamagedError(f"the storage {storage.key} is damaged: {error}") from error

    return Saved("torch zip", contents, contents.globals, read)


def _is_cut(file: BinaryIO, size_bytes: int) -> bool:
    """Tell whether the end of a zip archive, its directory's last entry, is missing."""
    file.seek(max(0, size_bytes - (1 << 16) - _END_BYTES))
    return b"PK\x05\x06" not in file.read()


def _refuse_other_archive(names: list[str]) -> None:
    """Refuse a zip archive that torch.save did not write: it holds something else, perhaps the file that is meant."""
    inner = [name.partition("/")[2] for name in names]
    if any(name.startswith("code/") or name == "constants.pkl" for name in inner):
        raise OtherKindError(Kind("a TorchScript program (torch.jit.save), code with its weights", EXPORT))
    if "data.pkl" in inner:
        return
    files = [name for name in names if not name.endswith("/")]
    if files and all(name.endswith(".npy") for name in files):
        raise OtherKindError(Kind(f"NumPy arrays in an .npz archive ({_list(files)})", EXPORT))
    if "data.pkl" in names:
        raise OtherKindError(Kind("the inside of a checkpoint, packed again without its folder", AGAIN))
    raise OtherKindError(_describe_archive("a zip archive", files, "unzip FILE"))


def _describe_archive(what: str, files: list[str], unpack: str) -> Kind:
    held = [name for name in files if name.lower().endswith(_CHECKPOINT_SUFFIXES)]
    if held:
        return Kind(f"{what} around {_list(held)}", f"{unpack}, then add {held[0]}")
    return Kind(f"{what} that holds {_list(files) or 'nothing'}", f"{unpack}, then add the weights, if they are in it")


def _list(names: list[str]) -> str:
    shown = [name if len(name) <= 60 else f"{name[:60]}…" for name in names[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_members(archive: zipfile.ZipFile, size_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Name below the root → member, if all of them are such as torch writes."""
    listed = archive.infolist()
    if archive.comment or len(listed) > _MOST_MEMBERS:
        raise RefusedError("the archive has a comment or too many members, which torch does not write")
    members: dict[str, zipfile.ZipInfo] = {}
    roots = {info.filename.partition("/")[0] for info in listed}
    for info in listed:
        name = info.filename.partition("/")[2]
        if not (name == "data.pkl" or name in _SMALL_MEMBERS or re.fullmatch(r"data/[0-9]{1,20}", name)):
            raise RefusedError(f"the member {shorten(info.filename)} is none that torch writes")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise RefusedError(f"the member {info.filename} is compressed or encrypted, which torch does not do")
        if name in _SMALL_MEMBERS and info.file_size > _SMALL_BYTES:
            raise RefusedError(f"the member {info.filename} has {info.file_size} bytes, which is not what torch writes")
        if name in members:
            raise RefusedError(f"the member {info.filename} is there twice")
        members[name] = info
    if len(roots) != 1 or roots & {"", ".", ".."} or "data.pkl" not in members:
        raise RefusedError("the archive is not one that torch.save wrote: it has no single folder with data.pkl")
    _check_overlaps(listed, archive.start_dir, size_bytes)
    return members


def _check_overlaps(members: list[zipfile.ZipInfo], directory_begin: int, size_bytes: int) -> None:
    """Refuse members that share bytes: a small archive cannot claim to be large, and each byte has one meaning."""
    ordered = sorted(members, key=lambda info: info.header_offset)
    ends = [info.header_offset for info in ordered[1:]] + [directory_begin]
    for info, end in zip(ordered, ends, strict=True):
        if info.header_offset + _LOCAL_HEADER_BYTES + info.file_size > end:
            raise RefusedError(f"the member {info.filename} overlaps what follows it")
    if ordered[0].header_offset != 0 or directory_begin + _END_BYTES > size_bytes:
        raise DamagedError("there is something before the archive, or its directory is cut")


def _check_sums(archive: zipfile.ZipFile) -> None:
    for info in archive.infolist():
        with archive.open(info) as member:
            try:
                while member.read(READ_BYTES):
                    pass
            except (zipfile.BadZipFile, EOFError) as error:
                raise DamagedError(f"the member {info.filename} is damaged: {error}") from error


def _open_legacy(file: BinaryIO, size_bytes: int, *, unpickle: Unpickle) -> Saved:
    try:
        magic = _read_part(file, size_bytes, unpickle)
    except RefusedError as error:
        if "not a pickle: " not in str(error) or isinstance(error, DamagedError):
            raise
        file.seek(0)
        begin = file.read(8).hex(" ")
        raise OtherKindError(Kind(f"a file of an unknown kind, which begins with the bytes {begin}", AGAIN)) from error
    if magic.value != _LEGACY_MAGIC:
        raise OtherKindError(_describe_pickle(magic))
    protocol, system = (_read_part(file, size_bytes, unpickle) for _ in range(2))
    if protocol.value != _LEGACY_PROTOCOL:
        raise RefusedError("it is a pickle, but not one that torch.save wrote")
    contents, keys = (_read_part(file, size_bytes, unpickle) for _ in range(2))
    places = _check_storages(file, contents.storages, keys.value, size_bytes)
    used = frozenset().union(*(part.globals for part in (magic, protocol, system, contents, keys)))

    def read(storage: Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size_bytes)

    return Saved("torch legacy", contents, used, read)


def _read_part(file: BinaryIO, size_bytes: int, unpickle: Unpickle) -> Contents:
    """One of the pickles of the old format."""
    try:
        return unpickle(file)
    except RefusedError as error:
        ended = file.tell() >= size_bytes
        if ended and ("no end" in str(error) or "not a pickle: " in str(error)):
            raise DamagedError(f"it is cut or damaged: {error}") from error
        raise


def _describe_pickle(contents: Contents) -> Kind:
    """A pickle that torch.save did not write: mostly NumPy's arrays, as detectron2 and PaddlePaddle keep them."""
    arrays = any(name.startswith("numpy") for name in contents.globals)
    what = "a pickle of NumPy arrays" if arrays else "a pickle"
    return Kind(f"{what}, but not one that torch.save wrote", EXPORT)


def _refuse_tar(file: BinaryIO) -> None:
    """Refuse a tar file: torch.load tries tar before the pickle, so a file that is both is not what it seems."""
    with suppress(tarfile.TarError, EOFError, ValueError), tarfile.open(fileobj=file, mode="r:") as archive:
        names = []
        for member in archive:
            names.append(member.name)
            if len(names) >= _MOST_TAR_MEMBERS:
                break
        if {"sys_info", "pickle", "storages"} <= set(names):
            raise OtherKindError(
                Kind("a tar file: the format of torch before 0.1.11, which unpacks files when it is loaded", EXPORT)
            )
        raise OtherKindError(_describe_archive("a tar file", names, "tar -xf FILE"))
    file.seek(0)


def _check_storages(file: BinaryIO, storages: tuple[Storage, ...], keys: object, size_bytes: int) -> dict[str, int]:
    """Return where each storage begins. Each is its number of items (8 bytes), then the items."""
    expected = sum(8 + storage.size_bytes for storage in storages)
    left = size_bytes - file.tell()
    if left != expected:
        raise DamagedError(f"it is cut or damaged: {left} bytes of storages, and the pickle says {expected}")
    known = {storage.key: storage for storage in storages}
    order = [key for key in keys.items if isinstance(key, str)] if isinstance(keys, Items) else []
    if sorted(order) != sorted(known):
        raise DamagedError("the list of its storages is not that of its tensors")
    places, position = {}, file.tell()
    for key in order:
        places[key] = position + 8
        position += 8 + known[key].size_bytes
    return places


def _inspect_safetensors(file: BinaryIO, size_bytes: int, *, whole: bool) -> Inspection:
    tensors, places = read_tensors(file, size_bytes)
    weights = weights_of_tensors(tensors)
    if isinstance(weights, str):
        raise OtherKindError(Kind(f"a safetensors file without weights: {weights}", _NO_WEIGHTS_HINT))

    def read(storage: Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size_bytes)

    return Inspection(
        format="safetensors",
        tensors=len(tensors),
        size_bytes=size_bytes,
        globals=(),
        weights=weights,
        tensors_sha256=digest_tensors(weights, read) if whole else "",
    )


def _summarise(saved: Saved, size_bytes: int, *, whole: bool) -> Inspection:
    """Raises OtherKindError for a checkpoint without weights: an empty one, an optimizer's, a list."""
    weights = find_weights(flatten(saved.contents.value))
    if isinstance(weights, str):
        raise OtherKindError(Kind(f"a file of torch.save without weights: {weights}", _NO_WEIGHTS_HINT))
    return Inspection(
        format=saved.format,
        tensors=saved.contents.tensors,
        size_bytes=size_bytes,
        globals=tuple(sorted(saved.globals)),
        weights=weights,
        tensors_sha256=digest_tensors(weights, saved.read) if whole else "",
    )
