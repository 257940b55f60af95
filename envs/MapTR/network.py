"""What of MapTR leaves PyTorch: everything from the scaled pictures to the last decoder layer's elements.

Upstream's decoding stays outside.
"""

from typing import Any, Sequence

from worker.mmlab.common.libraries import load_library
from worker.mmlab.traced.attention import CAMERA_ATTENTIONS
from worker.mmlab.traced.bev import column_points, look_up_references, see
from worker.mmlab.traced.decoder import MapParts, decode_map
from worker.mmlab.traced.network import BevNetwork
from worker.network import Arrays, TensorSpec

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


class MapNetwork(BevNetwork):
    """Pictures and rig → class scores and points of every element; temporal networks carry their BEV along."""

    known = KNOWN

    def outputs(self) -> Sequence[TensorSpec]:
        head = self.head
        elements, points = head.num_vec, head.num_pts_per_vec
        return (
            TensorSpec("class_scores", "float32", (1, elements, head.cls_out_channels), "logits"),
            TensorSpec("boxes", "float32", (1, elements, 4), "centre, size; 0 to 1 over the map's range", "lidar"),
            TensorSpec("points", "float32", (1, elements, points, 2), "0 to 1 over the map's range", "lidar"),
            *self.bev(),
        )

    def build(self) -> Any:
        names = [one.name for one in self.inputs()]
        return make_module(self.model, names, temporal=self.temporal, gathers=self.gathers)

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """By upstream's coder, as its `simple_test` does."""
        torch = load_library("torch")
        given = {name: torch.from_numpy(array) for name, array in calls[0].items()}
        outputs = {
            "all_cls_scores": given["class_scores"][None],
            "all_bbox_preds": given["boxes"][None],
            "all_pts_preds": given["points"][None],
        }
        (decoded,) = self.head.get_bboxes(outputs, inputs["img_metas"][0])
        return [{"pts_bbox": self.model.pred2result(*decoded)}]


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
