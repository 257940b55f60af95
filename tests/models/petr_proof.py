"""What the proofs of PETR and StreamPETR share: running both ways in a model's environment, and comparing them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.evaluation.submissions import submit
from tests.models.both_ways import LAYOUT, SEED, VARIANTS, Arrays, differences, find_environment, run_inside
from tests.models.petr_arrays import known_boxes

from admlops.catalog import load_model
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.protocols import NUSCENES
from admlops.results.record import Metadata, Outputs, Record
from admlops.results.record_json import make_record
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.worker.mmlab.common.boxes import detection_records

BETWEEN_STACKS = 1e-3
"""The largest absolute difference between the classic and the modern variant: metres, m/s, radians, or scores."""
SUBMISSION_TOLERANCE = 1e-5
"""The same between records and upstream's submission, made of one network's output: metres, m/s."""


@dataclass(frozen=True)
class Scenes:
    """Two synthetic scenes in pictures of nuScenes' size, and a folder for what is found on them."""

    root: Path
    data: NuScenes
    folder: Path

    def run(
        self, model: str, variant: str, way: str, tokens: Sequence[str], config: str = "", calls: int | None = None
    ) -> Path:
        """The folder of what petr_`way`.py writes for these samples; it runs once for each model and variant.

        The network is called for the last `calls` samples, or for all. One checkpoint is drawn for a configuration, by
        whichever variant comes first.
        """
        name = Path(config).stem or model
        folder = self.folder / f"{name}-{variant}"
        if (folder / f"{way}.npz").is_file():
            return folder
        found = find_environment(model, variant)
        folder.mkdir(exist_ok=True)
        wanted = {"model": model, "config": config, "draw": SEED, "tokens": list(tokens), "dataroot": str(self.root)}
        wanted |= {"checkpoint": str(self.folder / f"{name}.pth"), "folder": str(folder)}
        wanted |= {"calls": len(tokens) if calls is None else calls}
        run_inside(found, f"petr_{way}.py", wanted)
        return folder


def make_scenes(
    folder: Path, *, scenes: int = 2, samples: int = 2, camera_sweeps: int = 0, scale: float = 1.0
) -> Scenes:
    """Scenes of mini_val, indexed; `scale` is the size of pictures as a share of nuScenes' own."""
    root = folder / "nuscenes"
    synthesize(
        root,
        SynthesisOptions(
            scenes=scenes, samples=samples, seed=1, lidar_sweeps=1, camera_sweeps=camera_sweeps, scale=scale
        ),
    )
    build_index(root, "v1.0-mini", say=print)
    return Scenes(root, NuScenes(root, "v1.0-mini"), folder)


def check_agreement(scenes: Scenes, model: str, tokens: Sequence[str]) -> None:
    """The classic and the modern variant find the same in these samples."""
    modern, classic = (np.load(scenes.run(model, variant, "ours", tokens) / "ours.npz") for variant in VARIANTS)
    found = differences(modern, classic)
    print(json.dumps(found))
    assert found["img"] == 0.0
    assert max(found["classes"], found["codes"], found["scores_3d"]) <= BETWEEN_STACKS
    assert unordered_difference(modern, classic) <= BETWEEN_STACKS


def unordered_difference(a: Arrays, b: Arrays) -> float:
    """The largest absolute difference of decoded boxes, each to the most similar one of its class; both ways.

    Boxes are sorted by score, and scores that differ in the last digit change places. Boxes within 1e-5 of the lowest
    score may be in one list alone, so they are not asked for. An angle counts the short way around.
    """
    worst = 0.0
    for one, other in ((a, b), (b, a)):
        for prefix in {key.partition("/")[0] for key in one if key.endswith("boxes_3d")}:
            rows, labels, scores = (one[f"{prefix}/{name}"] for name in ("boxes_3d", "labels_3d", "scores_3d"))
            candidates, others = other[f"{prefix}/boxes_3d"], other[f"{prefix}/labels_3d"]
            sure = scores > scores.min() + 1e-5
            for row, label in zip(rows[sure], labels[sure], strict=True):
                apart = np.abs(candidates[others == label].astype(np.float64) - row)
                apart[:, 6] = np.abs((apart[:, 6] + np.pi) % (2 * np.pi) - np.pi)
                worst = max(worst, float(apart.max(axis=1).min(initial=np.inf)))
    return worst


def compare_submissions(scenes: Scenes, folder: Path) -> int:
    """What the network found, as the adapter and the host make a submission of it, against upstream's submission.

    Returns how many boxes were compared.
    """
    return _compare(scenes, json.loads((folder / "ours.json").read_text()), folder / "submission")


def compare_known_boxes(scenes: Scenes, folder: Path, model: str) -> int:
    """The same for known boxes: position, size, yaw and velocity of the model's convention."""
    described = load_model(LAYOUT, model)
    tokens = json.loads((folder / "ours.json").read_text())
    known, classes = known_boxes(), described.classes["detection_3d"]
    assert described.box_convention is not None
    outputs = {
        token: {"detections_3d": detection_records(known, classes, scenes.data.sample(token), described.box_convention)}
        for token in tokens
    }
    return _compare(scenes, outputs, folder / "known")


def _compare(scenes: Scenes, outputs: Mapping[str, Any], theirs_in: Path) -> int:
    """Outputs by token as the host's submission, against upstream's, which leaves out what is out of range."""
    records = [as_record(token, found) for token, found in outputs.items()]
    samples = {token: scenes.data.sample(token) for token in outputs}
    ours = submit(records, samples)
    theirs = json.loads(next(theirs_in.glob("*/results_nusc.json")).read_text())["results"]
    assert set(ours) == set(theirs)
    compared = 0
    for record in records:
        token = record.metadata.sample_token
        mine = [box for box, found in zip(ours[token], record.detections_3d or [], strict=True) if in_range(found)]
        assert len(mine) == len(theirs[token])
        for a, b in zip(mine, theirs[token], strict=True):
            compare_boxes(a, b)
        compared += len(mine)
    return compared


def compare_boxes(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """One box of two submissions. A quaternion and its negative are one rotation."""
    for key in ("translation", "size", "velocity", "detection_score"):
        assert np.allclose(a[key], b[key], rtol=0.0, atol=SUBMISSION_TOLERANCE), key
    assert abs(float(np.dot(a["rotation"], b["rotation"]))) == pytest.approx(1.0, abs=1e-9)
    assert a["detection_name"] == b["detection_name"]
    if abs(float(np.hypot(*b["velocity"])) - 0.2) > 1e-3:  # the speed that decides
        assert a["attribute_name"] == b["attribute_name"]


def in_range(detection: Any) -> bool:
    """Whether the evaluation counts boxes of this class as far away as this."""
    limit = (NUSCENES.class_range_m or {})[detection.class_name]
    return float(np.hypot(*detection.bbox_3d.center[:2])) <= limit


def as_record(token: str, outputs: Mapping[str, Any]) -> Record:
    metadata = Metadata(
        model_name="M", variant="modern", run="r", sample_token=token, scene="s", index_in_scene=0, status="ok"
    )
    return make_record(metadata, msgspec.convert(outputs, Outputs))


def convert_car(adapter: Any, shape: Sequence[float]) -> Any:
    """The record's box for a car 10 m ahead of the LiDAR and 3 m to its right; `shape` is three extents and yaw."""
    ego = {"translation": [500.0, 900.0, 0.0], "rotation_wxyz": [0.6, 0.0, 0.0, 0.8]}
    mounting = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [0.5**0.5, 0.0, 0.0, -(0.5**0.5)]}
    row = np.array([[3.0, 10.0, -1.8, *shape, 1.0, 2.0]], dtype=np.float32)
    decoded = {
        "boxes_3d": SimpleNamespace(tensor=row),
        "scores_3d": np.array([0.75], np.float32),
        "labels_3d": np.array([0]),
    }
    adapter._config = SimpleNamespace(class_names=["car", "truck"])
    outputs = adapter.convert(
        [{"pts_bbox": decoded}], {"ego2global": ego, "lidar": {"sensor2ego": mounting, "ego2global": ego}}
    )
    (detection,) = msgspec.convert(outputs, Outputs).detections_3d or []
    assert (detection.class_name, detection.confidence) == ("car", 0.75)
    return detection.bbox_3d
