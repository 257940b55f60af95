"""Another vehicle's rig: the same pictures with other extrinsics, to tell a network that was made for one rig alone."""

from typing import Any, Mapping

from .miscalibration import draw_miscalibration, misplace

SEED = 1
"""Not that of evaluations. One rig for a whole scene: the sample does not decide the error."""


def has_rig(sample: Mapping[str, Any]) -> bool:
    """Tell whether the extrinsics of any camera are known."""
    return any("sensor2ego" in camera for camera in sample.get("cameras", {}).values())


def move_rig(value: Any) -> Any:
    """Return a sample whose cameras are turned by 3 to 8 degrees and moved by 5 to 30 cm, in the context of it too."""
    if isinstance(value, Mapping):
        return {
            key: {name: _move_camera(name, camera) for name, camera in item.items()}
            if key == "cameras" and isinstance(item, Mapping)
            else move_rig(item)
            for key, item in value.items()
        }
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return [move_rig(item) for item in value]
    return value


def _move_camera(name: str, camera: Any) -> Any:
    if not isinstance(camera, Mapping) or "sensor2ego" not in camera:
        return camera
    return misplace(camera, draw_miscalibration(SEED, "", name))
