"""The official nuScenes scene lists that need no table: v1.0-mini's two splits.

Source: nuscenes-devkit, `nuscenes/utils/splits.py`, fixed since the data set's release.
"""

from __future__ import annotations

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
