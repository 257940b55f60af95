"""nuScenes detection files of every kind: good ones, odd ones that the devkit takes, and bad ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from admlops.core.nuscenes_classes import ATTRIBUTES, CLASSES
from admlops.datasets.nuscenes.tables import NuScenes, rotation_matrix
from admlops.worker.samples.quaternions import multiply_quaternions

Row = dict[str, Any]
Results = dict[str, list[Row]]
Change = Callable[[Results, np.random.Generator], object]
"""Changes results in place; what it returns, if anything but None, is written in place of the whole file's content."""

META = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}


def predict(data: NuScenes, rng: np.random.Generator, *, noise: float = 1.0) -> Results:
    """Boxes in the global frame: the annotated ones moved a little, and some that nobody annotated."""
    return {
        token: _of_sample(data, token, rng, noise)
        for scene in data.scenes_of_split("mini_val")
        for token in scene.samples
    }


def write_file(path: Path, results: Results, change: Change, rng: np.random.Generator) -> Path:
    """Write a file with a change made to it."""
    content = change(results, rng)
    if content is None:
        content = {"meta": META, "results": results}
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def _of_sample(data: NuScenes, token: str, rng: np.random.Generator, noise: float) -> list[Row]:
    pose = data.sample(token)["ego2global"]
    turn = rotation_matrix(pose["rotation_wxyz"])
    rows = []
    for box in data.ground_truth(token):
        for _ in range(int(rng.integers(0, 3)) if noise else 1):
            center = turn @ np.array(box.center) + pose["translation"] + rng.normal(0, 0.6, 3) * noise
            name = box.class_name if rng.random() > 0.1 * noise else str(rng.choice(CLASSES))
            velocity = np.zeros(2) if box.velocity is None else turn[:2, :2] @ box.velocity
            rows.append(
                {
                    "sample_token": token,
                    "translation": center.tolist(),
                    "size": (np.array(box.size_wlh) * np.exp(rng.normal(0, 0.1, 3) * noise)).tolist(),
                    "rotation": _turned(pose["rotation_wxyz"], box.rotation_wxyz, rng.normal(0, 0.2) * noise),
                    "velocity": (velocity + rng.normal(0, 0.4, 2) * noise).tolist(),
                    "detection_name": name,
                    "detection_score": float(rng.beta(3, 2)),
                    "attribute_name": box.attribute if rng.random() > 0.2 * noise else str(rng.choice(ATTRIBUTES)),
                }
            )
    rng.shuffle(rows)
    return rows


def _turned(pose: list[float], rotation: tuple[float, ...], yaw: float) -> list[float]:
    about_z = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
    return list(multiply_quaternions(multiply_quaternions(tuple(pose), rotation), about_z))


def each(change: Callable[[Row, np.random.Generator], None]) -> Change:
    """Change every box."""

    def all_boxes(results: Results, rng: np.random.Generator) -> None:
        for rows in results.values():
            for row in rows:
                change(row, rng)

    return all_boxes


def setting(share: float = 1.0, **values: Any) -> Change:
    """Set values in a share of the boxes; a function gets the generator."""

    def change(row: Row, rng: np.random.Generator) -> None:
        if rng.random() < share:
            row.update({key: value(rng) if callable(value) else value for key, value in values.items()})

    return each(change)


def one(**values: Any) -> Change:
    """Set values in the first box there is."""

    def change(results: Results, rng: np.random.Generator) -> None:
        next(row for rows in results.values() for row in rows).update(values)

    return change


def both(*changes: Change) -> Change:
    def change(results: Results, rng: np.random.Generator) -> object:
        content: object = None
        for own in changes:
            content = own(results, rng)
        return content

    return change


def _shuffle(results: Results, rng: np.random.Generator) -> None:
    order = [list(results)[index] for index in rng.permutation(len(results))]
    for token in order:
        results[token] = results.pop(token)


def _scale_rotation(row: Row, rng: np.random.Generator) -> None:
    row["rotation"] = [float(rng.choice([-3.0, 0.2])) * value for value in row["rotation"]]


def _to_centimetres(row: Row, rng: np.random.Generator) -> None:
    row["translation"] = [round(value, 2) for value in row["translation"]]


def _without_score(row: Row, rng: np.random.Generator) -> None:
    """Take the score, which then is -1, where it does not matter: of boxes that match nothing."""
    if row["detection_name"] == "traffic_cone":
        row["translation"] = [0.0, 0.0, 0.0]
        del row["detection_score"]


def _half_unknown(row: Row, rng: np.random.Generator) -> None:
    row["velocity"] = [[math.nan, 0.1], [0.1, math.nan], [1, 2], [math.nan, math.nan]][int(rng.integers(0, 4))]


def _far_without_size(results: Results, rng: np.random.Generator) -> None:
    rows = results[list(results)[2]]
    rows.append({**rows[0], "translation": [0.0, 0.0, 0.0], "size": [0, -1, 0]})


def _without_size(results: Results, rng: np.random.Generator) -> None:
    for rows in results.values():
        for row in rows:
            row["size"] = [0.0, 1.0, 1.0]


def _few_samples(results: Results, rng: np.random.Generator) -> None:
    for token in list(results)[:3]:
        results[token] = []


def _twice(results: Results, rng: np.random.Generator) -> str:
    """The first sample is there twice: its place is the first one's, its boxes are the last ones."""
    first = next(iter(results))
    rows = json.dumps(results[first][:2])
    listed = ", ".join(f'"{token}": {json.dumps(own)}' for token, own in results.items())
    return f'{{"meta": {{}}, "results": {{{listed}, "{first}": {rows}}}}}'


def _drop(results: Results, rng: np.random.Generator) -> None:
    del results[list(results)[3]]


def _add(results: Results, rng: np.random.Generator) -> None:
    results["0" * 32] = []


def _crowd(results: Results, rng: np.random.Generator) -> None:
    token = next(iter(results))
    results[token] = (results[token] * 200)[:501]


def _empty(results: Results, rng: np.random.Generator) -> None:
    for token in results:
        results[token] = []


def _cut(results: Results, rng: np.random.Generator) -> str:
    return json.dumps({"meta": META, "results": results})[:-200]


def _nothing(results: Results, rng: np.random.Generator) -> None:
    return None


def _spaced(results: Results, rng: np.random.Generator) -> str:
    return json.dumps({"results": results, "meta": {"note": "größer"}, "more": [1, {"a": None}]}, indent=3)


TAKEN: dict[str, Change] = {
    "plain": _nothing,
    "spaced": _spaced,
    "shuffled": _shuffle,
    "rounded scores": setting(detection_score=lambda rng: round(float(rng.random()), 1)),
    "rounded and shuffled": both(setting(detection_score=lambda rng: round(float(rng.random()), 1)), _shuffle),
    "one score": both(setting(detection_score=0.25), _shuffle),
    "no confidence": setting(detection_score=0.0),
    "integers": setting(detection_score=lambda rng: int(rng.integers(0, 4)), velocity=[0, 1], size=[2, 4, 1]),
    "scores above 1": setting(detection_score=lambda rng: abs(float(rng.normal(0, 5)))),
    "huge and tiny scores": setting(detection_score=lambda rng: float(10.0 ** rng.uniform(-300, 300))),
    "unknown velocities": setting(0.5, velocity=[math.nan, math.nan]),
    "no velocity": setting(velocity=[math.nan, math.nan]),
    "half a velocity": each(_half_unknown),
    "no attribute": setting(0.6, attribute_name=""),
    "scaled rotations": each(_scale_rotation),
    "no rotation": setting(0.3, rotation=[0, 0, 0, 0]),
    "points": setting(num_pts=lambda rng: int(rng.integers(0, 3))),
    "points as text": setting(0.5, num_pts="0"),
    "a class without scores": each(_without_score),
    "scores as text": setting(0.5, detection_score=lambda rng: f" {rng.random()} "),
    "centimetres": each(_to_centimetres),
    "a far box without size": _far_without_size,
    "empty samples": _few_samples,
    "a sample twice": _twice,
    "more keys": setting(tracking_id="a", fut_traj=[[1.0]], nested={"a": [None]}),
}
"""By name, what the devkit takes."""

REFUSED: dict[str, Change] = {
    "boxes without size": _without_size,
    "logits": setting(detection_score=lambda rng: float(rng.normal(0, 5))),
    "no scores": each(lambda row, rng: row.pop("detection_score")),
    "a sample missing": _drop,
    "a sample too many": _add,
    "NaN score": one(detection_score=math.nan),
    "no class": one(detection_name="tram"),
    "no attribute of nuScenes": one(attribute_name="vehicle.flying"),
    "null velocity": one(velocity=None),
    "NaN place": one(translation=[math.nan, 0, 0]),
    "two coordinates": one(translation=[1.0, 2.0]),
    "null score": one(detection_score=None),
    "501 boxes": _crowd,
    "no meta": lambda results, rng: {"results": results},
    "no box at all": _empty,
    "cut": _cut,
}
"""By name, what the devkit refuses."""
