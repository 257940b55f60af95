"""The data kind: a folder a scene with pictures (PPM), and `lights.json` with the state in each of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from admlops.core.errors import DataError
from admlops.datasets.base import DataKind, Scene

LIST = "lights.json"


class LightPictures:
    """`lights.json` maps `<scene>/<picture>` to a state; the stem of that path is the sample's token."""

    kind: ClassVar[str] = "light-pictures"
    capabilities: ClassVar[frozenset[str]] = frozenset({"lights"})
    is_synthetic = False

    def __init__(self, root: Path, version: str | None) -> None:
        self.root = root.resolve()
        self.version = version or "v1"
        try:
            self._states: dict[str, str] = json.loads((self.root / LIST).read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"{self.root / LIST} cannot be read: {error}", hint=f"ls {self.root}") from error

    def scenes(self, names: Iterable[str] | None = None) -> list[Scene]:
        samples: dict[str, list[str]] = {}
        for token in self._states:
            samples.setdefault(token.partition("/")[0], []).append(token)
        wanted = samples if names is None else names
        return [Scene(name=name, token=name, location="", samples=tuple(samples[name])) for name in wanted]

    def scenes_of_split(self, split: str) -> list[Scene]:
        return self.scenes()

    def sample(self, token: str) -> dict[str, Any]:
        scene, _, _ = token.partition("/")
        (found,) = self.scenes([scene])
        camera = {"path": str(self.root / f"{token}.ppm"), "width": 4, "height": 4, "timestamp_us": 0}
        return {
            "sample_token": token,
            "scene": scene,
            "scene_token": scene,
            "index_in_scene": found.samples.index(token),
            "timestamp_us": 0,
            "cameras": {"FRONT": camera},
        }

    def missing_files(self, token: str) -> list[Path]:
        path = self.root / f"{token}.ppm"
        return [] if path.is_file() else [path]

    def count_annotations(self, tokens: Iterable[str]) -> dict[str, int]:
        return {"lights": sum(token in self._states for token in tokens)}

    def light(self, token: str) -> str:
        """The true state of a sample's light."""
        return self._states[token]


KIND = DataKind(
    id="light-pictures",
    title="pictures of traffic lights",
    folders=("lights",),
    synthesize=None,
    looks_for=LIST,
    recognise=lambda root: (root / LIST).is_file(),
    open=LightPictures,
    default_split=lambda root, version: "all",
)
