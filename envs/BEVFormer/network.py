"""What of BEVFormer leaves PyTorch: everything from the scaled pictures to the objects' boxes.

The pictures, the rig, the vehicle's motion and the BEV of the sample before are inputs. Upstream's decoding stays
outside, as do the scene's positions: of them the network gets differences.
"""

from typing import Any, Sequence

from worker.mmlab.common.libraries import load_library
from worker.mmlab.traced.bev import column_points, look_up_references, see
from worker.mmlab.traced.decoder import decode_objects
from worker.mmlab.traced.network import BevNetwork
from worker.mmlab.v1.exported import require_operators
from worker.network import Arrays, TensorSpec

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


class BEVNetwork(BevNetwork):
    """Pictures, rig and the BEV before → class scores and box codes of the queries, and the BEV."""

    known = KNOWN
    temporal = True

    def __init__(self, adapter: Any) -> None:
        require_operators(adapter.name, adapter._model)
        super().__init__(adapter)

    def outputs(self) -> Sequence[TensorSpec]:
        head = self.head
        box = "x y [m], log w l, z [m], log h, sin cos of yaw, velocity [m/s]"
        return (
            TensorSpec("class_scores", "float32", (1, head.num_query, head.cls_out_channels), "logits"),
            TensorSpec("boxes", "float32", (1, head.num_query, head.code_size), box, "lidar"),
            *self.bev(),
        )

    def build(self) -> Any:
        return make_module(self.model, [one.name for one in self.inputs()], gathers=self.gathers)

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """By upstream's coder, as its `simple_test_pts` does."""
        torch = load_library("torch")
        given = {name: torch.from_numpy(array) for name, array in calls[0].items()}
        outputs = {"all_cls_scores": given["class_scores"][None], "all_bbox_preds": given["boxes"][None]}
        (decoded,) = self.head.get_bboxes(outputs, inputs["img_metas"][0])
        return [{"pts_bbox": load_library("mmdet3d.core").bbox3d2result(*decoded)}]


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
