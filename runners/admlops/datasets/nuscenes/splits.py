"""The official splits of nuScenes by scene: v1.0-mini's two, and v1.0-trainval's.

Source: nuscenes-devkit, `nuscenes/utils/splits.py`, fixed since the data set's release. v1.0-trainval holds 850 scenes:
those of `val`, and those of `train`; v1.0-test holds those of `test` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

MINI_TRAIN = (
    "scene-0061",
    "scene-0553",
    "scene-0655",
    "scene-0757",
    "scene-0796",
    "scene-1077",
    "scene-1094",
    "scene-1100",
)
MINI_VAL = ("scene-0103", "scene-0916")
_VAL_RANGES = (
    *((3, 3), (12, 18), (35, 36), (38, 39), (92, 110), (221, 221), (268, 278), (329, 332), (344, 346), (519, 524)),
    *((552, 565), (625, 627), (629, 630), (632, 638), (770, 771), (775, 775), (777, 778), (780, 784), (794, 800)),
    *((802, 802), (904, 917), (919, 931), (962, 963), (966, 969), (971, 972), (1059, 1073)),
)
"""First and last number of each row of scenes in `val`."""
VAL = tuple(f"scene-{number:04d}" for first, last in _VAL_RANGES for number in range(first, last + 1))
"""The 150 scenes that models are judged on."""


def official_splits(version: str, scenes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the official splits of a version by name, each with its scenes; `scenes` are those of the tables."""
    if version == "v1.0-test":
        return {"test": tuple(scenes)}
    official: dict[str, tuple[str, ...]] = {"mini_train": MINI_TRAIN, "mini_val": MINI_VAL}
    if version == "v1.0-trainval":
        official |= {"train": tuple(name for name in scenes if name not in VAL), "val": VAL}
    return official
