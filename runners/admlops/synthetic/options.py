"""What a synthetic data set is made of: its options, checked, and the scenes they ask for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError
from admlops.datasets.nuscenes.splits import MINI_TRAIN, MINI_VAL

VERSION = "v1.0-mini"
MARKER = "synthetic.json"
RECIPE = 2
"""Incremented whenever the same options come to give other scenes; it is in every token and in the marker."""
SCENE_NAMES = (*MINI_VAL, *MINI_TRAIN)
MAX_SAMPLES = 60
LOCATIONS = ("singapore-onenorth", "singapore-hollandvillage", "singapore-queenstown", "boston-seaport")
_LOCATION_OF = {  # as in the real v1.0-mini
    "scene-0061": "singapore-onenorth",
    "scene-0103": "boston-seaport",
    "scene-0553": "boston-seaport",
    "scene-0655": "boston-seaport",
    "scene-0757": "boston-seaport",
    "scene-0796": "singapore-queenstown",
    "scene-0916": "singapore-queenstown",
    "scene-1077": "singapore-hollandvillage",
    "scene-1094": "singapore-hollandvillage",
    "scene-1100": "singapore-hollandvillage",
}


@dataclass(frozen=True, kw_only=True)
class SynthesisOptions:
    """`scenes` of `samples` key frames at 2 Hz; `scale` times 1600x900; sweeps counted between two key frames."""

    scenes: int = 2
    samples: int = 20
    seed: int = 0
    scale: float = 1.0
    lidar_sweeps: int = 3
    camera_sweeps: int = 1

    def check(self) -> None:
        """Raise UsageError, naming the option, for an invalid value."""
        _check_range("--scenes", self.scenes, 1, len(SCENE_NAMES), "v1.0-mini has ten scenes")
        _check_range("--samples", self.samples, 1, MAX_SAMPLES, "key frames of one scene")
        _check_range("--seed", self.seed, 0, 2**63 - 1, "a whole number")
        _check_range("--scale", self.scale, 0.1, 2.0, "of 1600x900 pixels")
        _check_range("--lidar-sweeps", self.lidar_sweeps, 0, 9, "between two key frames")
        _check_range("--camera-sweeps", self.camera_sweeps, 0, 5, "between two key frames")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class CameraOptions:
    """Scenes of which cameras alone are written: `scenes` of `samples` moments, `scale` times the pictures' size."""

    scenes: int = 2
    samples: int = 20
    seed: int = 0
    scale: float = 1.0

    def check(self) -> None:
        """Raise UsageError, naming the option, for an invalid value."""
        self.of_world().check()

    def of_world(self) -> SynthesisOptions:
        """The options of the same scenes in the nuScenes layout."""
        return SynthesisOptions(**self.as_dict(), lidar_sweeps=0, camera_sweeps=0)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SceneSpec:
    """The `index`-th scene of the set; it is the `order`-th one at its location."""

    index: int
    name: str
    location: str
    order: int


def list_scenes(options: SynthesisOptions) -> list[SceneSpec]:
    """The scenes that `options` ask for: mini_val's first."""
    seen: dict[str, int] = {}
    specs = []
    for index, name in enumerate(SCENE_NAMES[: options.scenes]):
        location = _LOCATION_OF[name]
        specs.append(SceneSpec(index, name, location, seen.get(location, 0)))
        seen[location] = seen.get(location, 0) + 1
    return specs


def marker_path(target: Path) -> Path:
    """The file that tells that a folder is a finished synthetic data set."""
    return target / MARKER


def _check_range(option: str, value: float, low: float, high: float, meaning: str) -> None:
    if not low <= value <= high:
        raise UsageError(
            f"{option} is {value:g}, but must lie in {low:g} to {high:g} ({meaning})",
            hint="admlops data synthesize --help",
        )
