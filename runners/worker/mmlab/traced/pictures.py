"""The cameras' pictures as an exported network gets them: their size, from the configuration's test pipeline."""

from typing import Any, Dict, Iterator, List, Mapping, Tuple

from ...network import refuse_export
from .sampling import Size

CAMERA_SIZE = (900, 1600)
"""Height and width of nuScenes' pictures [pixels]."""


def picture_axes(config: Any, given: Mapping[str, int], *, name: str) -> Dict[str, int]:
    """The lengths of the axes height and width for cameras of `camera_height` and `camera_width`; errors as below."""
    camera = (given.get("camera_height", CAMERA_SIZE[0]), given.get("camera_width", CAMERA_SIZE[1]))
    height, width = scaled_size(config, name=name, camera=camera)
    return {"height": height, "width": width, **given}


def scaled_size(config: Any, *, name: str, camera: Size = CAMERA_SIZE) -> Size:
    """Height and width of a camera's pictures after the pipeline has scaled and padded them.

    Raises:
        NetworkError: the pipeline has no step that scales all pictures alike.
    """
    scales = [step["scales"] for step in steps(config.data.test.pipeline, "RandomScaleImageMultiViewImage")]
    if len(scales) > 1 or any(len(one) != 1 for one in scales):
        raise refuse_export(name, "the test pipeline scales pictures by more than one factor")
    height, width = (int(length * (scales[0][0] if scales else 1)) for length in camera)
    for step in steps(config.data.test.pipeline, "PadMultiViewImage"):
        divisor = int(step["size_divisor"])
        height, width = (-(-length // divisor) * divisor for length in (height, width))
    return height, width


def steps(pipeline: Any, kind: str) -> Iterator[Mapping[str, Any]]:
    """Every step of a kind in a pipeline, those within other steps included, in their order."""
    for step in pipeline:
        if step["type"] == kind:
            yield step
        yield from steps(step.get("transforms") or (), kind)


def example_rig(cameras: int, picture: Size) -> Any:
    """Matrices `lidar2img` (cameras, 4, 4) of cameras that look around: something plausible to trace with."""
    import numpy as np

    height, width = picture
    rows: List[Any] = []
    for index in range(cameras):
        turn = 2 * np.pi * index / cameras
        # The LiDAR's y is forward and z up; a camera's z is forward and y down.
        looks = np.array([np.sin(turn), np.cos(turn), 0.0])
        right = np.array([np.cos(turn), -np.sin(turn), 0.0])
        rotation = np.stack([right, [0.0, 0.0, -1.0], looks])
        pose = np.eye(4)
        pose[:3] = np.concatenate([rotation, -rotation @ np.array([0.5 * looks + [0.0, 0.0, -0.3]]).T], axis=1)
        focal = 0.8 * width
        intrinsic = np.array([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        rows.append(intrinsic @ pose)
    return np.stack(rows).astype(np.float32)


def pictures_input_shape(cameras: int) -> Tuple[Any, ...]:
    """The shape of the input: (cameras, 3, height, width), whose last two the export fixes."""
    return (cameras, 3, "height", "width")
