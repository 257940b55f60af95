"""Lane graphs in a file of plain arrays, as the official OpenLane-V2 evaluators in environments of their own read them.

For each side, `truth` and `prediction`, one after another over all frames: `lanes` and `elements`, how many each frame
has; `points` (N, 3) of all lanes and `lane_sizes`, how many points each lane has; `boxes` (E, 4) and `attributes`; the
matrices `lane_to_lane` and `lane_to_traffic`, row by row; for predictions `lane_confidences` and `element_confidences`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from admlops.core.paths import Layout
from admlops.environments import Environment
from admlops.evaluation.base import Result
from admlops.evaluation.lane_graph.evaluation import FrameTable
from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth, as_array
from admlops.evaluation.lane_graph.protocols import METRICS, OPENLANE_1_0, OPENLANE_1_1, PROTOCOLS
from admlops.evaluation.official.program import ask_program
from admlops.evaluation.official.run import Asked, Official

OFFICIAL_NAMES = {OPENLANE_1_0: "openlanev2-1.0", OPENLANE_1_1: "openlanev2"}
"""The folder under envs/official of the devkit that computes each protocol."""

PROGRAM = "openlanev2/evaluate.py"
"""The program that runs in either environment."""

Arrays = dict[str, NDArray[np.generic]]


def run_devkit(asked: Asked, result: Result) -> Official:
    """Ask OpenLane-V2's devkit of the protocol about the run's frames."""
    context = asked.context
    (protocol,) = (name for name in PROTOCOLS if result.protocol.startswith(name))
    frames = context.share("lane_graph.frames", lambda: FrameTable(context)).frames
    theirs = official_lane_graphs(
        frames or [],
        protocol=protocol,
        environment=asked.environment(OFFICIAL_NAMES[protocol]),
        layout=asked.layout,
        folder=context.run.predictions_path,
    )
    return asked.answer(result, {name: theirs[name] for name in METRICS})


def write_frames(path: Path, frames: Sequence[tuple[LaneTruth, LanePrediction]]) -> None:
    """Write frames for an official evaluator."""
    arrays = _side("truth", [truth for truth, _ in frames])
    predictions = [prediction for _, prediction in frames]
    arrays |= _side("prediction", predictions)
    for name in ("lane_confidences", "element_confidences"):
        arrays[f"prediction_{name}"] = np.concatenate([getattr(frame, name) for frame in predictions])
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _side(side: str, frames: Sequence[LaneTruth]) -> Arrays:
    lanes = [np.asarray(lane) for frame in frames for lane in frame.lanes]
    return {
        f"{side}_lanes": np.array([len(frame.lanes) for frame in frames], dtype=np.int64),
        f"{side}_elements": np.array([len(frame.elements) for frame in frames], dtype=np.int64),
        f"{side}_lane_sizes": np.array([len(lane) for lane in lanes], dtype=np.int64),
        f"{side}_points": np.concatenate([np.zeros((0, 3), np.float32), *lanes]),
        f"{side}_boxes": np.concatenate([np.zeros((0, 4), np.float32), *(frame.elements for frame in frames)]),
        f"{side}_attributes": np.concatenate([np.zeros(0, np.int64), *(frame.attributes for frame in frames)]),
        f"{side}_lane_to_lane": _flat([as_array(frame.lane_to_lane, width=0) for frame in frames]),
        f"{side}_lane_to_traffic": _flat([as_array(frame.lane_to_traffic, width=0) for frame in frames]),
    }


def _flat(matrices: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
    return np.concatenate([np.zeros(0, np.int8), *(matrix.ravel() for matrix in matrices)])


def official_lane_graphs(
    frames: Sequence[tuple[LaneTruth, LanePrediction]],
    *,
    protocol: str,
    environment: Environment,
    layout: Layout,
    folder: Path,
    timeout_s: float = 7200.0,
) -> dict[str, float]:
    """What the official devkit of a protocol says of the same frames: OLS and its parts, and the `seconds` it took, by
    the clock and, `cpu_seconds`, of the processor.

    Args:
        environment: `environments.ensure_official(layout, OFFICIAL_NAMES[protocol])`.
        folder: where the input and output files stay.

    Raises:
        EnvError: the devkit failed; the message ends with what it said last.
    """
    name = OFFICIAL_NAMES[protocol]
    given, result = folder / f"{name}_frames.npz", folder / f"{name}_result.json"
    write_frames(given, frames)
    program = layout.envs / "official" / PROGRAM
    answer = ask_program(
        "the official OpenLane-V2 evaluator",
        [environment.python, program, "--frames", given],
        result=result,
        variables=environment.variables,
        timeout_s=timeout_s,
    )
    values = json.loads(answer)
    return {key: float(values[key]) for key in ("OLS", "DET_l", "DET_t", "TOP_ll", "TOP_lt", "seconds", "cpu_seconds")}
