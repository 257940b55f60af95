"""Large nuScenes tables row by row: hundreds of megabytes of JSON in a few seconds and little memory.

A table is one JSON list of flat objects. It is read in blocks, each cut before the last `{` in it and decoded into
typed rows, which hold only the fields that are asked for. Where a block cannot be decoded that way (a brace in a text,
an object in a row) the rest of the table is decoded in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from admlops.core.errors import DataError
from admlops.datasets.json_faults import describe_fault

BLOCK_BYTES = 1 << 23

Row = TypeVar("Row", bound=msgspec.Struct)


def stream_rows(folder: Path, name: str, row: type[Row]) -> Iterator[Row]:
    """The rows of `<folder>/<name>.json` in their order, as structs of type `row`; other fields are passed over.

    Raises:
        DataError: the table is missing, is not whole JSON, or a row lacks a field.
    """
    path = folder / f"{name}.json"
    seen = 0
    try:
        for rows in _blocks(path, msgspec.json.Decoder(list[row])):  # type: ignore[valid-type]
            seen += len(rows)
            yield from rows
    except msgspec.DecodeError:
        yield from islice(_decode_whole(path, row), seen, None)
    except OSError as error:
        raise _unreadable(path, error) from error


def _blocks(path: Path, decoder: msgspec.json.Decoder[list[Row]]) -> Iterator[list[Row]]:
    rest = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            text = rest + block
            cut = text.rfind(b"{")
            if cut <= 0:
                rest = text
                continue
            rest = text[cut:]
            yield decoder.decode(b"[" + text[:cut].strip().removeprefix(b"[").removesuffix(b",") + b"]")
    yield decoder.decode(b"[" + rest.strip().removeprefix(b"[").removesuffix(b"]") + b"]")


def _decode_whole(path: Path, row: type[Row]) -> list[Row]:
    content = b""
    try:
        content = path.read_bytes()
        return msgspec.json.decode(content, type=list[row])  # type: ignore[valid-type]
    except OSError as error:
        raise _unreadable(path, error) from error
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} is not a whole table: {describe_fault(content, error)}",
            hint="unpack the tables again, or make a whole data set: admlops data synthesize DIR",
        ) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    return DataError(f"{path} {reason}", hint=f"ls -l {path.parent}   # unpack the tables there again")
