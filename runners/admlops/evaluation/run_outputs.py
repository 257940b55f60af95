"""Read the records of a run once, and hand each to every evaluation that wants it.

Only the keys that some evaluation decodes are decoded; the others are skipped. Accumulators keep arrays, so that the
outputs of a run take a fraction of the records' memory.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
import numpy as np
from msgspec import UNSET

from admlops.catalog.registries import DATA_KINDS, EVALUATIONS
from admlops.core.collection import uncollected
from admlops.core.errors import AdmlopsError, DataError, RecordError
from admlops.core.processes import die_with_parent
from admlops.datasets.base import DataKind, Dataset
from admlops.evaluation.base import Accumulator, Evaluation, Joinable
from admlops.evaluation.context import Context
from admlops.results.derived_structs import Selection, merge
from admlops.results.reading_order import lines_in_order
from admlops.results.record import Metadata, PartialRecord
from admlops.results.record_json import partial_decoder, task_keys
from admlops.results.run_folder import RunFolder

WORTH_A_PROCESS_BYTES = 64 << 20
"""From about here on another process saves more time than it takes to start."""
MOST_PROCESSES = 4
"""Each holds some frames of records, and an interpreter with NumPy and SciPy."""

Where = tuple[Metadata, str]
"""A record, and `file:line`."""


@dataclass(kw_only=True)
class RunOutputs:
    """What one pass over the records left.

    Attributes:
        tasks: the keys of tasks that any record has.
        accumulators: by id of their evaluation, of those that have something to evaluate.
        failures: by id, why an evaluation's ground truth could not be read on the way.
    """

    tasks: set[str] = field(default_factory=set)
    accumulators: dict[str, Accumulator] = field(default_factory=dict)
    failures: dict[str, DataError] = field(default_factory=dict)


def read_outputs(context: Context, evaluations: Sequence[Evaluation]) -> RunOutputs:
    """Read every record of the run's complete scenes; `context.metadata` is filled on the way.

    Many records are read by several processes, each its own part, where every accumulator that they fill can be joined.

    Raises:
        RecordError: a line is not a standard record, a sample has two records, or one with status ok does not answer a
            task that others answer.
    """
    if context.run.order_path.exists():
        reading = _Pass(context, evaluations)
        for record, where in read_in_order(context.run, reading.decode):
            reading.take(record, where)
        return reading.finish()
    own, *others = _deal_scenes(context, evaluations)
    reading = _Pass(context, evaluations)
    with tempfile.TemporaryDirectory() as folder, _start_helpers(context, evaluations, others, Path(folder)) as helpers:
        reading.read(own)
        for scenes, helper in zip(others, helpers, strict=True):
            helper.process.join()
            if helper.process.exitcode == 0:
                reading.join(helper.folder)
            else:
                reading.read(scenes)  # meets the helper's error again here, and reports it in full
    return reading.finish()


def _deal_scenes(context: Context, evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """Return which scenes each process reads, so that all end at about the same time; those of this one come first."""
    scenes = context.run.complete_scenes()
    sizes = [context.run.size_of(scene) for scene in scenes]
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, 1 + sum(sizes) // WORTH_A_PROCESS_BYTES, len(scenes))
    if processes < 2 or not _joins(context, evaluations, scenes):
        return [scenes]
    parts: list[list[str]] = [[] for _ in range(processes)]
    head = WORTH_A_PROCESS_BYTES // 2  # what this process reads while the others start
    share = (sum(sizes) + (processes - 1) * head) / processes
    ends = accumulate(sizes)
    for scene, size, end in zip(scenes, sizes, ends, strict=True):
        past = end - size / 2 - share
        others = 1 + int(past / (share - head))
        parts[0 if past < 0 else min(others, processes - 1)].append(scene)
    return [part for part in parts if part]


def _joins(context: Context, evaluations: Sequence[Evaluation], scenes: Sequence[str]) -> bool:
    """Tell from the first record whether the accumulators that will be filled can be joined."""
    if context.official:  # accumulators keep more for the official code
        return False
    first = next((line for scene in scenes for line in context.run.lines_of(scene)), None)
    if first is None:
        return False
    record = partial_decoder({})(*first)
    filled = (one for one in evaluations if any(_has(record, key) for key in one.needs.keys))
    return all(one.needs.joins for one in filled)


def _has(record: PartialRecord, key: str | None) -> bool:
    return key is None or getattr(record, key, UNSET) is not UNSET


class _Part(msgspec.Struct):
    """What a helper says beside its arrays: its records, where each stands, and the tasks that are missing in some."""

    metadata: list[Metadata]
    places: list[str]
    tasks: list[str]
    without: dict[str, int]
    filled: list[str]


class _Helper(NamedTuple):
    """A process that reads some scenes, and where it leaves what it kept of them."""

    process: BaseProcess
    folder: Path


@contextmanager
def _start_helpers(
    context: Context, evaluations: Sequence[Evaluation], parts: Sequence[Sequence[str]], folder: Path
) -> Iterator[list[_Helper]]:
    """Start a process for each part; all are killed on exit."""
    names = [one.id for one in evaluations]
    data = _Root(context.data.kind, context.data.root, context.data.version, context.chosen)
    helpers = []
    try:
        for index, scenes in enumerate(parts):
            own = folder / str(index)
            own.mkdir()
            arguments = (context.run.path, data, names, list(scenes), own)
            process = get_context("spawn").Process(target=_read_part, args=arguments, daemon=True)
            process.start()
            helpers.append(_Helper(process, own))
        yield helpers
    finally:
        for helper in helpers:
            helper.process.kill()
            helper.process.join()


class _Root(NamedTuple):
    """Where a data set is, and which of its samples are evaluated, None for all."""

    kind: str
    root: Path
    version: str
    chosen: frozenset[str] | None


class _OpenedLater:
    """A data set that is opened on first use; boxes do not use it while records are read."""

    def __init__(self, place: _Root) -> None:
        self._place = place

    @cached_property
    def _opened(self) -> Dataset:
        kind: DataKind = DATA_KINDS.get(self._place.kind)
        return kind.open(self._place.root, self._place.version)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)


def _read_part(path: Path, data: _Root, names: Sequence[str], scenes: Sequence[str], folder: Path) -> None:
    """Read some scenes in a process of its own, and leave what was kept in files: no objects cross."""
    die_with_parent()
    context = Context(
        run=RunFolder.open(path), data=cast("Dataset", _OpenedLater(data)), cache=folder, chosen=data.chosen
    )
    try:
        reading = _Pass(context, [cast("Evaluation", EVALUATIONS.get(name)) for name in names])
        for scene in scenes:
            reading.read([scene])
            if reading.has_failed:
                sys.exit(1)
        reading.leave(folder)
    except AdmlopsError:
        sys.exit(1)  # the reader that started this process meets the same error


def read_records(run: RunFolder, keys: Mapping[str, Selection]) -> Iterator[PartialRecord]:
    """Read chosen keys of every record of the run's complete scenes, in the order in which it is evaluated.

    Raises RecordError as `read_outputs`.
    """
    for record, _ in read_in_order(run, partial_decoder(keys)):
        yield record


def read_in_order(run: RunFolder, decode: Callable[[bytes, str], PartialRecord]) -> Iterator[tuple[PartialRecord, str]]:
    """Read records, each with its `file:line`, in the order that decides between equal scores."""
    lines = lines_in_order(run)
    if lines is None:
        for scene in run.complete_scenes():
            yield from read_scene(run, scene, decode)
        return
    for scene, line, where in lines:
        yield _of_scene(decode(line, where), scene, where, run), where


def read_scene(
    run: RunFolder, scene: str, decode: Callable[[bytes, str], PartialRecord]
) -> Iterator[tuple[PartialRecord, str]]:
    """Read the records of one scene, each with its `file:line`. Raises RecordError as `read_outputs`."""
    for line, where in run.lines_of(scene):
        yield _of_scene(decode(line, where), scene, where, run), where


def _of_scene(record: PartialRecord, scene: str, where: str, run: RunFolder) -> PartialRecord:
    if record.metadata.scene != scene:
        raise RecordError(
            f"{where} is a record of scene {record.metadata.scene}, in the file of {scene}",
            hint=f"admlops results verify {run.header.run}",
        )
    return record


class _Bare:
    """A record that answers no task, as accumulators see those before the first one that does."""

    def __init__(self, metadata: Metadata, keys: Sequence[str]) -> None:
        self.metadata = metadata
        for key in keys:
            setattr(self, key, UNSET)

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> Any: ...


class _Pass:
    """One pass over some of a run's records, in their order."""

    def __init__(self, context: Context, evaluations: Sequence[Evaluation]) -> None:
        self.outputs = RunOutputs()
        self._context = context
        self._evaluations = evaluations
        chosen: Selection = {}
        for evaluation in evaluations:
            chosen = merge(chosen, evaluation.needs.record)
        self.decode = partial_decoder(cast("Mapping[str, Selection]", chosen))
        own = [key for evaluation in evaluations for key in evaluation.needs.keys if key is not None]
        self._keys = tuple(dict.fromkeys([*task_keys(), *own]))
        self._evaluated = frozenset(own)
        self._without: dict[str, Where] = {}
        self._tokens: set[str] = set()
        self._places: list[str] = []
        self._feeding: list[Accumulator] = []
        self._failed: dict[int, DataError] = {}
        self._begin(None)

    def read(self, scenes: Sequence[str]) -> None:
        """Read the records of some scenes."""
        with uncollected():
            for scene in scenes:
                for record, where in read_scene(self._context.run, scene, self.decode):
                    self.take(record, where)

    @property
    def has_failed(self) -> bool:
        """Tell whether some ground truth could not be read."""
        return bool(self._failed)

    def finish(self) -> RunOutputs:
        """Check what only the whole run tells, and return what was kept."""
        self._check_tasks()
        self.outputs.failures = self._failures()
        return self.outputs

    def leave(self, folder: Path) -> None:
        """Write what was kept to files, for `join`."""
        distinct = {id(one): name for name, one in reversed(self.outputs.accumulators.items())}
        for name in distinct.values():
            arrays = cast("Joinable", self.outputs.accumulators[name]).to_arrays()
            np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
        place = {meta.sample_token: index for index, meta in enumerate(self._context.metadata)}
        part = _Part(
            metadata=self._context.metadata,
            places=self._places,
            tasks=sorted(self.outputs.tasks),
            without={key: place[meta.sample_token] for key, (meta, _) in self._without.items()},
            filled=list(distinct.values()),
        )
        (folder / "part.json").write_bytes(msgspec.json.encode(part))

    def join(self, folder: Path) -> None:
        """Take over what another pass left of the records after these."""
        part = msgspec.json.decode((folder / "part.json").read_bytes(), type=_Part)
        for key in part.tasks:
            if key not in self.outputs.tasks:
                self.outputs.tasks.add(key)
                self._begin(key)
        for meta, where in zip(part.metadata, part.places, strict=True):
            self._check_token(meta, where)
        joined = [self.outputs.accumulators[name] for name in part.filled]
        for name, accumulator in zip(part.filled, joined, strict=True):
            with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
                cast("Joinable", accumulator).extend(arrays)
        for accumulator in self._feeding:
            if all(accumulator is not one for one in joined):
                for meta in part.metadata:
                    self._feed(accumulator, self._bare(meta))
        for key, index in part.without.items():
            self._without.setdefault(key, (part.metadata[index], part.places[index]))
        self._context.metadata += part.metadata

    def take(self, record: PartialRecord, where: str) -> None:
        """Hand a record to every accumulator; those of samples that are not chosen are passed over."""
        meta = record.metadata
        if self._context.chosen is not None and meta.sample_token not in self._context.chosen:
            return
        self._check_token(meta, where)
        present = [key for key in self._keys if getattr(record, key) is not UNSET]
        for key in present:
            if key not in self.outputs.tasks:
                self.outputs.tasks.add(key)
                self._begin(key)
        if meta.status == "ok" and len(present) < len(self._keys):
            for key in self._keys:
                if key not in present:
                    self._without.setdefault(key, (meta, where))
        self._context.metadata.append(meta)
        self._places.append(where)
        for accumulator in self._feeding:
            self._feed(accumulator, record)

    def _check_tasks(self) -> None:
        """Refuse records with status ok that do not answer a task that others answer."""
        for key in sorted(self.outputs.tasks & self._evaluated & set(self._without)):
            meta, where = self._without[key]
            raise RecordError(
                f"{where}: the record of sample {meta.sample_token} ({meta.scene}) has status ok and no {key}, where "
                "others have one; an empty list says that nothing was found",
                hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
            )

    def _begin(self, key: str | None) -> None:
        """Begin the evaluations of a task; of the records before this one they see the metadata alone."""
        for evaluation in self._evaluations:
            if key not in evaluation.needs.keys or evaluation.id in self.outputs.accumulators:
                continue
            accumulator = evaluation.begin(self._context)
            self.outputs.accumulators[evaluation.id] = accumulator
            if any(one is accumulator for one in self._feeding):
                continue
            self._feeding.append(accumulator)
            for meta in self._context.metadata:
                self._feed(accumulator, self._bare(meta))

    def _bare(self, meta: Metadata) -> PartialRecord:
        """Return a record that answers no task."""
        return _Bare(meta, self._keys)

    def _feed(self, accumulator: Accumulator, record: PartialRecord) -> None:
        """Give a record to an accumulator; where its ground truth cannot be read, it gets no more."""
        if id(accumulator) in self._failed:
            return
        try:
            accumulator.add(record)
        except DataError as error:
            self._failed[id(accumulator)] = error

    def _failures(self) -> dict[str, DataError]:
        """Return by id of the evaluation why its ground truth could not be read."""
        own = self.outputs.accumulators.items()
        return {name: self._failed[id(one)] for name, one in own if id(one) in self._failed}

    def _check_token(self, meta: Metadata, where: str) -> None:
        if meta.sample_token in self._tokens:
            name = self._context.run.header.run
            raise RecordError(
                f"run {name} has more than one record of a sample: {where} is another one of sample "
                f"{meta.sample_token} ({meta.scene})",
                hint=f"admlops results show {name}   # then run the model again",
            )
        self._tokens.add(meta.sample_token)
