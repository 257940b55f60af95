"""What of VAD leaves PyTorch: everything from the scaled pictures to objects, their futures, the map and the plans.

The pictures, the rig, the vehicle's motion and the BEV of the sample before are inputs. The plans of all three commands
are outputs, so the command that chooses one stays outside, as do upstream's decoding and the scene's positions.
"""

from typing import Any, Sequence

from worker.mmlab.common.libraries import load_library
from worker.mmlab.traced.attention import CAMERA_ATTENTIONS
from worker.mmlab.traced.bev import column_points, look_up_references, see
from worker.mmlab.traced.decoder import MapParts, decode_map, decode_objects
from worker.mmlab.traced.network import BevNetwork
from worker.network import Arrays, TensorSpec, refuse_export

KNOWN = (
    "VADHead",
    "VADPerceptionTransformer",
    "DetectionTransformerDecoder",
    "MapDetectionTransformerDecoder",
    "CustomTransformerDecoder",
    "BEVFormerEncoder",
    "BEVFormerLayer",
    "TemporalSelfAttention",
    "SpatialCrossAttention",
    "CustomMSDeformableAttention",
    "LaneNet",
    "MLP",
    "GridMask",
    *CAMERA_ATTENTIONS,
)
"""The classes of upstream's that are traced, or computed in another form."""


class DrivingNetwork(BevNetwork):
    """Pictures, rig and the BEV before → objects with futures, map elements, plans, and the BEV."""

    known = KNOWN
    temporal = True

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        require_published(self.head)

    def outputs(self) -> Sequence[TensorSpec]:
        head = self.head
        objects, elements, points = head.num_query, head.map_num_vec, head.map_num_pts_per_vec
        modes, steps = head.fut_mode, head.fut_ts
        box = "x y [m], log w l, z [m], log h, sin cos of yaw, velocity [m/s]"
        return (
            TensorSpec("class_scores", "float32", (1, objects, head.cls_out_channels), "logits"),
            TensorSpec("boxes", "float32", (1, objects, head.code_size), box, "lidar"),
            TensorSpec("trajectories", "float32", (1, objects, modes, 2 * steps), "m a step of 0.5 s", "lidar"),
            TensorSpec("mode_scores", "float32", (1, objects, modes), "logits"),
            TensorSpec("map_scores", "float32", (1, elements, head.map_cls_out_channels), "logits"),
            TensorSpec("map_boxes", "float32", (1, elements, 4), "centre, size; 0 to 1 over the range", "lidar"),
            TensorSpec("map_points", "float32", (1, elements, points, 2), "0 to 1 over the range", "lidar"),
            TensorSpec("plans", "float32", (1, head.ego_fut_mode, steps, 2), "m a step of 0.5 s", "lidar"),
            *self.bev(),
        )

    def build(self) -> Any:
        return make_module(self.model, [one.name for one in self.inputs()], gathers=self.gathers)

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """By upstream's coders, as its `simple_test_pts` does."""
        torch = load_library("torch")
        given = {name: torch.from_numpy(array) for name, array in calls[0].items()}
        outputs = {
            "all_cls_scores": given["class_scores"][None],
            "all_bbox_preds": given["boxes"][None],
            "all_traj_preds": given["trajectories"][None],
            "all_traj_cls_scores": given["mode_scores"][None],
            "map_all_cls_scores": given["map_scores"][None],
            "map_all_bbox_preds": given["map_boxes"][None],
            "map_all_pts_preds": given["map_points"][None],
        }
        (decoded,) = self.head.get_bboxes(outputs, inputs["img_metas"][0])
        boxes, scores, labels, trajectories, *elements = decoded
        result = {
            "boxes_3d": boxes,
            "scores_3d": scores,
            "labels_3d": labels,
            "trajs_3d": trajectories,
            **self.model.map_pred2result(*elements),
            "ego_fut_preds": given["plans"][0],
            "ego_fut_cmd": inputs["ego_fut_cmd"][0].cpu(),
        }
        return [{"pts_bbox": result}]


class DrivingNetworkByGathers(DrivingNetwork):
    """The same without GridSample, for runtimes that compute it wrong."""

    gathers = True


def require_published(head: Any) -> None:
    """Raise NetworkError for parts that no published configuration has, and that are not written here."""
    for name in ("ego_his_encoder", "ego_lcf_feat_idx"):
        if getattr(head, name) is not None:
            raise refuse_export("VAD", f"pts_bbox_head.{name} is set, and only networks without it are")
    for name in ("decoder", "map_decoder"):
        if getattr(head.transformer, name) is None:
            raise refuse_export("VAD", f"pts_bbox_head.transformer.{name} is not there")
    for name in ("motion_map_decoder", "ego_agent_decoder", "ego_map_decoder"):
        if getattr(head, name) is None or not head.use_pe:
            raise refuse_export("VAD", f"pts_bbox_head.{name} or its encoding is not there")


def make_module(model: Any, names: Sequence[str], *, gathers: bool) -> Any:
    """VAD's forward pass as a module of tensors alone.

    Args:
        model: upstream's network.
        names: the names of the arguments, in order.
        gathers: whether to do without GridSample.
    """
    torch = load_library("torch")
    head = model.pts_bbox_head
    size, encoder, parts = (head.bev_h, head.bev_w), head.transformer.encoder, MapParts(head, "map_")

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.register_buffer("columns", column_points(encoder, size), persistent=False)
            self.register_buffer("places", look_up_references(encoder, size), persistent=False)

        def forward(self, *arguments: Any) -> Any:
            given = dict(zip(names, arguments))
            bev = see(model, given, self.columns, self.places, both_shifted=True, gathers=gathers)
            objects, scores, boxes, centers = decode_objects(head, bev, size, gathers=gathers)
            elements, map_scores, places = decode_map(head, parts, bev, size, gathers=gathers)
            map_boxes, map_points = head.map_transform_box(places)
            lanes = head.lane_encoder(elements.view(1, parts.elements, parts.points, -1))
            near = nearest_points(map_points)
            motion = decode_motion(head, objects, scores, centers, (lanes, map_scores, near))
            futures, mode_scores = head.traj_branches[0](motion), head.traj_cls_branches[0](motion).squeeze(-1)
            plans = decode_plans(head, motion, (scores, centers), (lanes, map_scores, near))
            return scores, boxes, futures, mode_scores, map_scores, map_boxes, map_points, plans, bev

    return Module().to(next(model.parameters()).device).eval()


def nearest_points(map_points: Any) -> Any:
    """Of each element (1, elements, points, 2) the point that is nearest to the range's corner, (1, elements, 2).

    Upstream means the vehicle, and measures from where the numbers, 0 to 1, are zero.
    """
    apart = (map_points[..., 0] * map_points[..., 0] + map_points[..., 1] * map_points[..., 1]).sqrt()
    index = apart.argmin(dim=-1)[..., None, None].expand(-1, -1, 1, 2)
    return map_points.gather(2, index).squeeze(2)


def decode_motion(head: Any, objects: Any, scores: Any, centers: Any, elements: Any) -> Any:
    """What each object's possible futures are made of, (1, objects, modes, 2 · channels).

    Upstream leaves elements of the map out whose score is too low, or that are too far from an object. Here all are
    there, and those are masked: no shape depends on the sample.
    """
    torch = load_library("torch")
    modes = head.fut_mode
    query = (objects[:, :, None] + head.motion_mode_query.weight).flatten(1, 2).transpose(0, 1)
    encoding = head.pos_mlp_sa(centers)[:, :, None].repeat(1, 1, modes, 1).flatten(1, 2).transpose(0, 1)
    ignored = None
    if head.motion_det_score is not None:
        ignored = (scores.max(dim=-1)[0] < head.motion_det_score)[:, :, None].repeat(1, 1, modes).flatten(1, 2)
    motion = head.motion_decoder(
        query=query, key=query, value=query, query_pos=encoding, key_pos=encoding, key_padding_mask=ignored
    ).transpose(0, 1)
    where = centers[:, :, None].repeat(1, 1, modes, 1).flatten(1, 2)[0]
    lanes, places, masked = select_map(head, where, elements)
    own = motion.flatten(0, 1)[None]
    asked = head.motion_map_decoder(
        query=own,
        key=lanes,
        value=lanes,
        query_pos=head.pos_mlp(own.new_zeros(1, own.shape[1], 2)),
        key_pos=head.pos_mlp(places),
        key_padding_mask=masked,
    )
    both = torch.cat([motion, asked.reshape(motion.shape)], dim=-1)
    return both.view(1, objects.shape[1], modes, -1)


def select_map(head: Any, where: Any, elements: Any) -> Any:
    """The map as each object sees it: (elements + 1, objects, channels), places of the same, and what is masked.

    Upstream's `select_and_pad_pred_map` for one sample, with a mask in place of a selection. The last element is no
    element: it is there for objects that see none.

    Args:
        head: upstream's.
        where: the objects' places (objects, 2), 0 to 1.
        elements: features (1, elements, channels), class scores and places (1, elements, 2) of the map.
    """
    torch = load_library("torch")
    lanes, scores, places = elements
    count = where.shape[0]
    unlikely = scores.sigmoid().max(dim=-1)[0] <= head.map_thresh
    apart = places - where[:, None]
    far = (apart[..., 0] * apart[..., 0] + apart[..., 1] * apart[..., 1]).sqrt() > head.dis_thresh
    seen_at = apart if head.pe_normalization else places.expand(count, -1, -1)
    padding = lanes.new_zeros(1, 1, lanes.shape[-1])
    features = torch.cat([lanes, padding], 1).transpose(0, 1).expand(-1, count, -1)
    seen_at = torch.cat([seen_at, seen_at.new_ones(count, 1, 2)], 1).transpose(0, 1)
    masked = torch.cat([unlikely | far, torch.zeros(count, 1, dtype=torch.bool, device=far.device)], 1)
    return features, seen_at, masked


def decode_plans(head: Any, motion: Any, objects: Any, elements: Any) -> Any:
    """The vehicle's steps for each command, (1, commands, steps, 2)."""
    torch = load_library("torch")
    scores, centers = objects
    lanes, map_scores, near = elements
    query = head.ego_query.weight[:, None]
    origin = query.new_zeros(1, 1, 2)
    agents = head.agent_fus_mlp(motion.reshape(1, motion.shape[1], -1))
    by_agents = head.ego_agent_decoder(
        query=query,
        key=agents.transpose(0, 1),
        value=agents.transpose(0, 1),
        query_pos=head.ego_agent_pos_mlp(origin),
        key_pos=head.ego_agent_pos_mlp(centers).transpose(0, 1),
        key_padding_mask=too_unlikely(head, scores),
    )
    by_map = head.ego_map_decoder(
        query=by_agents,
        key=lanes.transpose(0, 1),
        value=lanes.transpose(0, 1),
        query_pos=head.ego_map_pos_mlp(origin),
        key_pos=head.ego_map_pos_mlp(near).transpose(0, 1),
        key_padding_mask=too_unlikely(head, map_scores),
    )
    found = head.ego_fut_decoder(torch.cat([by_agents, by_map], dim=-1).transpose(0, 1))
    return found.reshape(1, head.ego_fut_mode, head.fut_ts, 2)


def too_unlikely(head: Any, scores: Any) -> Any:
    """Which queries the plan leaves out, (1, queries): upstream's `select_and_pad_query`, as a mask."""
    return scores.sigmoid().max(dim=-1)[0] <= head.query_thresh


NETWORKS = {"default": DrivingNetwork, "gathers": DrivingNetworkByGathers}
