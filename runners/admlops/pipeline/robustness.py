"""Models under faults of their sensors: a grid of runs that can be stopped and resumed, and its summary.

Each cell is an ordinary run with a name of its own, evaluated as any other. What is complete and evaluated is not done
again, so the same command goes on after a stop, and with more faults makes the grid larger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from admlops.catalog import load_model
from admlops.core.errors import RunFailedError, StoppedError, UsageError
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.core.types import Planned, Say
from admlops.deployment.engines import split_contender
from admlops.evaluation.corrupted import fault_of, fault_suffix
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.robustness.published import BASELINE, BASELINE_NDS
from admlops.evaluation.robustness.scores import difference, rate, resampled_mce, resampled_mrr
from admlops.evaluation.statistics.bootstrap import Values, interval
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun, read_evaluated
from admlops.pipeline.run import prepare, run_plan
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_watch import OnProgress
from admlops.results.data_set import open_run_data
from admlops.results.run_folder import RunFolder
from admlops.worker.corruptions.fault import LEVELS, NAMES, PICTURES, Fault

SCHEMA = 1
SUMMARY_FILE = "robustness.json"
SCORES = {
    "nuscenes.detection_cvpr_2019": "NDS",
    "maptr.chamfer-60x30-0.5_1.0_1.5": "mAP",
    "openlanev2.1.1": "OLS",
}
"""The score of each protocol that rates are made of, in the order of preference."""
WHOLE_VAL = 6019


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid: a model with whole sensors (`fault` None) or with a fault."""

    model: str
    fault: Fault | None
    run: str


def list_cells(name: str, models: Sequence[str], faults: Sequence[str], levels: Sequence[int], seed: int) -> list[Cell]:
    """List the cells of a grid: for each model the clean run, then each fault at each level.

    Raises:
        UsageError: there is no such fault or level.
    """
    for fault in faults:
        if fault not in NAMES:
            raise UsageError(f"--fault {fault} is none; there are {', '.join(NAMES)}", hint="pass --fault fog")
    wrong = next((level for level in levels if level not in LEVELS), None)
    if wrong is not None:
        raise UsageError(f"--level {wrong} is not one of 1, 2, 3", hint="leave --level out for all three")
    cells = []
    for model in models:
        label = model.replace("@", "-").replace(":", "-").replace("/", "-")
        cells.append(Cell(model=model, fault=None, run=f"{name}-{label}-clean"))
        cells += [
            Cell(model=model, fault=(one := Fault(fault, level, seed)), run=f"{name}-{label}-{one.name}-{one.level}")
            for fault in faults
            for level in levels
        ]
    return cells


def check_baseline(models: Sequence[str], baseline: str | None) -> None:
    """Raise UsageError for a baseline that is no model of the grid, before hours of runs."""
    if baseline is not None and baseline not in models:
        raise UsageError(
            f"--baseline {baseline} is none of the models of the grid: {', '.join(models)}",
            hint=f"pass --baseline {models[0]}, or leave it out for the published DETR3D",
        )


def preview_grid(layout: Layout, cells: Sequence[Cell]) -> list[Planned]:
    """Say which cells are there and which would run."""
    return [
        Planned(
            action="take" if is_done(layout, cell) else "run",
            target=cell.run,
            detail=f"{cell.model} with {'whole sensors' if cell.fault is None else cell.fault.label}",
        )
        for cell in cells
    ]


def run_grid(
    layout: Layout,
    cells: Sequence[Cell],
    request: RunRequest,
    *,
    say: Say,
    show_progress: Callable[[], AbstractContextManager[OnProgress]],
) -> list[tuple[Cell, RunFolder]]:
    """Run and evaluate what is missing; returns every cell's run.

    Raises:
        AdmlopsError: a model cannot run, or a run with a cell's name is of something else; what is done is kept.
        StoppedError: it was stopped.
    """
    done = []
    for number, cell in enumerate(cells, 1):
        path = layout.runs / cell.run
        if not is_done(layout, cell):
            say(f"{number} of {len(cells)}: {cell.run}")
            _run_cell(layout, cell, request, say=say, show_progress=show_progress)
        folder = RunFolder.open(path)
        require_fault(folder, cell)
        if not folder.metrics_path.is_file():
            with folder.lock():
                evaluate_run(folder, open_run_data(folder.header.data), layout=layout, say=_silent)
                folder.write_manifest()
        done.append((cell, folder))
    _require_one_data_set(done)
    return done


def is_done(layout: Layout, cell: Cell) -> bool:
    """Tell whether a cell's run is there and complete."""
    path = layout.runs / cell.run
    return (path / "run.json").is_file() and RunFolder.open(path).header.state == "complete"


def require_fault(folder: RunFolder, cell: Cell) -> None:
    """Raise UsageError where a run that has a cell's name had another fault."""
    if fault_of(folder.header) != cell.fault:
        raise UsageError(
            f"run {cell.run} is there, and its sensors had {fault_of(folder.header) or 'no fault'}, not {cell.fault}",
            hint="pass --name with another name",
        )


def stopped() -> StoppedError:
    """Say that a person stopped the grid, and how it goes on."""
    return StoppedError("the grid was stopped", hint="type the same command again: it goes on where it was")


def _run_cell(
    layout: Layout,
    cell: Cell,
    request: RunRequest,
    *,
    say: Say,
    show_progress: Callable[[], AbstractContextManager[OnProgress]],
) -> None:
    model, engine = split_contender(cell.model)
    path = layout.runs / cell.run
    asked = replace(
        request,
        model=model,
        engine=engine or request.engine,
        corrupt=cell.fault,
        name=cell.run,
        resume=(path / "run.json").is_file(),
    )
    with show_progress() as watch:
        plan = prepare(layout, asked, say=_silent, model=load_model(layout, model))
        _, summary = run_plan(layout, plan, asked, say=_silent, on_progress=watch)
    if summary.state == "cancelled":
        raise stopped()
    if summary.state != "complete":
        reason = summary.stopped_by.summary if summary.stopped_by else "see its log"
        raise RunFailedError(f"run {cell.run} ended {summary.state}: {reason}", hint=f"less {path}/logs/worker-0.log")


def _require_one_data_set(done: Sequence[tuple[Cell, RunFolder]]) -> None:
    digests = {folder.header.data.samples_sha256 for _, folder in done}
    if len(digests) > 1:
        raise UsageError(
            "the runs of this grid are over different samples, so their scores do not make one table",
            hint="pass the --data, --split and --limit that it began with, or --name with another name",
        )


def summarize_grid(name: str, done: Sequence[tuple[Cell, RunFolder]], *, baseline: str | None) -> dict[str, Any]:
    """Return what robustness.json holds.

    Args:
        baseline: a model of the grid that corruption errors are relative to; None for RoboBEV's DETR3D.
    """
    models = list(dict.fromkeys(cell.model for cell, _ in done))
    tables = {model: _Table.of([(cell, run) for cell, run in done if cell.model == model]) for model in models}
    first = done[0][1].header.data
    is_whole = first.split == "val" and not first.synthetic and first.whole_samples == WHOLE_VAL
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "name": name,
        "data": {"root": first.root, "version": first.version, "split": first.split, "synthetic": first.synthetic},
        "samples_sha256": first.samples_sha256,
        "faults": list(dict.fromkeys(cell.fault.name for cell, _ in done if cell.fault is not None)),
        "levels": sorted({cell.fault.level for cell, _ in done if cell.fault is not None}),
        "baseline": baseline or BASELINE,
        "comparable_with_published": False,
        "complete": set(PICTURES) <= {cell.fault.name for cell, _ in done if cell.fault is not None}
        and {cell.fault.level for cell, _ in done if cell.fault is not None} == set(LEVELS),
        "why": "the noise is drawn otherwise than the benchmark's"
        + ("" if is_whole else ", and the samples are not nuScenes' validation set: mCE against DETR3D says nothing"),
        "models": {model: tables[model].to_json(tables.get(baseline or "")) for model in models},
        "pairs": _pairs(tables, tables.get(baseline or "")),
    }
    return summary


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write robustness.json and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SUMMARY_FILE
    write_atomically(path, (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())
    return path


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The scores of one model: by protocol the clean one, and by fault those at each level."""

    runs: Mapping[str, str]
    clean: Mapping[str, float]
    cells: Mapping[str, Mapping[str, Mapping[int, float]]]
    clean_resamples: Mapping[str, Values]
    cell_resamples: Mapping[str, Mapping[str, Mapping[int, Values]]]

    @classmethod
    def of(cls, done: Sequence[tuple[Cell, RunFolder]]) -> _Table:
        clean: dict[str, float] = {}
        cells: dict[str, dict[str, dict[int, float]]] = {}
        clean_resamples: dict[str, Values] = {}
        cell_resamples: dict[str, dict[str, dict[int, Values]]] = {}
        runs = {}
        for cell, folder in done:
            evaluated = read_evaluated(folder)
            suffix = fault_suffix(folder.header)
            label = "clean" if cell.fault is None else cell.fault.label
            runs[label] = folder.path.name
            for protocol, metric in SCORES.items():
                value, resamples = _find(evaluated, protocol + suffix, metric)
                if value is None:
                    continue
                if cell.fault is None:
                    clean[protocol] = value
                    if resamples is not None:
                        clean_resamples[protocol] = resamples
                    continue
                cells.setdefault(protocol, {}).setdefault(cell.fault.name, {})[cell.fault.level] = value
                if resamples is not None:
                    own = cell_resamples.setdefault(protocol, {}).setdefault(cell.fault.name, {})
                    own[cell.fault.level] = resamples
        return cls(runs=runs, clean=clean, cells=cells, clean_resamples=clean_resamples, cell_resamples=cell_resamples)

    def mrr_resamples(self, protocol: str) -> Values | None:
        """The mean resilience rate over RoboBEV's faults in each resample; None without resamples."""
        clean = self.clean_resamples.get(protocol)
        return None if clean is None else resampled_mrr(clean, self.resampled_grid(protocol))

    def mce_resamples(self, protocol: str, baseline: _Table | None) -> Values | None:
        """The mean corruption error over RoboBEV's faults in each resample; None without resamples or a baseline."""
        other = _base(protocol, None) if baseline is None else baseline.resampled_grid(protocol)
        return None if other is None else resampled_mce(self.resampled_grid(protocol), other)

    def grid(self, protocol: str) -> dict[str, list[float]]:
        """By fault, the scores at each level in their order."""
        return {name: [row[level] for level in sorted(row)] for name, row in self.cells.get(protocol, {}).items()}

    def resampled_grid(self, protocol: str) -> dict[str, list[Values]]:
        """By fault of RoboBEV, the resamples at each level in their order."""
        rows = self.cell_resamples.get(protocol, {})
        return {name: [row[level] for level in sorted(row)] for name, row in rows.items() if name in PICTURES}

    def to_json(self, baseline: _Table | None) -> dict[str, Any]:
        """The scores and rates by protocol; `baseline` is the grid's own, None for RoboBEV's."""
        scores = {}
        for protocol, clean in self.clean.items():
            cells, grid = self.cells.get(protocol, {}), self.grid(protocol)
            rates = rate(
                clean, {name: row for name, row in grid.items() if name in PICTURES}, _base(protocol, baseline)
            )
            scores[protocol] = {
                "metric": SCORES[protocol],
                "clean": clean,
                "cells": {name: {str(level): value for level, value in row.items()} for name, row in cells.items()},
                "worst": min((value for row in grid.values() for value in row), default=None),
                **rates.to_json(),
                "mRR_interval": _percent_interval(self.mrr_resamples(protocol)),
                "mCE_interval": _percent_interval(self.mce_resamples(protocol, baseline)),
                "other_RR": rate(clean, {n: row for n, row in grid.items() if n not in PICTURES}).to_json()["RR"],
            }
        return {"runs": dict(self.runs), "scores": scores}


def _percent_interval(resamples: Values | None) -> list[float] | None:
    between = None if resamples is None else interval(resamples)
    return None if between is None else [100 * end for end in between]


def _base(protocol: str, baseline: _Table | None) -> dict[str, list[float]] | None:
    if baseline is not None:
        return baseline.grid(protocol)
    return {name: list(row) for name, row in BASELINE_NDS.items()} if SCORES[protocol] == "NDS" else None


def _find(run: EvaluatedRun, protocol: str, metric: str) -> tuple[float | None, Values | None]:
    value = next((one.value for one in run.metrics if (one.protocol, one.name) == (protocol, metric)), None)
    return value, run.resamples.get((protocol, metric))


def _pairs(tables: Mapping[str, _Table], baseline: _Table | None) -> list[dict[str, Any]]:
    """Every two models: the difference of each of their mean rates, in pairs of resamples."""
    found = []
    for first, second in combinations(tables, 2):
        for protocol in SCORES:
            rates = {
                "mRR": [tables[name].mrr_resamples(protocol) for name in (first, second)],
                "mCE": [tables[name].mce_resamples(protocol, baseline) for name in (first, second)],
            }
            for name, (a, b) in rates.items():
                if a is not None and b is not None and len(a) == len(b):
                    pair = {"a": first, "b": second, "protocol": protocol, "rate": name}
                    found.append({**pair, **difference(100 * a, 100 * b)})
    return found


def _silent(_line: str) -> None:
    """Say nothing: the grid itself says which of its dozens of runs it is at."""
