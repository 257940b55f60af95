"""What of MapTR leaves PyTorch: everything from the scaled pictures to the last decoder layer's elements.

The pictures and the rig are inputs, and so is the vehicle's motion, where a configuration uses it. Upstream's decoding
stays outside, as do the scene's positions: of them the network gets differences.
"""

from typing import Any, List, Mapping, Sequence

from worker.mmlab.common.libraries import load_library
from worker.mmlab.traced.attention import CAMERA_ATTENTIONS, attend_deformable, require_kinds, run_layer
from worker.mmlab.traced.bev import (
    Before,
    add_can_bus,
    column_points,
    encode_bev,
    flatten_levels,
    look_up_references,
    project,
)
from worker.mmlab.traced.ego_motion import EgoMotion, can_bus_input, feed_motion, temporal_inputs
from worker.mmlab.traced.pictures import example_rig, pictures_input_shape, scaled_size
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
        height, width = scaled_size(adapter._config, name="MapTR")
        self.fixed_axes = {"height": height, "width": width}

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
        height, width = given["pictures"].shape[-2:]
        given["lidar2img"] = example_rig(self._cameras, (height, width))
        if "previous_pixels" in given:
            moved = self._motion
            moved.start_scene()
            moved.step([0.0] * 18)
            random = load_library("numpy").random.default_rng(1)
            given["previous_bev"] = random.standard_normal(given["previous_bev"].shape).astype("float32")
            given.update(feed_motion(moved.step([0.5, 0.2, 0.0, *[0.1] * 14, 3.0]), self.inputs()))
            moved.start_scene()
        return given


class MapNetworkByGathers(MapNetwork):
    """The same without GridSample, for runtimes that compute it wrong."""

    gathers = True


def make_module(model: Any, names: Sequence[str], *, temporal: bool, gathers: bool) -> Any:
    """MapTR's forward pass as a module of tensors alone.

    Args:
        model: upstream's network.
        names: the names of the arguments, in order.
        temporal: whether it takes the BEV of the sample before and gives that of this one.
        gathers: whether to do without GridSample.
    """
    torch = load_library("torch")
    head = model.pts_bbox_head
    size = (head.bev_h, head.bev_w)

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.register_buffer("columns", column_points(head.transformer.encoder, size), persistent=False)
            self.register_buffer("places", look_up_references(head.transformer.encoder, size), persistent=False)

        def forward(self, *arguments: Any) -> Any:
            given = dict(zip(names, arguments))
            bev = self.look(given)
            elements = decode_elements(head, bev, size, gathers=gathers)
            return (*elements, bev) if temporal else elements

        def look(self, given: Mapping[str, Any]) -> Any:
            """The BEV (1, queries, channels)."""
            transformer = head.transformer
            pictures = given["pictures"]
            levels = model.img_neck(model.img_backbone(pictures))
            features, sizes = flatten_levels(transformer, levels)
            blank = pictures.new_zeros(1, *size)
            encoding = head.positional_encoding(blank).flatten(2).transpose(1, 2)
            query = add_can_bus(transformer, head.bev_embedding.weight[None], given.get("can_bus"))
            before = None
            if temporal:
                before = Before(given["previous_bev"], given["previous_pixels"], given["shift"], given["has_previous"])
            picture = (int(pictures.shape[-2]), int(pictures.shape[-1]))
            rig = project(self.columns, given["lidar2img"], picture)
            return encode_bev(
                transformer.encoder, query, encoding, features, sizes, rig, size, self.places, before, gathers=gathers
            )

    return Module().to(next(model.parameters()).device).eval()


def decode_elements(head: Any, bev: Any, size: Any, *, gathers: bool) -> Any:
    """MapTR's decoder and the last layer's branches: class scores, boxes and points of every element."""
    points = head.num_pts_per_vec
    if head.query_embed_type == "all_pts":
        embedding = head.query_embedding.weight
    else:
        embedding = (head.pts_embedding.weight[None] + head.instance_embedding.weight[:, None]).flatten(0, 1)
    encoding, query = (one[None] for one in embedding.split(head.embed_dims, dim=1))
    references = head.transformer.reference_points(encoding).sigmoid()
    inverse_sigmoid = load_library("mmdet.models.utils.transformer").inverse_sigmoid
    last = references
    for index, layer in enumerate(head.transformer.decoder.layers):
        last = references
        query = decode_layer(layer, query, encoding, bev, references, size, gathers=gathers)
        if head.with_box_refine:
            moved = head.reg_branches[index](query)[..., :2] + inverse_sigmoid(references)
            references = moved.sigmoid()
    scores = head.cls_branches[index](query.view(1, head.num_vec, points, -1).mean(2))
    found = (head.reg_branches[index](query) + inverse_sigmoid(last)).sigmoid()
    boxes, found = head.transform_box(found)
    return scores, boxes, found


def decode_layer(layer: Any, query: Any, encoding: Any, bev: Any, references: Any, size: Any, *, gathers: bool) -> Any:
    """A decoder layer over the BEV; queries are (1, queries, channels)."""

    def own(attention: Any, now: Any) -> Any:
        turned, pos = now.transpose(0, 1), encoding.transpose(0, 1)
        return attention(turned, turned, turned, None, query_pos=pos, key_pos=pos).transpose(0, 1)

    def cross(attention: Any, now: Any) -> Any:
        found = attend_deformable(attention, now + encoding, bev, references[:, :, None], [size], gathers=gathers)
        return found + now

    return run_layer(layer, query, own, cross)


NETWORKS = {"default": MapNetwork, "gathers": MapNetworkByGathers}
