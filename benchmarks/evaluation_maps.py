"""Vector maps at the size of nuScenes' validation set: our evaluation and MapTR's own, on the same vectors.

MapTR's side runs its checked-out code (submodules/MapTR, or $ADMLOPS_UPSTREAM/MapTR) in one process, by default on the
first 60 samples: every sample costs it the same. Both times begin with vectors in memory. Ours has two threads.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from benchmarks.evaluation_row import Row, best_of, describe_share, official_timing
from tests.evaluation.generated_maps import found_of, generate_maps, truth_of
from tests.evaluation.upstream import find_checkout, how_to_get

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.vector_map import MapVector
from admlops.environments import ensure_official
from admlops.evaluation.vector_map.element_table import Predictions
from admlops.evaluation.vector_map.official_files import OFFICIAL_NAME, official_map
from admlops.evaluation.vector_map.protocols import CHAMFER, IOU, MapProtocol
from admlops.evaluation.vector_map.scores import evaluate_elements

OFFICIAL_SAMPLES = 60

Found = dict[str, dict[str, Predictions]]
Truth = dict[str, list[MapVector]]


def run(samples: int, folder: Path, *, official: bool = True, official_samples: int | None = None) -> Iterator[Row]:
    """One line for the Chamfer AP and one for the IoU variant; what the official side takes goes to `folder`."""
    predictions, elements = generate_maps(samples, seed=20)
    found, truth = found_of(predictions, CHAMFER.classes), truth_of(elements)
    del predictions, elements
    count = min(samples, official_samples or OFFICIAL_SAMPLES) if official else 0
    for protocol in (CHAMFER, IOU):
        yield _row(found, truth, protocol, folder, count)


def _row(found: Found, truth: Truth, protocol: MapProtocol, folder: Path, count: int) -> Row:
    ours, _ = best_of(lambda: evaluate_elements(found, truth, protocol=protocol))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    name = "map AP (Chamfer)" if protocol is CHAMFER else "map AP (IoU)"
    row = Row(name=name, ours=ours, peak_mb=peak_mb)
    checkout = find_checkout("MapTR")
    if not count or checkout is None:
        return row if not count else Row(name=name, ours=ours, peak_mb=peak_mb, note=how_to_get("MapTR"))
    layout = find_layout()
    try:
        environment = ensure_official(layout, OFFICIAL_NAME, say=lambda _: None)
    except EnvError as error:
        return Row(name=name, ours=ours, peak_mb=peak_mb, note=f"MapTR's evaluator: {error.message}")
    some = {token: found[token] for token in list(found)[:count]}
    load = os.getloadavg()[0]
    theirs = official_map(
        some,
        truth,
        protocol=protocol,
        python=environment.python,
        variables=environment.variables,
        checkout=checkout,
        layout=layout,
        folder=folder,
    )
    result = evaluate_elements(some, truth, protocol=protocol)
    differences = [
        abs(curve.ap - theirs.ap[kind][str(threshold)])
        for kind, curves in result.curves.items()
        for threshold, curve in curves.items()
    ]
    said = {"seconds": theirs.seconds, "cpu_seconds": theirs.cpu_seconds}
    return Row(
        name=name,
        ours=ours,
        official=official_timing(said, load=load, factor=len(found) / count),
        measured=describe_share(count, len(found), "samples"),
        max_abs_difference=max(differences),
        peak_mb=peak_mb,
        note=f"official: {theirs.seconds:.1f} s, {1e3 * theirs.cpu_seconds / count:.0f} ms CPU a sample; "
        f"shapely {theirs.shapely}",
    )
