"""Map vectors in a file, as MapTR's own evaluator in envs/official/maptr reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from admlops.core.paths import Layout
from admlops.datasets.nuscenes.vector_map import MapVector
from admlops.evaluation.official.program import ask_program
from admlops.evaluation.vector_map.predictions import Predictions
from admlops.evaluation.vector_map.scores import MapProtocol

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
    """What MapTR's code says of the same vectors: by sample token, in the patch frame.

    Args:
        python, variables: of `environments.ensure_official(layout, OFFICIAL_NAME)`.
        checkout: MapTR's code.
        folder: where what goes in and comes out stays.

    Raises:
        EnvError: the evaluator failed; the message ends with what it said last.
    """
    index = {name: number for number, name in enumerate(protocol.classes)}
    given = {
        "classes": protocol.classes,
        "metric": "iou" if ".iou-" in protocol.name else "chamfer",
        "thresholds": protocol.thresholds,
        "predictions": [_found(own, index) for own in predictions.values()],
        "ground_truth": [
            [(index[vector.type], vector.points.tolist()) for vector in truth[token] if vector.type in index]
            for token in predictions
        ],
    }
    vectors, result = folder / f"{protocol.name}_vectors.json", folder / f"{protocol.name}_result.json"
    vectors.write_bytes(msgspec.json.encode(given))
    program = layout.envs / "official" / OFFICIAL_NAME / "evaluate.py"
    answer = ask_program(
        "MapTR's evaluator",
        [python, program, "--vectors", vectors, "--maptr", checkout],
        result=result,
        variables=variables,
        timeout_s=timeout_s,
    )
    return msgspec.json.decode(answer, type=OfficialMap)


def _found(own: Mapping[str, Predictions], index: Mapping[str, int]) -> list[tuple[int, object, float]]:
    return [
        (number, line.tolist(), confidence)
        for name, number in index.items()
        for line, confidence in zip(own[name].lines, own[name].confidences.tolist(), strict=True)
    ]
