"""Extraction for a person's own weights that are refused: only their tensors, read without running what surrounds them.

A refused file names classes and functions that are not known to be harmless: a whole network, a trainer, a scheduler.
Here a stand-in replaces everything it names, and only tensors are written, to a safetensors file, which holds no code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from admlops.checkpoints.forms import flatten
from admlops.checkpoints.inspection import explain_refusals, inspect, open_saved
from admlops.checkpoints.names import TAKEN_APART
from admlops.checkpoints.pickles import Machine, read_pickle
from admlops.checkpoints.safetensors import NAME_OF_KIND
from admlops.checkpoints.values import Contents, Global, Instance, Items, Opaque, Pairs, RefusedError, Tensor
from admlops.checkpoints.weights import ReadStorage, find_weights, tensor_bytes
from admlops.core.errors import CheckpointError, UsageError
from admlops.core.storage import explain_os_error


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """The weights that were written: how many tensors, and what `Found` says of averages."""

    path: Path
    tensors: int
    ema: bool
    left: str


def extract(file: Path, target: Path, *, dry_run: bool = False) -> Extracted:
    """Write the weights in a file of torch.save to a safetensors file; nothing in the file is run.

    With `dry_run` the weights are found and nothing is written.

    Raises:
        UsageError: there is a file at `target` already.
        CheckpointError: there are no weights in `file`, or it is damaged.
        StorageError: `target` cannot be written.
    """
    if target.exists():
        raise UsageError(f"{target} is there already", hint=f"choose another name than {target.name}")
    with explain_refusals(file), file.open("rb") as stream:
        saved = open_saved(stream, file.stat().st_size, whole=True, unpickle=_read_anything)
        weights = find_weights(flatten(saved.contents.value))
        if isinstance(weights, str):
            raise CheckpointError(
                f"{file} has no weights to extract: {weights}", hint=f"admlops checkpoints inspect {file}"
            )
        if not dry_run:
            _write(target, weights.tensors, saved.read)
    if not dry_run:
        inspect(target, whole=True)
    return Extracted(path=target, tensors=len(weights.tensors), ema=weights.ema, left=weights.left)


def _write(target: Path, tensors: Mapping[str, Tensor], read: ReadStorage) -> None:
    """Write a safetensors file beside its place, and rename it."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.size_bytes
        header[name] = {
            "dtype": NAME_OF_KIND[tensor.kind],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    beside = target.with_name(f".{target.name}.part")
    try:
        with beside.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for tensor in tensors.values():
                file.write(tensor_bytes(tensor, read(tensor.storage)))
        beside.replace(target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        beside.unlink(missing_ok=True)


def _read_anything(stream: BinaryIO) -> Contents:
    return read_pickle(stream, machine=_AnythingGoes())


class _AnythingGoes(Machine):
    """A pickle machine that accepts everything a stand-in can replace: its result is data and never code."""

    def _push_global(self, name: str) -> None:
        self.globals.add(name)
        self.stack.append(Global(name))

    def _call(self, function: object, arguments: object) -> None:
        if isinstance(function, Global) and function.name in TAKEN_APART and isinstance(arguments, tuple):
            try:
                super()._call(function, arguments)
            except RefusedError:
                self.stack.append(Opaque())
            return
        made = Instance(of=function.name if isinstance(function, Global) else "")
        first = arguments[0] if isinstance(arguments, tuple) and arguments else None
        if isinstance(first, Pairs):
            made.pairs.extend(first.pairs)
        self.stack.append(made)

    def _do_newobj(self, argument: object) -> None:
        self._do_reduce(argument)

    def _do_newobj_ex(self, argument: object) -> None:
        self.pop()
        self._do_reduce(argument)

    def _do_inst(self, argument: object) -> None:
        self.pop_to_mark()
        self.stack.append(Instance(of=str(argument)))

    def _do_obj(self, argument: object) -> None:
        self.pop_to_mark()
        self.stack.append(Instance())

    def _do_dup(self, argument: object) -> None:
        value = self.pop()
        self.stack.extend((value, value))

    def _do_build(self, argument: object) -> None:
        """A state is a dictionary of attributes, or a tuple of that and one of slots."""
        state, target = self.pop(), self.pop()
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(target, Instance) and isinstance(part, Pairs):
                target.pairs.extend(part.pairs)
        self.stack.append(target)

    def _extend(self, values: list[object]) -> None:
        target = self.pop()
        if isinstance(target, Items):
            target.items.extend(values)
        self.stack.append(target)

    def _fill(self, pairs: list[tuple[object, object]]) -> None:
        target = self.pop()
        if isinstance(target, Pairs):
            target.pairs.extend(pairs)
        self.stack.append(target)

    def _do_binpersid(self, argument: object) -> None:
        """A storage, or, of early torch, a network's class with its source."""
        value = self.stack[-1] if self.stack else None
        if isinstance(value, tuple) and value[:1] == ("module",) and len(value) > 1:
            self.pop()
            self.stack.append(value[1])
            return
        super()._do_binpersid(argument)
