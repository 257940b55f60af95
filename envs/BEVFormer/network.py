"""What of BEVFormer leaves PyTorch: everything from the scaled pictures to the objects' boxes.

The pictures, the rig, the vehicle's motion and the BEV of the sample before are inputs. Upstream's decoding stays
outside, as do the scene's positions: of them the network gets differences.
"""

from typing import Any, Dict, List, Mapping, Sequence

from worker.mmlab.common.libraries import load_library
from worker.mmlab.traced.attention import require_kinds
from worker.mmlab.traced.bev import column_points, look_up_references, see
from worker.mmlab.traced.decoder import decode_objects
from worker.mmlab.traced.ego_motion import EgoMotion, can_bus_input, example_motion, feed_motion, temporal_inputs
from worker.mmlab.traced.pictures import example_rig, picture_axes, pictures_input_shape
from worker.mmlab.v1.exported import require_operators
from worker.network import Arrays, Network, TensorSpec

KNOWN = (
    "BEVFormerHead",
    "PerceptionTransformer",
    "DetectionTransformerDecoder",
    "BEVFormerEncoder",
    "BEVFormerLayer",
    "TemporalSelfAttention",
    "SpatialCrossAttention",
    "MSDeformableAttention3D",
    "CustomMSDeformableAttention",
    "GridMask",
)
"""The classes of upstream's that are traced, or computed in another form."""


class BEVNetwork(Network):
    """Pictures, rig and the BEV before → class scores and box codes of the queries, and the BEV."""

    gathers = False
    carried = {"bev": "previous_bev"}  # noqa: RUF012  as in Network

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        model = adapter._model
        require_operators(adapter.name, model)
        require_kinds(model, KNOWN, name="BEVFormer")
        head = model.pts_bbox_head
        self._head = head
        self._size = (head.bev_h, head.bev_w)
        self._cameras = int(head.transformer.num_cams)
        self._motion = EgoMotion(head.transformer, self._size, (head.real_h, head.real_w))
        self.fixed_axes = picture_axes(adapter._config, {}, name="BEVFormer")

    def inputs(self) -> Sequence[TensorSpec]:
        return (
            TensorSpec("pictures", "float32", pictures_input_shape(self._cameras), "normalised", "camera"),
            TensorSpec("lidar2img", "float32", (self._cameras, 4, 4), "m to pixels", "lidar"),
            *((can_bus_input(),) if self._head.transformer.use_can_bus else ()),
            *temporal_inputs(self._size, self._head.embed_dims),
        )

    def outputs(self) -> Sequence[TensorSpec]:
        head = self._head
        box = "x y [m], log w l, z [m], log h, sin cos of yaw, velocity [m/s]"
        return (
            TensorSpec("class_scores", "float32", (1, head.num_query, head.cls_out_channels), "logits"),
            TensorSpec("boxes", "float32", (1, head.num_query, head.code_size), box, "lidar"),
            TensorSpec("bev", "float32", (1, self._size[0] * self._size[1], head.embed_dims), frame="lidar"),
        )

    def fix_axes(self, given: Mapping[str, int]) -> Dict[str, int]:
        return picture_axes(self.adapter._config, given, name="BEVFormer")

    def build(self) -> Any:
        names = [one.name for one in self.inputs()]
        return make_module(self.adapter._model, names, gathers=self.gathers)

    def start_scene(self) -> None:
        self._motion.start_scene()

    def feeds(self, inputs: Any) -> List[Arrays]:
        numpy = load_library("numpy")
        meta = inputs["img_metas"][0][0]
        rig = numpy.asarray(meta["lidar2img"], dtype=numpy.float64)
        own = {"pictures": inputs["img"][0][0].cpu().numpy(), "lidar2img": rig.astype(numpy.float32)}
        return [{**own, **feed_motion(self._motion.step(meta["can_bus"]), self.inputs())}]

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """By upstream's coder, as its `simple_test_pts` does."""
        torch = load_library("torch")
        given = {name: torch.from_numpy(array) for name, array in calls[0].items()}
        outputs = {"all_cls_scores": given["class_scores"][None], "all_bbox_preds": given["boxes"][None]}
        (decoded,) = self._head.get_bboxes(outputs, inputs["img_metas"][0])
        return [{"pts_bbox": load_library("mmdet3d.core").bbox3d2result(*decoded)}]

    def example(self, axes: Mapping[str, int]) -> Arrays:
        given = super().example(axes)
        given["lidar2img"] = example_rig(self._cameras, given["pictures"].shape[-2:])
        return {**given, **example_motion(self._motion, self.inputs())}


class BEVNetworkByGathers(BEVNetwork):
    """The same without GridSample, for runtimes that compute it wrong."""

    gathers = True


def make_module(model: Any, names: Sequence[str], *, gathers: bool) -> Any:
    """BEVFormer's forward pass as a module of tensors alone.

    Args:
        model: upstream's network.
        names: the names of the arguments, in order.
        gathers: whether to do without GridSample.
    """
    torch = load_library("torch")
    head = model.pts_bbox_head
    size, encoder = (head.bev_h, head.bev_w), head.transformer.encoder

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.register_buffer("columns", column_points(encoder, size), persistent=False)
            self.register_buffer("places", look_up_references(encoder, size), persistent=False)

        def forward(self, *arguments: Any) -> Any:
            given = dict(zip(names, arguments))
            bev = see(model, given, self.columns, self.places, gathers=gathers)
            _, scores, boxes, _ = decode_objects(head, bev, size, gathers=gathers)
            return scores, boxes, bev

    return Module().to(next(model.parameters()).device).eval()


NETWORKS = {"default": BEVNetwork, "gathers": BEVNetworkByGathers}
