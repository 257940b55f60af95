"""What of MapTR leaves PyTorch: everything from the scaled pictures to the last decoder layer's elements.

The pictures and the rig are inputs, and so is the vehicle's motion, where a configuration uses it. Upstream's decoding
stays outside, as do the scene's positions: of them the network gets differences.
"""

from typing import Any, Dict, List, Mapping, Sequence

from worker.mmlab.common.libraries import load_library
from worker.mmlab.traced.attention import CAMERA_ATTENTIONS, require_kinds
from worker.mmlab.traced.bev import column_points, look_up_references, see
from worker.mmlab.traced.decoder import MapParts, decode_map
from worker.mmlab.traced.ego_motion import EgoMotion, can_bus_input, example_motion, feed_motion, temporal_inputs
from worker.mmlab.traced.pictures import example_rig, picture_axes, pictures_input_shape
from worker.network import Arrays, Network, TensorSpec

KNOWN = (
    "MapTRHead",
    "MapTRPerceptionTransformer",
    "MapTRDecoder",
    "BEVFormerEncoder",
    "BEVFormerLayer",
    "TemporalSelfAttention",
    "SpatialCrossAttention",
    "GeometrySptialCrossAttention",
    "CustomMSDeformableAttention",
    "GridMask",
    *CAMERA_ATTENTIONS,
)
"""The classes of upstream's that are traced, or computed in another form."""


class MapNetwork(Network):
    """Pictures and rig → class scores and points of every element; temporal networks carry their BEV along."""

    gathers = False

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        model = adapter._model
        require_kinds(model, KNOWN, name="MapTR")
        head = model.pts_bbox_head
        self._head = head
        self._size = (head.bev_h, head.bev_w)
        self._temporal = bool(model.video_test_mode)
        self._cameras = int(head.transformer.num_cams)
        self._motion = EgoMotion(head.transformer, self._size, (head.real_h, head.real_w))
        self.carried = {"bev": "previous_bev"} if self._temporal else {}
        self.fixed_axes = picture_axes(adapter._config, {}, name="MapTR")

    def inputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("pictures", "float32", pictures_input_shape(self._cameras), "normalised", "camera"),
            TensorSpec("lidar2img", "float32", (self._cameras, 4, 4), "m to pixels", "lidar"),
            *((can_bus_input(),) if self._head.transformer.use_can_bus else ()),
            *(temporal_inputs(self._size, self._head.embed_dims) if self._temporal else ()),
        )

    def outputs(self) -> Sequence[TensorSpec]:
        head = self._head
        elements, points = head.num_vec, head.num_pts_per_vec
        own = (
            TensorSpec("class_scores", "float32", (1, elements, head.cls_out_channels), "logits"),
            TensorSpec("boxes", "float32", (1, elements, 4), "centre, size; 0 to 1 over the map's range", "lidar"),
            TensorSpec("points", "float32", (1, elements, points, 2), "0 to 1 over the map's range", "lidar"),
        )
        bev = TensorSpec("bev", "float32", (1, self._size[0] * self._size[1], head.embed_dims), frame="lidar")
        return (*own, bev) if self._temporal else own

    def fix_axes(self, given: Mapping[str, int]) -> Dict[str, int]:
        return picture_axes(self.adapter._config, given, name="MapTR")

    def build(self) -> Any:
        names = [one.name for one in self.inputs()]
        return make_module(self.adapter._model, names, temporal=self._temporal, gathers=self.gathers)

    def start_scene(self) -> None:
        self._motion.start_scene()

    def feeds(self, inputs: Any) -> List[Arrays]:
        numpy = load_library("numpy")
        if not self._temporal:
            self._motion.start_scene()  # every sample is a first one to a network that looks at one alone
        meta = inputs["img_metas"][0][0]
        rig = numpy.asarray(meta["lidar2img"], dtype=numpy.float64)
        pictures = {
            "pictures": inputs["img"][0][0].cpu().numpy(),
            "lidar2img": rig.astype(numpy.float32),
        }
        return [{**pictures, **feed_motion(self._motion.step(meta["can_bus"]), self.inputs())}]

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """By upstream's coder, as its `simple_test` does."""
        torch = load_library("torch")
        given = {name: torch.from_numpy(array) for name, array in calls[0].items()}
        outputs = {
            "all_cls_scores": given["class_scores"][None],
            "all_bbox_preds": given["boxes"][None],
            "all_pts_preds": given["points"][None],
        }
        (decoded,) = self._head.get_bboxes(outputs, inputs["img_metas"][0])
        return [{"pts_bbox": self.adapter._model.pred2result(*decoded)}]

    def example(self, axes: Mapping[str, int]) -> Arrays:
        given = super().example(axes)
        given["lidar2img"] = example_rig(self._cameras, given["pictures"].shape[-2:])
        return {**given, **example_motion(self._motion, self.inputs())}


class MapNetworkByGathers(MapNetwork):
    """The same without GridSample, for runtimes that compute it wrong."""

    gathers = True


def make_module(model: Any, names: Sequence[str], *, temporal: bool, gathers: bool) -> Any:
    """MapTR's forward pass as a module of tensors alone.

    Args:
        model: upstream's network.
        names: the names of the arguments, in order.
        temporal: whether it gives the BEV of this sample for the next one.
        gathers: whether to do without GridSample.
    """
    torch = load_library("torch")
    head = model.pts_bbox_head
    size, encoder, parts = (head.bev_h, head.bev_w), head.transformer.encoder, MapParts(head)

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.register_buffer("columns", column_points(encoder, size), persistent=False)
            self.register_buffer("places", look_up_references(encoder, size), persistent=False)

        def forward(self, *arguments: Any) -> Any:
            bev = see(model, dict(zip(names, arguments)), self.columns, self.places, gathers=gathers)
            _, scores, places = decode_map(head, parts, bev, size, gathers=gathers)
            boxes, points = head.transform_box(places)
            return (scores, boxes, points, bev) if temporal else (scores, boxes, points)

    return Module().to(next(model.parameters()).device).eval()


NETWORKS = {"default": MapNetwork, "gathers": MapNetworkByGathers}
