"""Map vectors in a file, as MapTR's own evaluator in envs/official/maptr reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from admlops.datasets.vector_map import MapVector
from admlops.errors import EnvError
from admlops.evaluation.map_predictions import Predictions
from admlops.evaluation.vector_map import MapProtocol
from admlops.paths import Layout
from admlops.processes import run

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
    result.unlink(missing_ok=True)  # of an earlier evaluation, so that a failure leaves no old answer behind
    program = layout.envs / "official" / OFFICIAL_NAME / "evaluate.py"
    command: list[str | Path] = [
        python,
        program,
        "--vectors",
        vectors,
        "--maptr",
        checkout,
        "--out",
        result,
    ]
    completed = run(command, variables=variables, timeout_s=timeout_s)
    if completed.returncode != 0:
        said = completed.stderr.strip().splitlines()
        raise EnvError(
            f"MapTR's evaluator failed ({completed.returncode}): {said[-1] if said else 'no message'}",
            hint="to see all of it: " + " ".join(str(argument) for argument in command),
        )
    return msgspec.json.decode(result.read_bytes(), type=OfficialMap)


def _found(own: Mapping[str, Predictions], index: Mapping[str, int]) -> list[tuple[int, object, float]]:
    return [
        (number, line.tolist(), confidence)
        for name, number in index.items()
        for line, confidence in zip(own[name].lines, own[name].confidences.tolist(), strict=True)
    ]
