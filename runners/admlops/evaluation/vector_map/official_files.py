"""Map vectors in a file, as MapTR's own evaluator in envs/official/maptr reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from admlops.core.paths import Layout
from admlops.datasets.nuscenes.vector_map import MapVector
from admlops.evaluation.base import Result
from admlops.evaluation.official.program import ask_program
from admlops.evaluation.official.run import Asked, Official
from admlops.evaluation.vector_map.element_table import ElementTable, Predictions
from admlops.evaluation.vector_map.protocols import PROTOCOLS, MapProtocol
from admlops.evaluation.vector_map.scores import map_truth, predictions_of

OFFICIAL_NAME = "maptr"
CHECKOUT = "MapTR"
"""The folder of submodules/ that its code comes from."""


class OfficialMap(msgspec.Struct):
    """What MapTR's evaluator said: AP by class and threshold, and the wall and processor seconds it took."""

    ap: dict[str, dict[str, float]]
    seconds: float
    cpu_seconds: float
    numpy: str
    shapely: str


def run_maptr(asked: Asked, result: Result) -> Official:
    """Ask MapTR's evaluator about the run's elements."""
    context = asked.context
    (protocol,) = (one for one in PROTOCOLS if one.name == result.protocol.partition("@")[0])
    table = context.share("vector_map.elements", ElementTable)
    environment = asked.environment(OFFICIAL_NAME)
    theirs = official_map(
        predictions_of(table, context, protocol),
        map_truth(context, centerlines=table.has_centerlines),
        protocol=protocol,
        python=environment.python,
        variables=environment.variables,
        checkout=asked.checkout(CHECKOUT),
        layout=asked.layout,
        folder=context.run.predictions_path,
    )
    aps = {f"AP_{name}": float(np.mean(list(own.values()))) for name, own in theirs.ap.items()}
    values = {"mAP": float(np.mean(list(aps.values()))), **aps}
    return asked.answer(result, values, numpy=theirs.numpy)


def official_map(
    predictions: Mapping[str, Mapping[str, Predictions]],
    truth: Mapping[str, Sequence[MapVector]],
    *,
    protocol: MapProtocol,
    python: Path,
    variables: Mapping[str, str | None],
    checkout: Path,
    layout: Layout,
    folder: Path,
    timeout_s: float = 6 * 3600.0,
) -> OfficialMap:
    """Return what MapTR's code says of the same vectors: by sample token, in the patch frame.

    Args:
        python, variables: of `environments.ensure_official(layout, OFFICIAL_NAME)`.
        checkout: MapTR's code.
        folder: where the input and output files stay.

    Raises:
        EnvError: the evaluator failed; the message ends with what it said last.
    """
    vectors, result = folder / f"{protocol.name}_vectors.json", folder / f"{protocol.name}_result.json"
    write_vectors(vectors, predictions, truth, protocol=protocol)
    answer = ask_program(
        "MapTR's evaluator",
        official_command(layout, python, vectors, checkout),
        result=result,
        variables=variables,
        timeout_s=timeout_s,
    )
    return msgspec.json.decode(answer, type=OfficialMap)


def official_command(layout: Layout, python: Path, vectors: Path, checkout: Path) -> list[str | Path]:
    """Return the command that starts MapTR's evaluator on a file of `write_vectors`, without `--out`."""
    program = layout.envs / "official" / OFFICIAL_NAME / "evaluate.py"
    return [python, program, "--vectors", vectors, "--maptr", checkout]


def write_vectors(
    path: Path,
    predictions: Mapping[str, Mapping[str, Predictions]],
    truth: Mapping[str, Sequence[MapVector]],
    *,
    protocol: MapProtocol,
) -> None:
    """Write both sides of every sample of `predictions`, in the patch frame, as MapTR's evaluator takes them."""
    index = {name: number for number, name in enumerate(protocol.classes)}
    given = {
        "classes": protocol.classes,
        "metric": protocol.distance,
        "thresholds": protocol.thresholds,
        "predictions": [_found(own, index) for own in predictions.values()],
        "ground_truth": [
            [(index[vector.type], vector.points.tolist()) for vector in truth[token] if vector.type in index]
            for token in predictions
        ],
    }
    path.write_bytes(msgspec.json.encode(given))


def _found(own: Mapping[str, Predictions], index: Mapping[str, int]) -> list[tuple[int, object, float]]:
    return [
        (number, line.tolist(), confidence)
        for name, number in index.items()
        for line, confidence in zip(own[name].lines, own[name].confidences.tolist(), strict=True)
    ]
