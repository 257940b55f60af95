"""What a checkpoint file holds, found out without loading it: format, tensors, and that it runs no code.

Three formats are accepted. *torch zip* is what torch.save writes since 1.6: an uncompressed archive of one pickle and
one member per storage. *torch legacy* is what it wrote before: five pickles, then the storages. *safetensors*, by the
file's suffix, is a JSON header and bytes. The two of torch are told apart exactly as torch.load does it, by the first
four bytes, so that no file is one thing here and another there. Refused as well: TorchScript programs, the tar files of
torch before 0.1.11, compressed members, members that torch does not write, and storages of another length than the
pickle says.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import tarfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from admlops.checkpoints.pickles import LARGEST_PICKLE_BYTES, RefusedError, Storage, read_pickle
from admlops.core.errors import CheckpointError
from admlops.core.storage import READ_BYTES

INSPECTOR = 1
"""Raise when the rules change, so that files are inspected anew."""

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_SMALL_MEMBERS = frozenset({"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id"})
_SMALL_BYTES = 4096
_MOST_MEMBERS = 200_000
_LOCAL_HEADER_BYTES = 30
_END_BYTES = 22
_LARGEST_HEADER_BYTES = 100 << 20
_SAFETENSORS_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a file holds. `globals` are the classes and functions that loading it uses, as `module name`."""

    format: str
    tensors: int
    size_bytes: int
    globals: tuple[str, ...]


def inspect(path: Path, *, whole: bool = False) -> Inspection:
    """Inspect a checkpoint. `whole` also reads every byte of an archive and checks it against the archive's CRCs.

    Raises:
        CheckpointError: it cannot be read, is no checkpoint, is damaged, or would run code when it is loaded.
    """
    try:
        with path.open("rb") as file:
            if path.suffix == ".safetensors":
                return _inspect_safetensors(file, path)
            begin = file.read(len(_ZIP_MAGIC))
            file.seek(0)
            if begin == _ZIP_MAGIC:
                return _inspect_zip(file, path, whole=whole)
            return _inspect_legacy(file, path)
    except RefusedError as error:
        raise CheckpointError(
            f"{path} is refused: {error}",
            hint="do not load it anywhere; compare its sha256 with what its authors published, or download it again",
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error


def _inspect_zip(file: BinaryIO, path: Path, *, whole: bool) -> Inspection:
    size_bytes = path.stat().st_size
    try:
        with zipfile.ZipFile(file) as archive:
            members = _check_members(archive, size_bytes)
            if whole:
                _check_sums(archive)
            if members["data.pkl"].file_size > LARGEST_PICKLE_BYTES:
                raise RefusedError(f"its pickle has {members['data.pkl'].file_size} bytes")
            pickle = archive.read(members["data.pkl"])
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError) as error:
        raise RefusedError(f"the archive is damaged: {error}") from error
    contents = read_pickle(io.BytesIO(pickle))
    for storage in contents.storages:
        member = members.get(f"data/{storage.key}")
        if member is None or member.file_size != storage.size_bytes:
            has = "is missing" if member is None else f"has {member.file_size} bytes"
            raise RefusedError(f"the storage {storage.key} {has}, and the pickle says {storage.size_bytes}")
    return _summarise("torch zip", contents.globals, contents.tensors, size_bytes)


def _check_members(archive: zipfile.ZipFile, size_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Name below the root → member, if all of them are such as torch writes."""
    listed = archive.infolist()
    if archive.comment or len(listed) > _MOST_MEMBERS:
        raise RefusedError("the archive has a comment or too many members, which torch does not write")
    members: dict[str, zipfile.ZipInfo] = {}
    roots = {info.filename.partition("/")[0] for info in listed}
    for info in listed:
        name = info.filename.partition("/")[2]
        if name.startswith("code/") or name == "constants.pkl":
            raise RefusedError(f"the member {info.filename} is part of a TorchScript program")
        if not (name == "data.pkl" or name in _SMALL_MEMBERS or re.fullmatch(r"data/[0-9]{1,20}", name)):
            raise RefusedError(f"the member {_shorten(info.filename)} is none that torch writes")
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
    """No two members share bytes: a small archive cannot claim to be large, and each byte has one meaning."""
    ordered = sorted(members, key=lambda info: info.header_offset)
    ends = [info.header_offset for info in ordered[1:]] + [directory_begin]
    for info, end in zip(ordered, ends, strict=True):
        if info.header_offset + _LOCAL_HEADER_BYTES + info.file_size > end:
            raise RefusedError(f"the member {info.filename} overlaps what follows it")
    if ordered[0].header_offset != 0 or directory_begin + _END_BYTES > size_bytes:
        raise RefusedError("there is something before the archive, or its directory is cut")


def _check_sums(archive: zipfile.ZipFile) -> None:
    for info in archive.infolist():
        with archive.open(info) as member:
            try:
                while member.read(READ_BYTES):
                    pass
            except (zipfile.BadZipFile, EOFError) as error:
                raise RefusedError(f"the member {info.filename} is damaged: {error}") from error


def _inspect_legacy(file: BinaryIO, path: Path) -> Inspection:
    size_bytes = path.stat().st_size
    _refuse_tar(file)
    magic, protocol, system = read_pickle(file), read_pickle(file), read_pickle(file)
    if magic.value != _LEGACY_MAGIC or protocol.value != _LEGACY_PROTOCOL:
        raise RefusedError("it is a pickle, but not one that torch.save wrote")
    contents, keys = read_pickle(file), read_pickle(file)
    _check_storages(file, contents.storages, size_bytes)
    used = frozenset().union(*(part.globals for part in (magic, protocol, system, contents, keys)))
    return _summarise("torch legacy", used, contents.tensors, size_bytes)


def _refuse_tar(file: BinaryIO) -> None:
    """torch.load tries the tar format before the pickle, so a file that is both is not what it seems."""
    with suppress(tarfile.TarError, EOFError, ValueError), tarfile.open(fileobj=file, mode="r:"):
        raise RefusedError("it is a tar file: the format of torch before 0.1.11, which unpacks files when it is loaded")
    file.seek(0)


def _check_storages(file: BinaryIO, storages: tuple[Storage, ...], size_bytes: int) -> None:
    """After the pickles: for every storage its number of items (8 bytes), then the items."""
    expected = sum(8 + storage.size_bytes for storage in storages)
    left = size_bytes - file.tell()
    if left != expected:
        raise RefusedError(f"it is cut or damaged: {left} bytes of storages, and the pickle says {expected}")


def _inspect_safetensors(file: BinaryIO, path: Path) -> Inspection:
    size_bytes = path.stat().st_size
    length_bytes = file.read(8)
    length = int.from_bytes(length_bytes, "little")
    if len(length_bytes) < 8 or not 2 <= length <= min(_LARGEST_HEADER_BYTES, size_bytes - 8):
        raise RefusedError("it is no safetensors file: its header's length is impossible")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"it is no safetensors file: its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise RefusedError("it is no safetensors file: its header is no object")
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise RefusedError("it is no safetensors file: its metadata are not texts")
    end = 0
    for begin, length_of_tensor, name in sorted(_span(name, entry) for name, entry in header.items()):
        if begin != end:
            raise RefusedError(f"the tensor {_shorten(name)} does not begin where the one before it ends")
        end = begin + length_of_tensor
    if end != size_bytes - 8 - length:
        raise RefusedError(f"it is cut or damaged: {size_bytes - 8 - length} bytes of tensors, the header says {end}")
    return _summarise("safetensors", frozenset(), len(header), size_bytes)


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """(begin, length, name) of a tensor, in bytes."""
    try:
        bits, shape, (begin, end) = _SAFETENSORS_BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"the tensor {_shorten(name)} is not described as safetensors does") from error
    right = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    if not right or set(entry) != {"dtype", "shape", "data_offsets"} or math.prod(shape) * bits != (end - begin) * 8:
        raise RefusedError(f"the tensor {_shorten(name)} has another length than its shape says")
    return begin, end - begin, name


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _summarise(kind: str, used: frozenset[str], tensors: int, size_bytes: int) -> Inspection:
    return Inspection(format=kind, tensors=tensors, size_bytes=size_bytes, globals=tuple(sorted(used)))


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
