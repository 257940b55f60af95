"""Faults of what a sample says: pictures of another time, and extrinsics that are wrong.

The host changes the sample before it goes to a worker, because it knows the samples before. Only the path of a picture
changes, or only `sensor2ego`: the model is told nothing of it. Everything here is the standard library's.

Source of `stale-camera`: MultiCorrupt (arXiv 2402.11677), temporal misalignment: each camera with its own chance shows
the picture of the key frame before. The others are our own.
"""

import random
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

from ..samples.miscalibration import Miscalibration, Vector, misplace
from .fault import Fault

STALE = (0.2, 0.4, 0.6)
"""The chance of each camera in each sample."""
STUCK = (1, 2, 4)
"""Cameras that show their scene's first picture throughout, drawn once for a run."""
TURNED_DEG = (0.5, 1.0, 2.0)
MOVED_M = (0.02, 0.05, 0.10)
"""Standard deviations of each camera's error, about each axis, drawn once for a run: a rig that was knocked."""

Sample = Mapping[str, Any]


def corrupt_rig(
    sample: Sample, fault: Fault, *, before: Callable[[], Optional[Sample]], first: Callable[[], Sample]
) -> Dict[str, Any]:
    """Return the sample with the fault.

    Args:
        before: gives the key frame before; None at a scene's beginning, which then stays as it is.
        first: gives the scene's first sample.
    """
    cameras = dict(sample["cameras"])
    if fault.name == "miscalibrated":
        cameras = {name: _knock(name, camera, fault) for name, camera in cameras.items()}
    elif fault.name == "stuck-camera":
        shown = first()["cameras"]
        for name in stuck_cameras(fault, sorted(cameras)):
            cameras[name] = _show(cameras[name], shown.get(name))
    else:
        earlier = before()
        if earlier is None:
            return dict(sample)
        for name in cameras:
            if _random(fault, sample["sample_token"], name).random() < STALE[fault.level - 1]:
                cameras[name] = _show(cameras[name], earlier["cameras"].get(name))
    return dict(sample, cameras=cameras)


def stuck_cameras(fault: Fault, cameras: Sequence[str]) -> Sequence[str]:
    """Return the cameras that are stuck in the whole run."""
    return _random(fault).sample(list(cameras), min(STUCK[fault.level - 1], len(cameras)))


def _show(camera: Any, other: Optional[Mapping[str, Any]]) -> Any:
    """The camera with the other's picture: its time, pose and calibration stay what they were."""
    return camera if other is None else dict(camera, path=other["path"])


def _knock(name: str, camera: Any, fault: Fault) -> Any:
    if "sensor2ego" not in camera:
        return camera
    chance = _random(fault, name)
    turned, moved = (_gauss(chance, spread[fault.level - 1]) for spread in (TURNED_DEG, MOVED_M))
    return misplace(camera, Miscalibration(rotation_deg=turned, translation_m=moved))


def _gauss(chance: random.Random, spread: float) -> Vector:
    x, y, z = (chance.gauss(0.0, spread) for _ in range(3))
    return x, y, z


def _random(fault: Fault, *words: str) -> random.Random:
    text = " ".join(str(number) for number in fault.seeds(*words))
    return random.Random(text)  # noqa: S311  a repeatable fault, and no secret
