"""The CAN bus expansion of nuScenes: what the vehicle said of itself around a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import DataError


class CanBus:
    """Messages of the CAN bus expansion, a scene at a time."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "can_bus"
        self._scene = ""
        self._messages: dict[str, list[dict[str, Any]]] = {}

    def around(self, scene: str, timestamp_us: int) -> dict[str, Any] | None:
        """The pose messages at or before the sample and after it, and the nearest steering angle; None without any."""
        if scene != self._scene:
            self._scene = scene
            self._messages = {kind: self._read(scene, kind) for kind in ("pose", "steeranglefeedback")}
        poses, steering = self._messages["pose"], self._messages["steeranglefeedback"]
        if not poses:
            return None
        after = next((number for number, pose in enumerate(poses) if pose["utime"] > timestamp_us), len(poses))
        nearest = min(steering, key=lambda message: abs(message["utime"] - timestamp_us), default=None)
        return {
            "last_pose": poses[max(after - 1, 0)],
            "pose": poses[min(after, len(poses) - 1)],
            "steering": nearest,
        }

    def _read(self, scene: str, kind: str) -> list[dict[str, Any]]:
        path = self._folder / f"{scene}_{kind}.json"
        if not path.is_file():
            return []
        try:
            messages: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise DataError(f"{path} cannot be read: {error}", hint="unpack the CAN bus expansion again") from error
        return messages
