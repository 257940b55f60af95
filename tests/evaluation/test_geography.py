"""Slices by the distance to training samples: the bins, the towns, and the warning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import fabricated_nuscenes as fabricated
from tests.evaluation.generated_runs import write_run

from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.boxes import empty_boxes
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.geography import distances_to_training, note_leakage, slice_places
from admlops.results.record import Metadata

AWAY_M = (2.0, 4.0, 12.0, 300.0)


class Counts:
    """A result whose metric is the sum of sample numbers in a resample."""

    def resample(self, scenes: Any, weights: Any) -> dict[str, Any]:
        return {"sum": weights @ np.bincount(scenes, weights=np.arange(len(scenes)), minlength=weights.shape[1])}


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A run over scene-0103, whose samples lie AWAY_M from the first sample of scene-0061, a training scene."""
    monkeypatch.setattr(fabricated, "SCENES", {"scene-0061": 1, "scene-0103": len(AWAY_M)})
    root = fabricated.write_tables(tmp_path / "nuscenes")
    path = root / fabricated.VERSION / "ego_pose.json"
    poses = json.loads(path.read_text())
    trained = np.array(next(row for row in poses if "scene-0061" in row["token"])["translation"])
    own = [row for row in poses if "scene-0103" in row["token"]]
    for row, away in zip(own, AWAY_M, strict=True):
        row["translation"] = (trained + np.array([0.0, away, 0.0])).tolist()
    path.write_text(json.dumps(poses))
    data = NuScenes(root, fabricated.VERSION)
    annotations = read_annotations(root, fabricated.VERSION, data.scenes(["scene-0103"])[0].samples)
    run = write_run(tmp_path / "run", root, annotations, make_ground_truth(annotations), empty_boxes())
    found = Context(run=run, data=data, cache=tmp_path)
    found.metadata += [
        Metadata(
            model_name="m",
            variant="v",
            run="run",
            sample_token=token,
            scene="scene-0103",
            index_in_scene=n,
            status="ok",
        )
        for n, token in enumerate(annotations.samples)
    ]
    return found


def test_slices_by_distance_to_training(context: Context) -> None:
    distances = distances_to_training(context)
    assert distances is not None
    np.testing.assert_allclose(distances, AWAY_M)
    slices = slice_places(Counts(), context)  # type: ignore[arg-type]
    assert {name: row["samples"] for name, row in slices["geography"].items()} == {"< 5 m": 2, "5–20 m": 1, "> 20 m": 1}
    assert [row["sum"] for row in slices["geography"].values()] == [1.0, 2.0, 3.0]
    assert slices["town"] == {fabricated.LOCATION: {"samples": 4, "sum": 6.0}}
    assert "50 % of the samples lie within 5 m" in note_leakage(context, ["map"])[0]
    assert note_leakage(context, ["detection"]) == []


def test_a_run_over_training_scenes_has_no_distance(context: Context) -> None:
    trained = context.data.scenes(["scene-0061"])[0].samples[0]
    context.metadata[:] = [
        Metadata(
            model_name="m",
            variant="v",
            run="run",
            sample_token=trained,
            scene="scene-0061",
            index_in_scene=0,
            status="ok",
        )
    ]
    assert distances_to_training(context) is None
    assert "reason" in slice_places(Counts(), context)["geography"]  # type: ignore[arg-type]
