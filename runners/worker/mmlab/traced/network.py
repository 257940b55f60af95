"""What networks share that look at the cameras' pictures from above: what goes in, and what a scene carries along.

The pictures and the rig are inputs, and so is the vehicle's motion, where a configuration uses it. Of the scene's
positions the network gets differences alone.
"""

from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ...network import Arrays, Network, TensorSpec
from ..common.libraries import load_library
from .attention import require_kinds
from .ego_motion import EgoMotion, can_bus_input, example_motion, feed_motion, temporal_inputs
from .pictures import example_rig, picture_axes, pictures_input_shape

BEV, PREVIOUS_BEV = "bev", "previous_bev"


class BevNetwork(Network):
    """A network with BEVFormer's encoder over a model of mmdetection3d; it carries its BEV along if it is temporal."""

    known: Tuple[str, ...] = ()
    """The classes of upstream's that are traced, or computed in another form."""
    gathers = False
    """Whether to do without GridSample, for runtimes that compute it wrong."""

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self.model = adapter._model
        require_kinds(self.model, self.known, name=adapter.name)
        self.head = self.model.pts_bbox_head
        self.size = (self.head.bev_h, self.head.bev_w)
        self.cameras = int(self.head.transformer.num_cams)
        self.carried = {BEV: PREVIOUS_BEV} if self.temporal else {}
        self.fixed_axes = picture_axes(adapter._config, {}, name=adapter.name)
        self._motion = EgoMotion(self.head.transformer, self.size, (self.head.real_h, self.head.real_w))

    @property
    def temporal(self) -> bool:
        """Whether a sample's BEV is an input at the next one."""
        return bool(self.model.video_test_mode)

    def inputs(self) -> Sequence[TensorSpec]:
        """Pictures, rig, motion, and the sample before."""
        return (
            TensorSpec("pictures", "float32", pictures_input_shape(self.cameras), "normalised", "camera"),
            TensorSpec("lidar2img", "float32", (self.cameras, 4, 4), "m to pixels", "lidar"),
            *((can_bus_input(),) if self.head.transformer.use_can_bus else ()),
            *(temporal_inputs(self.size, self.head.embed_dims) if self.temporal else ()),
        )

    def bev(self) -> Tuple[TensorSpec, ...]:
        """The output that a temporal network carries along."""
        own = TensorSpec(BEV, "float32", (1, self.size[0] * self.size[1], self.head.embed_dims), frame="lidar")
        return (own,) if self.temporal else ()

    def fix_axes(self, given: Mapping[str, int]) -> Dict[str, int]:
        """The pictures' size after scaling, of the cameras'."""
        return picture_axes(self.adapter._config, given, name=self.adapter.name)

    def start_scene(self) -> None:
        """Forget the last sample's pose."""
        self._motion.start_scene()

    def feeds(self, inputs: Any) -> List[Arrays]:
        """One call; also remembers the sample's pose."""
        numpy = load_library("numpy")
        if not self.temporal:
            self._motion.start_scene()  # every sample is a first one to a network that looks at one alone
        meta = inputs["img_metas"][0][0]
        rig = numpy.asarray(meta["lidar2img"], dtype=numpy.float64)
        own = {"pictures": inputs["img"][0][0].cpu().numpy(), "lidar2img": rig.astype(numpy.float32)}
        return [{**own, **feed_motion(self._motion.step(meta["can_bus"]), self.inputs())}]

    def example(self, axes: Mapping[str, int]) -> Arrays:
        """Pictures of noise, cameras that look around, and a sample in the middle of a scene."""
        given = super().example(axes)
        given["lidar2img"] = example_rig(self.cameras, given["pictures"].shape[-2:])
        return {**given, **example_motion(self._motion, self.inputs())}
