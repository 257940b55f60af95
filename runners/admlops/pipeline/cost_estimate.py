"""What runs would take before they begin: minutes, memory of the GPU, disk and money, and where each number is from.

A time is measured, if a run of the model on such a device is in the repository folder; else it is the authors' own, of
their GPU, with the time of reading added that theirs leaves out; else it is not known.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import msgspec

from admlops.catalog import Model
from admlops.core.errors import RecordError
from admlops.core.paths import Layout
from admlops.pipeline.expected_time import measure_run
from admlops.pipeline.memory_table import CONTEXT_MB, MemoryTable, authors_rows
from admlops.pipeline.rented_gpus import RentedGpus
from admlops.results.header import RunHeader
from admlops.results.record import Metadata
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs

READING_S = 0.3
"""Reading, decoding and preparing six pictures of 1600 x 900: 0.27 to 0.41 s for four networks on the machine of an
H200, in the authors' pipelines (docs/fidelity.md, "Measured once on an H200")."""
MEASURED_SAMPLES = 400
"""The size of this many records stands for that of all."""


class _Bare(msgspec.Struct):
    metadata: Metadata


_decode = msgspec.json.Decoder(_Bare).decode


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds a sample of one worker, the size of a record [bytes], and the source."""

    seconds: float
    source: str
    record_bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """One model's share of a plan; None where something is not known."""

    model: str
    samples: int
    seconds_a_sample: float | None
    minutes: float | None
    gpu_memory_mb: float | None
    fits: bool | None
    disk_mb: float | None
    cost_usd: float | None
    source: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def estimate_cost(layout: Layout, model: Model, scenes: Sequence[int], gpus: RentedGpus | None) -> CostEstimate:
    """Estimate a run of a model.

    Args:
        scenes: the number of samples of each scene.
        gpus: None is this machine's CPU.
    """
    speed = _measured(layout, model, gpus) or (None if gpus is None else _published(model))
    samples = sum(scenes)
    memory = None if gpus is None else _find_memory(layout, model, gpus)
    limit = None if gpus is None else gpus.memory_mb
    fits = None if memory is None or limit is None else memory[0] < limit
    if speed is None:
        where = "a CPU" if gpus is None else gpus.name
        return CostEstimate(
            model=model.name,
            samples=samples,
            seconds_a_sample=None,
            minutes=None,
            gpu_memory_mb=None if memory is None else memory[0],
            fits=fits,
            disk_mb=None,
            cost_usd=None,
            source=_join(f"not known: no run of it on {where} is here, and its authors state no speed", memory),
        )
    workers = 1 if gpus is None else gpus.count
    minutes = makespan(scenes, workers) * speed.seconds / 60
    price = None if gpus is None or gpus.usd_per_hour is None else gpus.usd_per_hour * gpus.count
    return CostEstimate(
        model=model.name,
        samples=samples,
        seconds_a_sample=speed.seconds,
        minutes=minutes,
        gpu_memory_mb=None if memory is None else memory[0],
        fits=fits,
        disk_mb=None if speed.record_bytes is None else speed.record_bytes * samples / 1e6,
        cost_usd=None if price is None else minutes / 60 * price,
        source=_join(speed.source, memory),
    )


def _join(speed: str, memory: tuple[float, str] | None) -> str:
    return speed if memory is None else f"{speed}; memory: {memory[1]}"


def _find_memory(layout: Layout, model: Model, gpus: RentedGpus) -> tuple[float, str] | None:
    """What a worker takes of the GPU [MB], and where it is from: measured on such a GPU, on another, or estimated."""
    rows = [row for row in authors_rows(MemoryTable.of(layout).rows(), model.name) if row.gpu_mb is not None]
    same = [row for row in rows if gpus.names(row.key.device)]
    for row in [*same, *rows]:
        return row.gpu_mb or 0.0, f"measured on {row.key.device}, in run {row.run}"
    if model.gpu_memory is None:
        return None
    return model.gpu_memory.megabytes + CONTEXT_MB, f"the catalogue's estimate, {model.gpu_memory.source}"


def makespan(scenes: Sequence[int], workers: int) -> int:
    """Return how many samples the busiest worker does: scenes go whole, the longest first."""
    loads = [0] * workers
    for length in sorted(scenes, reverse=True):
        heapq.heapreplace(loads, loads[0] + length)
    return max(loads)


def _measured(layout: Layout, model: Model, gpus: RentedGpus | None) -> Speed | None:
    """The newest run of the model on such a device that has times."""
    for run in reversed(list_runs(layout)[0]):
        header = run.header
        if header.model != model.name or header.is_submission or header.engine is not None or not _is_on(header, gpus):
            continue
        if header.shared:
            continue  # its times are those of several workers together
        speed = _speed_of(run)
        if speed is not None:
            return speed
    return None


def _is_on(header: RunHeader, gpus: RentedGpus | None) -> bool:
    if gpus is None:
        return header.device_kind == "cpu"
    return header.gpu is not None and gpus.names(header.gpu)


def _speed_of(run: RunFolder) -> Speed | None:
    measured = measure_run(run)
    if measured is None:
        return None
    try:
        records = list(islice(_metadata(run), MEASURED_SAMPLES))
    except (RecordError, msgspec.DecodeError):
        return None  # the evaluation of a damaged run reports the damage
    return Speed(
        seconds=measured.sample_s,
        record_bytes=statistics.fmean(size for _, size in records) if records else None,
        source=f"measured on {run.header.gpu or 'the CPU'}, in run {run.header.run}",
    )


def _metadata(run: RunFolder) -> Iterator[tuple[Metadata, int]]:
    """Yield the metadata of records, and their size [bytes]."""
    for scene in run.complete_scenes():
        for line, _ in run.lines_of(scene):
            yield _decode(line).metadata, len(line)


def _published(model: Model) -> Speed | None:
    """Return the authors' speed for the default weights, else the first speed that they state."""
    claims = [claim for claim in model.published if claim.metric == "FPS"]
    own = [claim for claim in claims if claim.checkpoint == model.default_checkpoint]
    claim = next(iter([*own, *claims]), None)
    if claim is None:
        return None
    device = claim.device or "a GPU that they do not name"
    return Speed(
        seconds=1 / claim.value + READING_S,
        source=f"published: {claim.value:g} FPS of {claim.checkpoint} on {device}; reading of {READING_S:g} s added",
    )
