"""Rows of the result tables, read from the files of a run or of a comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET

from admlops.catalog.protocols import find_metric, headlines_of
from admlops.core.errors import RecordError
from admlops.evaluation.metrics import Metric, metrics_of
from admlops.pipeline.compare import SUMMARY_FILE
from admlops.pipeline.comparison_summary import SUMMARY_SCHEMA
from admlops.results.index import read_metrics
from admlops.results.run_folder import RunFolder
from admlops.results.runs import count_failed, count_samples
from admlops.results.tags import read_tags

Row = dict[str, Any]

RUN_FILES = ("run.json", "events.jsonl", "metrics.json", "tags.json")
"""The files that decide what a run's rows say."""


def describe_files(folder: Path, names: tuple[str, ...]) -> str:
    """Say how files stand: when each was last written, and its size; equal texts mean that nothing changed."""
    said = []
    for name in names:
        try:
            status = (folder / name).stat()
        except OSError:
            said.append("-")
        else:
            said.append(f"{status.st_mtime_ns}:{status.st_size}")
    return " ".join(said)


def read_run(run: RunFolder, *, files: str) -> tuple[Row, list[Row]]:
    """Return the row of a run, and those of its metrics.

    Raises:
        RecordError: one of its files is damaged or of a newer schema.
    """
    header = run.header
    metrics = read_metrics(run)
    done, total = count_samples(run)
    precision = header.settings.get("precision")
    row = {
        "run": run.path.name,
        "model": header.model,
        "variant": header.variant,
        "engine": header.execution or None,
        "precision": precision if isinstance(precision, str) else None,
        "state": run.observe_state(),
        "created": header.created,
        "data_kind": header.data.kind,
        "data_version": header.data.version,
        "split": header.data.split,
        "samples_sha256": header.data.samples_sha256,
        "synthetic": header.data.synthetic,
        "random_weights": header.random_weights,
        "submission": None if header.submission is UNSET else header.submission.file,
        "device_kind": header.device_kind,
        "device": header.gpu if header.device is None else header.device.name,
        "environment_digest": header.environment.digest,
        "code_commit": header.provenance.commit,
        "scenes": len(header.scenes),
        "complete_scenes": len(run.complete_scenes()),
        "samples": total,
        "complete_samples": done,
        "failed_samples": count_failed(run),
        "evaluated": metrics is not None,
        "tags": ", ".join(read_tags(run)),
        "folder": str(run.path),
        "files": files,
        **_read_costs(metrics or {}),
    }
    return row, [] if metrics is None else [_metric_row(run.path.name, one) for one in metrics_of(metrics)]


def _read_costs(metrics: Mapping[str, Any]) -> Row:
    """Return latency and energy, as `metrics.json` says them."""
    latency, energy = metrics.get("latency") or {}, metrics.get("energy") or {}
    row: Row = {"latency_verdict": latency.get("verdict"), "energy_j_per_sample": energy.get("j_per_sample")}
    for name in ("inference", "end_to_end"):
        shape = latency.get(name) or {}
        median = (shape.get("percentiles") or {}).get("p50") or {}
        row[f"{name}_mean_s"] = shape.get("mean_s")
        row[f"{name}_p50_s"] = median.get("value_s")
    return row


def _metric_row(run: str, metric: Metric) -> Row:
    known = find_metric(metric.protocol, metric.name)
    low, high = metric.interval or (None, None)
    return {
        "run": run,
        "name": metric.name,
        "protocol": metric.protocol,
        "value": None if metric.value is None else float(metric.value),
        "unit": "" if known is None else known.unit,
        "higher_is_better": metric.higher_is_better,
        "headline": metric.name in headlines_of(metric.protocol),
        "n": metric.n,
        "interval_low": low,
        "interval_high": high,
        "samples_sha256": metric.dataset,
        "device": metric.device,
        "precision": metric.precision,
    }


def read_comparison(folder: Path, *, files: str) -> tuple[Row, list[Row]]:
    """Return the row of a comparison, and one for every question of every two of its models.

    Raises:
        RecordError: its summary is damaged or of a newer schema.
    """
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_bytes())
        if summary["schema"] != SUMMARY_SCHEMA:
            raise RecordError(
                f"{path} has schema {summary['schema']}; this admlops reads {SUMMARY_SCHEMA}",
                hint="git pull && make setup   # then run the command again",
            )
        row = {
            "comparison": folder.name,
            "created": summary["created"],
            "models": ", ".join(one["model"] for one in summary["models"]),
            "data_version": summary["data"]["version"],
            "synthetic": summary["data"]["synthetic"],
            "folder": str(folder),
            "files": files,
        }
        return row, list(_result_rows(folder.name, summary))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} is damaged: {type(error).__name__} {error}",
            hint=f"rm -r {folder}   # then compare anew: admlops compare --help",
        ) from error


def _result_rows(comparison: str, summary: Mapping[str, Any]) -> Iterator[Row]:
    for battle in summary.get("battles", ()):
        pair = list(battle["models"])
        paired = [one for one in summary.get("paired", ()) if one["models"] == pair]
        kept = ("metric", "protocol", "a", "b", "difference", "interval", "p_value")
        metrics = json.dumps([{key: one.get(key) for key in kept} for one in paired])
        for judgement in (battle["primary"], *battle.get("further", ())):
            low, high = judgement["interval"] or (None, None)
            yield {
                "comparison": comparison,
                "created": summary["created"],
                "question": judgement["question"],
                "model_a": pair[0],
                "model_b": pair[1],
                "run_a": battle["runs"][0],
                "run_b": battle["runs"][1],
                "verdict": judgement["verdict"],
                "winner": judgement["winner"],
                "reason": judgement["reason"],
                "metric": judgement["metric"],
                "protocol": judgement["protocol"],
                "unit": judgement["unit"],
                "higher_is_better": judgement["higher_is_better"],
                "value_a": judgement["a"],
                "value_b": judgement["b"],
                "difference": judgement["difference"],
                "interval_low": low,
                "interval_high": high,
                "p_value": judgement["p_value"],
                "n": judgement["n"],
                "metrics": metrics if judgement["question"] == "score" else "[]",
            }
