"""What is exported of a run, the same for every tracker: few parameters, tags, one key a metric, a note, files.

A metric's key is `protocol/name`: MLflow, Weights & Biases and TensorBoard all make a section of what stands before the
slash, and numbers of unlike protocols never share a chart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from admlops import __version__
from admlops.catalog.protocols import LATENCY
from admlops.core.errors import RecordError
from admlops.pipeline.run_data import Reading, RunData, load_run_data
from admlops.results.header import RunHeader
from admlops.results.run_folder import RunFolder

MAX_READINGS = 1000
READING_INTERVAL_S = 1.0
FILES = ("run.json", "metrics.json", "report.html", "manifest.json")
_KEY = re.compile(r"[^\w\-. /:]")


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """One evaluated run.

    Attributes:
        id: the same for the same run wherever it is exported from, different for any other.
        digest: over everything that is exported; equal while that is unchanged.
        title: the model and its variant.
        project: the data set and split, a project or experiment of its own.
        created_ms: when the run began [ms since 1970].
        metrics: `protocol/name` → value; undefined ones are left out.
        dataset: the data set's name, and the digest of the samples.
        telemetry: seconds since the run began, and values by name; at most one a second.
        note: a table of all metrics with n and intervals, in Markdown.
        files: the run's own files; `records` those with the standard records.
    """

    id: str
    digest: str
    run: str
    title: str
    project: str
    state: str
    created_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    dataset: tuple[str, str]
    samples: int
    telemetry: Sequence[tuple[float, Mapping[str, float]]]
    note: str
    files: tuple[Path, ...]
    records: tuple[Path, ...]


def export_run(run: RunFolder) -> ExportedRun:
    """Read what is exported of a run.

    Raises:
        RecordError: the run is not evaluated, or its files are damaged.
    """
    data = load_run_data(run)
    if data.metrics is None:
        raise RecordError(
            f"run {run.path.name} has no metrics yet, so there is nothing to track",
            hint=f"admlops evaluate {run.path.name}",
        )
    header, summary = run.header, data.metrics
    split = summary["data"].get("split") or "chosen samples"
    project = f"{_kind(header)} {header.data.version} {split}"
    metrics = {key_of(one.protocol, one.name): one.value for one in data.measured if one.value is not None}
    metrics |= _latency(data)
    sha256 = str(summary["data"]["samples_sha256"])
    note = write_note(data)
    files = tuple(path for name in FILES if (path := run.path / name).is_file())
    return ExportedRun(
        id=hashlib.sha256(f"{header.run}\n{header.created}\n{header.environment.digest}".encode()).hexdigest()[:16],
        digest=_digest(note, files),
        run=run.path.name,
        title=f"{header.model} {header.variant}",
        project=project,
        state=header.state,
        created_ms=int(1000 * datetime.fromisoformat(header.created).timestamp()),
        params=_params(header),
        tags=_tags(header, data),
        metrics=metrics,
        dataset=(project, sha256[:12]),
        samples=int(summary["samples"]),
        telemetry=thin_readings(data.telemetry),
        note=note,
        files=files,
        records=tuple(sorted(run.records_path.glob("*.jsonl"))),
    )


def key_of(protocol: str, name: str) -> str:
    """The key of a metric, in the characters that every tracker takes."""
    return _KEY.sub("_", f"{protocol.replace('/', '_')}/{name.replace('/', '_')}")


def thin_readings(readings: Sequence[Reading]) -> list[tuple[float, Mapping[str, float]]]:
    """Telemetry at most once a second, and at most `MAX_READINGS` over the run."""
    interval = max(READING_INTERVAL_S, readings[-1].t / MAX_READINGS) if readings else READING_INTERVAL_S
    kept: list[tuple[float, Mapping[str, float]]] = []
    for one in readings:
        if kept and one.t < kept[-1][0] + interval:
            continue
        named = {
            "cpu_percent": one.cpu_percent,
            "worker_memory_mb": one.worker_memory_mb,
            "gpu_percent": one.gpu_percent,
            "gpu_memory_mb": one.gpu_memory_mb,
            "power_w": one.power_w,
        }
        values = {f"telemetry/{name}": value for name, value in named.items() if value is not None}
        if values:
            kept.append((one.t, values))
    return kept


def write_note(data: RunData) -> str:
    """What a person reads first: the data, every metric with n and interval, and what makes the numbers special."""
    assert data.header is not None
    assert data.metrics is not None
    header, summary = data.header, data.metrics
    lines = [
        f"**{header.model}** ({header.variant}), run `{header.run}`: {header.coverage}.",
        "",
        "| metric | value | 95 % interval | n | protocol |",
        "|---|---:|---|---:|---|",
    ]
    for one in data.measured:
        value = "undefined" if one.value is None else f"{one.value:.4f}"
        between = "" if one.interval is None else f"{one.interval[0]:.4f} to {one.interval[1]:.4f}"
        lines.append(f"| {one.name} | {value} | {between} | {one.n} | {one.protocol} |")
    lines.append("")
    if summary["failed_samples"]:
        lines.append(f"{summary['failed_samples']} of {summary['samples']} samples failed.")
    if header.random_weights:
        lines.append(f"The weights are random ({header.random_weights}): the values say nothing about {header.model}.")
    if data.latency is not None:
        why = f": {'; '.join(data.latency.reasons)}" if data.latency.reasons else ""
        lines.append(f"Latency: {data.latency.verdict}{why}.")
    lines += [str(note) for note in summary.get("notes", ())]
    return "\n".join(lines).rstrip() + "\n"


def _latency(data: RunData) -> dict[str, float]:
    """Times [s] and rates where the verdict on them is VALID; else the note says why not."""
    latency = data.latency
    if latency is None or latency.verdict != "VALID":
        return {}
    times = {f"inference_p{100 * one.percentile:g}_s": one.value_s for one in latency.inference.percentiles}
    named = {"inference_mean_s": latency.inference.mean_s, "inference_fps": latency.inference_fps, **times}
    return {key_of(LATENCY, name): value for name, value in named.items() if value is not None}


def _params(header: RunHeader) -> dict[str, str]:
    """The few settings that people sort runs by."""
    device = header.device.name if header.device is not None else header.gpu or header.device_kind
    params = {
        "model": header.model,
        "variant": header.variant,
        "device": device,
        "workers": str(header.options.get("workers", "")),
        "precision": str(header.settings.get("precision", "")),
        "runtime": header.runtime,
        "checkpoint": header.random_weights or header.provenance.checkpoint or "",
    }
    return {name: value for name, value in params.items() if value}


def _tags(header: RunHeader, data: RunData) -> dict[str, str]:
    tags = {
        "admlops.run": header.run,
        "admlops.version": __version__,
        "admlops.environment": header.environment.digest,
        "admlops.adapter": header.adapter,
        "admlops.commit": header.provenance.commit or "",
        "admlops.synthetic": "yes" if header.data.synthetic else "",
        "admlops.random_weights": header.random_weights or "",
        "latency.verdict": "" if data.latency is None else data.latency.verdict,
    }
    return {name: value for name, value in tags.items() if value}


def _kind(header: RunHeader) -> str:
    return "nuScenes" if header.data.version.startswith("v1.0-") else "OpenLane-V2"


def _digest(note: str, files: Sequence[Path]) -> str:
    """Over the content of the files whose change matters; `report.html` and `manifest.json` follow from them."""
    digest = hashlib.sha256(note.encode())
    for path in files:
        if path.name in ("run.json", "metrics.json"):
            digest.update(path.read_bytes())
    return digest.hexdigest()
