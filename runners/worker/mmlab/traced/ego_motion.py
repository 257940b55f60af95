"""What BEVFormer-like networks take of a sample's poses, as inputs: differences to the sample before.

Upstream works with NumPy in float64 here, and so does this. Only the differences go to the network: in float32 a global
position is rounded to centimetres.
"""

from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from ...network import Arrays, TensorSpec
from ..common.libraries import load_library
from .sampling import Size

CAN_BUS_LENGTH = 18


def temporal_inputs(size: Size, channels: int) -> Tuple[TensorSpec, ...]:
    """The inputs that describe the sample before, for a BEV of this height and width."""
    queries = size[0] * size[1]
    return (
        TensorSpec("previous_bev", "float32", (1, queries, channels), frame="LiDAR of the sample before"),
        TensorSpec("previous_pixels", "int64", (queries,), "row of previous_bev plus 1; 0: outside"),
        TensorSpec("shift", "float32", (1, 2), "parts of the BEV's width and height", "lidar"),
        TensorSpec("has_previous", "float32", (1,), "1, or 0 at a scene's first sample"),
    )


def can_bus_input() -> TensorSpec:
    """The vehicle's motion as BEVFormer's networks take it."""
    unit = "m to the sample before; quaternion; m/s2; rad/s; m/s; rad; degrees to the sample before"
    return TensorSpec("can_bus", "float32", (1, CAN_BUS_LENGTH), unit)


class EgoMotion:
    """What the vehicle did since the sample before, by upstream's formulas.

    Args:
        transformer: upstream's, for `rotate_prev_bev`, `rotate_center` and `use_shift`.
        size: height and width of the BEV.
        extent: the metres that it covers, along its height and its width.
    """

    def __init__(self, transformer: Any, size: Size, extent: Sequence[float]) -> None:
        self._transformer = transformer
        self._size = size
        self._cell = (extent[0] / size[0], extent[1] / size[1])
        self._last: Optional[Tuple[np.ndarray, float]] = None

    def start_scene(self) -> None:
        """Forget the sample before."""
        self._last = None

    def step(self, can_bus: Any) -> Arrays:
        """Return `can_bus`, `shift`, `previous_pixels` and `has_previous` of a sample, and keep its pose.

        Args:
            can_bus: the sample's 18 numbers as the data set class gives them: global position [m] first, heading
                [degrees] last.
        """
        own = np.array(can_bus, dtype=np.float64)
        position, angle = own[:3].copy(), float(own[-1])
        known = self._last is not None
        own[:3] -= self._last[0] if self._last else position
        own[-1] -= self._last[1] if self._last else angle
        self._last = (position, angle)
        return {
            "can_bus": own[np.newaxis].astype(np.float32),
            "shift": self._shift(own),
            "previous_pixels": self._pixels(own[-1]),
            "has_previous": np.array([known], dtype=np.float32),
        }

    def _shift(self, can_bus: "np.ndarray") -> "np.ndarray":
        """How far the BEV before lies from the one now, (1, 2), as `MapTRPerceptionTransformer` has it."""
        length = np.hypot(can_bus[0], can_bus[1])
        angle = can_bus[-2] - np.arctan2(can_bus[1], can_bus[0])
        along_height = length * np.cos(angle) / self._cell[0] / self._size[0]
        along_width = length * np.sin(angle) / self._cell[1] / self._size[1]
        used = float(self._transformer.use_shift)
        return np.array([[along_width * used, along_height * used]], dtype=np.float32)

    def _pixels(self, angle: float) -> "np.ndarray":
        """Where each pixel was before the vehicle turned by `angle` [degrees], plus 1; 0 where it was outside.

        A picture of the pixels' own numbers is turned by the function that upstream turns the BEV with.
        """
        numbers = np.arange(1, self._size[0] * self._size[1] + 1)
        if not self._transformer.rotate_prev_bev:
            return numbers
        picture = load_library("torch").from_numpy(numbers.reshape(1, *self._size).astype(np.float32))
        rotate = load_library("torchvision.transforms.functional").rotate
        turned = rotate(picture, angle, center=self._transformer.rotate_center)
        return np.asarray(turned.reshape(-1).long().numpy())


def feed_motion(motion: Dict[str, Any], wanted: Sequence[TensorSpec]) -> Arrays:
    """Those of the arrays of `EgoMotion.step` that a network has as inputs."""
    names = {one.name for one in wanted}
    return {name: array for name, array in motion.items() if name in names}


def example_motion(motion: EgoMotion, wanted: Sequence[TensorSpec]) -> Arrays:
    """Plausible values of those of the inputs that a network has, as in the middle of a scene."""
    random = np.random.default_rng(1)
    motion.start_scene()
    motion.step(np.zeros(CAN_BUS_LENGTH))
    moved = motion.step([0.5, 0.2, 0.0, *[0.1] * (CAN_BUS_LENGTH - 4), 3.0])
    motion.start_scene()
    found = feed_motion(moved, wanted)
    for one in wanted:
        if one.name == "previous_bev":
            found[one.name] = random.standard_normal(one.concrete({})).astype(np.float32)
    return found
