"""Official code for boxes in space: nuscenes-devkit, and VAD's evaluator from its repository."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from admlops.core.nuscenes_classes import CLASSES
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.environments import Environment
from admlops.evaluation.base import Result
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.nuscenes_submission import META, Results, make_submission
from admlops.evaluation.detection_3d.protocols import ERROR_NAMES
from admlops.evaluation.official.program import ask_program
from admlops.evaluation.official.run import Asked, Official

OFFICIAL_NAME = "nuscenes"
"""The folder of envs/official whose environment evaluates boxes, including VAD's."""

TIMEOUT_S = 4 * 3600.0
"""The whole of nuScenes takes minutes, on a busy machine an hour: this timeout only ends a process that hangs."""


def run_devkit(asked: Asked, result: Result) -> Official:
    """Ask nuscenes-devkit about the run's submission."""
    context = asked.context
    theirs = evaluate_submission(
        make_submission(_table(context), context.metadata, context.samples),
        dataroot=context.data.root,
        version=context.data.version,
        folder=context.run.predictions_path,
        environment=asked.environment(OFFICIAL_NAME),
        layout=asked.layout,
    )
    return asked.answer(result, summary_values(theirs["summary"]), numpy=theirs["numpy"])


def run_vad(asked: Asked, result: Result) -> Official:
    """Ask VAD's evaluator about the run's boxes."""
    context = asked.context
    theirs = evaluate_vad_boxes(
        vad_boxes(_table(context), context),
        dataroot=context.data.root,
        version=context.data.version,
        environment=asked.environment(OFFICIAL_NAME),
        checkout=asked.checkout("VAD"),
        layout=asked.layout,
        folder=context.run.predictions_path,
    )
    return asked.answer(result, summary_values(theirs["summary"]), numpy=theirs["numpy"])


def _table(context: Context) -> BoxTable:
    return context.share("detection_3d.boxes", BoxTable)


def summary_values(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Return mAP, NDS and the mean errors of the devkit's `DetectionMetrics.serialize()` by the names of papers."""
    errors = {name: summary["tp_errors"][key] for key, name in ERROR_NAMES.items()}
    return {"mAP": summary["mean_ap"], "NDS": summary["nd_score"], **errors}


def evaluate_submission(
    results: Results, *, dataroot: Path, version: str, folder: Path, environment: Environment, layout: Layout
) -> dict[str, Any]:
    """Return what the devkit says of a submission over exactly its samples; input and output stay in `folder`.

    `summary` is `DetectionMetrics.serialize()`, None for NaN; `boxes` counts those after the filters, by class.

    Args:
        folder: the run's `predictions/`.
        environment: `environments.ensure_official(layout, "nuscenes")`.

    Raises:
        EnvError: the evaluator failed; the message ends with what it said last.
    """
    predictions, tokens = folder / "nuscenes_detection.json", folder / "nuscenes_tokens.json"
    # Not by msgspec, which writes null for NaN, a velocity that is not known.
    write_atomically(predictions, json.dumps({"meta": META, "results": results}).encode())
    write_atomically(tokens, msgspec.json.encode(list(results)))
    program = layout.envs / "official" / OFFICIAL_NAME / "evaluate.py"
    command: list[str | Path] = [environment.python, program, "--dataroot", dataroot, "--version", version]
    answer = ask_program(
        "the official nuScenes evaluator",
        [*command, "--predictions", predictions, "--tokens", tokens],
        result=folder / "nuscenes_detection_result.json",
        variables={**environment.variables, "MPLBACKEND": "agg"},
        timeout_s=TIMEOUT_S,
        advice=f"check that {dataroot / version} is whole; ",
    )
    return cast("dict[str, Any]", msgspec.json.decode(answer))


def evaluate_vad_boxes(
    boxes: list[dict[str, Any]],
    *,
    dataroot: Path,
    version: str,
    environment: Environment,
    checkout: Path,
    layout: Layout,
    folder: Path,
) -> Mapping[str, Any]:
    """Return what VAD's code says of `vad_boxes`: `summary`, as nuscenes-devkit's, and the version of `numpy`.

    Args:
        environment: `environments.ensure_official(layout, "nuscenes")`.
        checkout: VAD's code.
        folder: where the input and output files stay.

    Raises:
        EnvError: the program failed; the message ends with what it said last.
    """
    given = folder / "vad_detection.json"
    write_atomically(given, msgspec.json.encode(boxes))
    program = layout.envs / "official" / OFFICIAL_NAME / "vad_detection.py"
    command: list[str | Path] = [environment.python, program, "--vad", checkout, "--samples", given]
    answer = ask_program(
        "VAD's detection metrics",
        [*command, "--dataroot", dataroot, "--version", version],
        result=folder / "vad_detection_result.json",
        variables={**environment.variables, "MPLBACKEND": "agg"},
        timeout_s=TIMEOUT_S,
    )
    values: Mapping[str, Any] = msgspec.json.decode(answer)
    return values


def vad_boxes(table: BoxTable, context: Context) -> list[dict[str, Any]]:
    """Return the samples as envs/official/nuscenes/vad_detection.py reads them, boxes in the ego frame."""
    bounds = np.searchsorted(table.sample, np.arange(table.records + 1)).tolist()
    samples = []
    for index, token in enumerate(context.tokens):
        pose = context.samples[token]["ego2global"]
        rows = range(bounds[index], bounds[index + 1])
        samples.append(
            {
                "token": token,
                "ego2global_translation": pose["translation"],
                "ego2global_rotation": pose["rotation_wxyz"],
                "boxes": [_vad_box(table, row) for row in rows],
            }
        )
    return samples


def _vad_box(table: BoxTable, row: int) -> dict[str, Any]:
    values = table.geometry[row].tolist()
    return {
        "center": values[:3],
        "size_wlh": values[3:6],
        "rotation_wxyz": values[6:10],
        "velocity": None if np.isnan(values[10]) else values[10:],
        "class_name": CLASSES[table.label[row]],
        "confidence": float(table.score[row]),
    }
