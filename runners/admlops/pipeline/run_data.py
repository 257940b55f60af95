"""What a report is made of: one run, or one model that could not be run, read from its folder into plain values.

Reading is apart from drawing: `load_run_data` touches the disk, everything else in this room takes a `RunData`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec import UNSET

from admlops.catalog.model import Claim, Model
from admlops.core.errors import AdmlopsError
from admlops.core.storage import file_sha256
from admlops.evaluation.latency.summary import Latency, summarize
from admlops.evaluation.metrics import Metric, metrics_of
from admlops.pipeline.throughput import read_throughput
from admlops.results.header import RunHeader
from admlops.results.labels import find_engine_precision
from admlops.results.lost_devices import LostDevices, list_lost_devices
from admlops.results.record import Metadata, Record
from admlops.results.run_folder import RunFolder

MAX_WORST_SAMPLES = 6
NOT_SET_UP = "not set up"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One line of telemetry, `t` in seconds since the run began. A number that the machine did not give is None.

    `gpu_memory_mb` and `power_w` are sums over the GPUs, `gpu_percent` is their mean.
    """

    t: float
    cpu_percent: float | None = None
    worker_memory_mb: float | None = None
    gpu_percent: float | None = None
    gpu_memory_mb: float | None = None
    power_w: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunData:
    """One row of a report.

    Attributes:
        status: `complete`, `failed`, `running`, `cancelled`, or `not set up`.
        hint: why there is no run, and the next command to type.
        header: None for a model that is not set up.
        samples: the metadata of every record, in the run's order.
        worst: full records of the samples that `metrics["worst"]` names, the worst first.
        first: full records of the first samples, where there is no `metrics.json` that names the worst.
        records: every full record in the run's order, read anew each time: a run of a whole data set fills the memory.
        metrics: `metrics.json`, or None before `admlops evaluate`.
        throughput: `throughput.json`, None for a run without throughput mode.
        worker: what the first worker said of itself: `python`, `libraries`, `digest` of the adapter, `device_name`.
        checkpoint: the catalogue's name of the weights that were loaded; None for others, and for random ones.
        lost_devices: the devices that the run lost while it went on.
        manifest_sha256: of the `manifest.json` that stood there before this report was written.
        notes: what could not be read, a sentence each.
    """

    model: str
    status: str
    hint: str = ""
    header: RunHeader | None = None
    samples: Sequence[Metadata] = ()
    worst: Sequence[Record] = ()
    first: Sequence[Record] = ()
    records: Iterable[Record] = ()
    metrics: Mapping[str, Any] | None = None
    telemetry: Sequence[Reading] = ()
    throughput: Mapping[str, Any] | None = None
    latency: Latency | None = None
    claims: Sequence[Claim] = ()
    checkpoint: str | None = None
    worker: Mapping[str, Any] = field(default_factory=dict)
    lost_devices: Sequence[LostDevices] = ()
    manifest_sha256: str | None = None
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The run's name, or the model's where there is no run."""
        return self.header.run if self.header is not None else self.model

    @property
    def failed(self) -> list[Metadata]:
        return [meta for meta in self.samples if meta.status == "failed"]

    @property
    def measured(self) -> list[Metric]:
        """The values in `metrics.json`; empty before `admlops evaluate`."""
        return [] if self.metrics is None else metrics_of(self.metrics)

    @property
    def details(self) -> Mapping[str, Any]:
        """Classes and curves by task, as `metrics.json` holds them."""
        return {} if self.metrics is None else self.metrics.get("details", {})

    @property
    def energy_j(self) -> float | None:
        """The GPUs' energy over the run [J]: the trapezoid rule over power readings; None without two readings.

        None also where other runs worked on the same GPUs: nobody can say whose it was.
        """
        if self.header is not None and self.header.neighbours:
            return None
        known = [(r.t, r.power_w) for r in self.telemetry if r.power_w is not None]
        if len(known) < 2:
            return None
        return sum((after[0] - before[0]) * (after[1] + before[1]) / 2 for before, after in pairwise(known))


class _Records:
    """The records of a run's folder, read anew each time."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def __iter__(self) -> Iterator[Record]:
        return self._run.records()


def missing_model(model: str, *, hint: str, claims: Sequence[Claim] = (), status: str = NOT_SET_UP) -> RunData:
    """The row of a model that has no run, most often because it is not set up.

    `hint` says why and names the next command; of `status` the page shows what stands before a colon.
    """
    return RunData(model=model, status=status.partition(":")[0], hint=hint, claims=claims)


def load_run_data(run: RunFolder, *, model: Model | None = None, worst: int = MAX_WORST_SAMPLES) -> RunData:
    """A run's data, streamed: only the `worst` samples' records are kept whole.

    `model` is the run's in the catalogue, where its published numbers are wanted. What is missing or damaged beside the
    records becomes a sentence in `notes`.

    Raises:
        RecordError: a record is not a standard record.
    """
    notes: list[str] = []
    metrics = _read_metrics(run, notes)
    wanted = {str(entry["sample_token"]): rank for rank, entry in enumerate((metrics or {}).get("worst", ())[:worst])}
    samples: list[Metadata] = []
    kept: dict[int, Record] = {}
    first: list[Record] = []
    for record in run.records():
        samples.append(record.metadata)
        if metrics is None and len(first) < worst and record.metadata.status == "ok":
            first.append(record)
        rank = wanted.get(record.metadata.sample_token)
        if rank is not None:
            kept[rank] = record
    return RunData(
        model=run.header.model,
        status=run.header.state,
        throughput=_read_throughput(run, notes),
        header=run.header,
        samples=samples,
        worst=[kept[rank] for rank in sorted(kept)],
        first=first,
        records=_Records(run),
        metrics=metrics,
        telemetry=read_telemetry(run.telemetry_path, notes),
        latency=_summarize(samples, notes, run.header),
        claims=() if model is None else model.published,
        checkpoint=None if model is None else _name_checkpoint(model, run.header),
        worker=next((event for event in run.events() if event.get("event") == "worker_ready"), {}),
        lost_devices=list_lost_devices(run),
        manifest_sha256=_manifest_sha256(run.path),
        notes=notes,
    )


def parse_reading(line: Mapping[str, Any]) -> Reading:
    """One line of `telemetry.jsonl`; numbers that are null or absent become None. Raises KeyError without `t`."""
    gpus = [gpu for gpu in line.get("gpus", ()) if isinstance(gpu, Mapping)]

    def over_gpus(key: str) -> list[float]:
        return [float(gpu[key]) for gpu in gpus if isinstance(gpu.get(key), int | float)]

    use, memory, power = over_gpus("utilization_percent"), over_gpus("memory_mb"), over_gpus("power_w")
    return Reading(
        t=float(line["t"]),
        cpu_percent=_number(line, "cpu_percent"),
        worker_memory_mb=_number(line, "worker_memory_mb"),
        gpu_percent=sum(use) / len(use) if use else None,
        gpu_memory_mb=sum(memory) if memory else None,
        power_w=sum(power) if power else None,
    )


def _name_checkpoint(model: Model, header: RunHeader) -> str | None:
    """Return the name of the catalogue's checkpoint that a run loaded; an older run has only the file's path."""
    if header.provenance.checkpoint is not None:
        return header.provenance.checkpoint
    path, sha256 = header.settings.get("checkpoint"), header.provenance.checkpoint_sha256
    if not isinstance(path, str):
        return None
    here = {name: known for name, known in model.checkpoints.items() if known.sha256 in (None, sha256)}
    return next((name for name, known in here.items() if Path(path).parts[-2:] == (model.name, known.file)), None)


def _number(line: Mapping[str, Any], key: str) -> float | None:
    value = line.get(key)
    return float(value) if isinstance(value, int | float) else None


def _read_metrics(run: RunFolder, notes: list[str]) -> Mapping[str, Any] | None:
    command = f"admlops evaluate {run.header.run}"
    try:
        # A value that is no number is undefined: JSON has none, but other programs write it.
        metrics = json.loads(run.metrics_path.read_bytes(), parse_constant=lambda _: None)
        metrics_of(metrics)
    except FileNotFoundError:
        notes.append(f"The run is not evaluated yet, so scores are missing. Next: {command}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        notes.append(f"{run.metrics_path.name} cannot be used ({error}), so scores are missing. Next: {command}")
    else:
        return dict(metrics)
    return None


def read_telemetry(path: Path, notes: list[str]) -> list[Reading]:
    """Return the readings. A torn line, as a killed run leaves, is skipped; where a resumed run's clock starts anew,
    the time goes on from the last reading."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        notes.append("There is no telemetry.jsonl, so memory, utilisation and energy are missing: a new run writes it.")
        return []
    readings: list[Reading] = []
    begun, last = 0.0, 0.0
    for text in lines:
        try:
            reading = parse_reading(json.loads(text))
        except (ValueError, KeyError, TypeError):
            continue
        if begun + reading.t < last:
            begun = last
        last = begun + reading.t
        readings.append(replace(reading, t=last))
    return readings


def _read_throughput(run: RunFolder, notes: list[str]) -> Mapping[str, Any] | None:
    try:
        return read_throughput(run.throughput_path)
    except AdmlopsError as error:
        notes.append(f"What throughput mode tried is missing: {error.message}.")
        return None


def _summarize(samples: Sequence[Metadata], notes: list[str], header: RunHeader) -> Latency | None:
    if not any(meta.inference_time is not None or meta.batch is not UNSET for meta in samples):
        notes.append("No sample carries a measured time, so latency is missing.")
        return None
    try:
        return summarize(
            samples, pictures=header.data.pictures, shared=header.shared, precision=find_engine_precision(header)
        )
    except AdmlopsError as error:
        notes.append(f"Latency is missing: {error.message}. Next: {error.hint}")
        return None


def _manifest_sha256(folder: Path) -> str | None:
    manifest = folder / "manifest.json"
    return file_sha256(manifest) if manifest.is_file() else None
