"""Vector maps at the size of nuScenes' validation set: our evaluation and MapTR's own, on the same vectors.

MapTR's side runs its checked-out code (submodules/MapTR, or $ADMLOPS_UPSTREAM/MapTR) in one process on the first 60
samples, and its time is scaled: it grows linearly with the samples. Both times begin with vectors in memory. `ours_s`
is wall time with two threads.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from benchmarks.evaluation_row import Row
from tests.evaluation.generated_maps import Element, Prediction, generate_maps
from tests.evaluation.upstream import find_checkout, how_to_get, official_python, run_maptr

from admlops.datasets.vector_map import MapVector
from admlops.evaluation.map_predictions import Predictions
from admlops.evaluation.vector_map import (
    CHAMFER,
    IOU,
    MapEvaluation,
    MapProtocol,
    evaluate_elements,
)

OFFICIAL_SAMPLES = 60

Samples = tuple[list[list[Prediction]], list[list[Element]]]


def run(samples: int, folder: Path, *, official: bool = True) -> list[Row]:
    """One line for the Chamfer AP and one for the IoU variant; what the official side takes goes to `folder`."""
    data = generate_maps(samples, seed=20)
    return [_row(data, protocol, folder, official) for protocol in (CHAMFER, IOU)]


def _row(data: Samples, protocol: MapProtocol, folder: Path, official: bool) -> Row:
    name = "map AP (Chamfer)" if protocol is CHAMFER else "map AP (IoU)"
    ours_s = _ours(data, protocol)[0]
    checkout = find_checkout("MapTR")
    if not official or checkout is None:
        return Row(name=name, ours_s=ours_s, note=how_to_get("MapTR") if official else "")
    python, why_not = official_python("maptr")
    part = (data[0][:OFFICIAL_SAMPLES], data[1][:OFFICIAL_SAMPLES])
    theirs = run_maptr(*part, protocol, python=python or sys.executable, checkout=checkout, folder=folder)
    _, result = _ours(part, protocol)
    differences = [
        abs(curve.ap - theirs["ap"][kind][str(threshold)])
        for kind, curves in result.curves.items()
        for threshold, curve in curves.items()
    ]
    count, all_ = len(part[0]), len(data[0])
    note = f"official: {theirs['seconds']:.1f} s for {count} samples, scaled; shapely {theirs['shapely']}"
    return Row(
        name=name,
        ours_s=ours_s,
        official_s=theirs["seconds"] * all_ / count,
        max_abs_difference=max(differences),
        note=note if python else f"{note} ({why_not})",
    )


def _ours(data: Samples, protocol: MapProtocol) -> tuple[float, MapEvaluation]:
    found = {str(index): {n: _batch(own, n) for n in protocol.classes} for index, own in enumerate(data[0])}
    truth = {str(i): [MapVector(type=kind, points=points) for kind, points in own] for i, own in enumerate(data[1])}
    start = time.perf_counter()
    result = evaluate_elements(found, truth, protocol=protocol)
    return time.perf_counter() - start, result


def _batch(found: list[Prediction], name: str) -> Predictions:
    own = [(points, confidence) for kind, points, confidence in found if kind == name]
    return Predictions(
        lines=tuple(points for points, _ in own),
        confidences=np.array([confidence for _, confidence in own], dtype=float),
        ids=tuple(range(len(own))),
    )
