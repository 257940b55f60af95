"""What of TopoMLP leaves PyTorch: everything from the scaled pictures to lanes, traffic elements and their relations.

The cameras' inverse projections are an input, inverted outside in float64: no operator of ONNX inverts a matrix.
Upstream also runs lanes that only training needs; a mask keeps them from the others, so here they are left out.
"""

from typing import Any, List, Mapping, Sequence

from frames import CAMERA_COUNT, DATASET_OF_FRONT

from worker.adapter import DataError
from worker.mmlab.common.libraries import load_library
from worker.mmlab.traced.attention import attend_deformable, require_kinds, run_layer
from worker.mmlab.traced.decoder import decode_queries, inverse_sigmoid
from worker.mmlab.traced.pictures import example_rig, pictures_input_shape, steps
from worker.network import Arrays, Network, TensorSpec, refuse_export

KNOWN = (
    "LaneHead",
    "PETRTransformer",
    "PETRTransformerDecoder",
    "PETRTransformerDecoderLayer",
    "PETRMultiheadAttention",
    "MultiheadAttention",
    "SinePositionalEncoding3D",
    "TrafficHead",
    "CustomDetrTransformerDecoderLayer",
    "TopoLLHead",
    "TopoLTHead",
    "MLP",
    "GridMask",
)
"""The classes of upstream's that are traced, or computed in another form."""
LANE_LEVEL = 2
"""Which of the neck's four levels the lanes are found in."""


class LaneNetwork(Network):
    """Pictures and rig → lanes, traffic elements of the front camera, and how they connect."""

    gathers = False

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        model = adapter._model
        require_kinds(model, KNOWN, name="TopoMLP")
        if model.te_head.as_two_stage:
            raise refuse_export("TopoMLP", "te_head is two-stage, which no traced form is written for")
        dataset = str(adapter._config.data.test.type)
        fronts = [front for front, kind in DATASET_OF_FRONT.items() if kind == dataset]
        if not fronts:
            raise refuse_export("TopoMLP", f"nobody knows how many cameras {dataset} has")
        self._cameras = CAMERA_COUNT[fronts[0]]
        self._picture, self._padded = picture_sizes(adapter._config)

    def inputs(self) -> Sequence[TensorSpec]:
        height, width = self._padded
        shape = (*pictures_input_shape(self._cameras)[:2], height, width)
        return (
            TensorSpec("pictures", "float32", shape, "normalised; the front camera first", "camera"),
            TensorSpec("img2lidar", "float32", (self._cameras, 4, 4), "pixels and m to m", "ego"),
            TensorSpec("front_projection", "float32", (9,), "rows of lidar2img, the front camera's", "ego"),
        )

    def outputs(self) -> Sequence[TensorSpec]:
        model = self.adapter._model
        lanes, elements = model.lc_head.num_lanes_one2one, model.te_head.num_query
        return (
            TensorSpec("lane_scores", "float32", (1, lanes, model.lc_head.cls_out_channels), "logits"),
            TensorSpec("lanes", "float32", (1, lanes, model.lc_head.num_reg_dim), "m, control points x y z", "ego"),
            TensorSpec("element_scores", "float32", (1, elements, model.te_head.cls_out_channels), "logits"),
            TensorSpec("elements", "float32", (1, elements, 4), "centre, size; 0 to 1 of the picture", "camera"),
            TensorSpec("lane_to_lane", "float32", (1, lanes, lanes, 1), "logits"),
            TensorSpec("lane_to_element", "float32", (1, lanes, elements, 1), "logits"),
        )

    def build(self) -> Any:
        return make_module(self.adapter._model, self._cameras, self._picture, self._padded, gathers=self.gathers)

    def feeds(self, inputs: Any) -> List[Arrays]:
        numpy = load_library("numpy")
        (meta,) = inputs["img_metas"]
        for key, size in (("img_shape", self._picture), ("pad_shape", self._padded)):
            for shape in meta[key]:
                if tuple(shape[:2]) != size:
                    raise DataError(
                        "pictures of {}x{} pixels, and the network takes {}x{}".format(shape[1], shape[0], *size[::-1])
                    )
        rig = numpy.stack([numpy.asarray(one, dtype=numpy.float64) for one in meta["lidar2img"]])
        return [
            {
                "pictures": inputs["img"][0].cpu().numpy(),
                "img2lidar": numpy.linalg.inv(rig).astype(numpy.float32),
                "front_projection": rig[0, :3, :3].reshape(-1).astype(numpy.float32),
            }
        ]

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        """By upstream's `forward_test`, whose network answers with these outputs."""
        torch = load_library("torch")
        model = self.adapter._model
        given = {name: torch.from_numpy(array) for name, array in calls[0].items()}
        (meta,) = inputs["img_metas"]
        front = {**meta, "img_shape": meta["img_shape"][0]}
        outputs = {
            "all_lc_cls_scores_list": given["lane_scores"][None],
            "all_lc_preds_list": given["lanes"][None],
            "lc_img_metas": [{"img_shape": None, "scale_factor": None}],
            "all_te_cls_scores_list": given["element_scores"][None],
            "all_te_preds_list": given["elements"][None],
            "te_img_metas": [front],
            "all_lclc_preds_list": given["lane_to_lane"],
            "all_lcte_preds_list": given["lane_to_element"],
        }
        model.simple_forward = lambda *_: outputs
        try:
            return model.forward_test(None, [meta])
        finally:
            del model.simple_forward

    def example(self, axes: Mapping[str, int]) -> Arrays:
        numpy = load_library("numpy")
        given = super().example(axes)
        rig = example_rig(self._cameras, self._picture).astype(numpy.float64)
        given["img2lidar"] = numpy.linalg.inv(rig).astype(numpy.float32)
        given["front_projection"] = rig[0, :3, :3].reshape(-1).astype(numpy.float32)
        return given


class LaneNetworkByGathers(LaneNetwork):
    """The same without GridSample, for runtimes that compute it wrong."""

    gathers = True


def picture_sizes(config: Any) -> Any:
    """Height and width of the pictures as the test pipeline scales them, and with what it pads.

    Raises:
        NetworkError: the pipeline does not give all pictures one size.
    """
    resized = list(steps(config.data.test.pipeline, "ResizeMultiview3D"))
    padded = list(steps(config.data.test.pipeline, "CustomPadMultiViewImage"))
    if len(resized) != 1 or len(padded) != 1 or resized[0].get("keep_ratio", True):
        raise refuse_export("TopoMLP", "its pipeline does not give all pictures one size")
    width, height = resized[0]["img_scale"]
    divisor = int(padded[0]["size_divisor"])
    return (height, width), tuple(-(-length // divisor) * divisor for length in (height, width))


def make_module(model: Any, cameras: int, picture: Any, padded: Any, *, gathers: bool) -> Any:
    """TopoMLP's forward pass as a module of tensors alone.

    Args:
        model: upstream's network.
        cameras: how many cameras there are.
        picture: height and width of what of a padded picture is picture.
        padded: height and width of the pictures that the network gets.
        gathers: whether to do without GridSample.
    """
    torch = load_library("torch")
    one_input = torch.zeros(1, 3, *padded, device=next(model.parameters()).device)
    with torch.no_grad():
        levels = model.img_neck(model.img_backbone(one_input))
    if len(levels) != 4:
        raise refuse_export("TopoMLP", f"its neck gives {len(levels)} levels, not 4")
    sizes = [tuple(int(length) for length in one.shape[-2:]) for one in levels]
    masks = [padding_mask(picture, padded, size) for size in sizes]

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            with torch.no_grad():
                fixed = {
                    **lane_constants(model.lc_head, masks[LANE_LEVEL], cameras, padded),
                    **element_constants(model.te_head, masks, sizes),
                }
            self.names = list(fixed)
            for name, value in fixed.items():
                self.register_buffer(name, value, persistent=False)

        def forward(self, pictures: Any, img2lidar: Any, front_projection: Any) -> Any:
            fixed = {name: getattr(self, name) for name in self.names}
            levels = model.img_neck(model.img_backbone(pictures))
            lane_features, lane_scores, lanes = find_lanes(model.lc_head, levels[LANE_LEVEL], img2lidar, fixed)
            front = [one[:1] for one in levels]
            element_features, element_scores, elements = find_elements(
                model.te_head, front, sizes, fixed, gathers=gathers
            )
            by_lanes = model.lclc_head(lane_features[None], lane_features[None], lanes[None], lanes[None])
            by_elements = relate(model.lcte_head, lane_features, element_features, front_projection)
            return lane_scores, lanes, element_scores, elements, by_lanes, by_elements

    return Module().to(next(model.parameters()).device).eval()


def find_lanes(head: Any, features: Any, img2lidar: Any, fixed: Mapping[str, Any]) -> Any:
    """The lanes' queries (1, lanes, channels), scores and control points [m], of one level of all pictures."""
    encoding = head.position_encoder(place_pixels(head, img2lidar, fixed["lane_rays"])) + fixed["lane_sines"]
    memory, encoding = (
        one.permute(0, 2, 3, 1).reshape(-1, 1, head.embed_dims) for one in (head.input_proj(features), encoding)
    )
    decoder, queries = head.transformer.decoder, fixed["lane_queries"]
    found = decoder(
        query=queries.new_zeros(queries.shape),
        key=memory,
        value=memory,
        key_pos=encoding,
        query_pos=queries,
        key_padding_mask=fixed["lane_ignored"],
    )[-1].transpose(0, 1)
    moved = (head.lane_reg_branches[-1](found) + fixed["lane_references"]).sigmoid()
    return found, head.lane_cls_branches[-1](found), moved * fixed["lane_spans"] + fixed["lane_lows"]


def place_pixels(head: Any, img2lidar: Any, lines: Any) -> Any:
    """Where each pixel may lie, at each depth, as PETR encodes it: (cameras, depths · 3, height, width)."""
    torch = load_library("torch")
    x, y, z = lines[0], lines[1], lines[2]
    matrix = img2lidar[:, :, :, None, None, None]
    rows = [
        matrix[:, row, 0] * x + matrix[:, row, 1] * y + matrix[:, row, 2] * z + matrix[:, row, 3] for row in range(3)
    ]
    low, high = head.position_range[:3], head.position_range[3:]
    places = [(one - low[axis]) / (high[axis] - low[axis]) for axis, one in enumerate(rows)]
    return inverse_sigmoid(torch.stack(places, 2).flatten(1, 2))


def find_elements(
    head: Any, levels: Sequence[Any], sizes: Sequence[Any], fixed: Mapping[str, Any], *, gathers: bool
) -> Any:
    """The traffic elements' queries (1, elements, channels), scores and boxes, 0 to 1."""
    torch = load_library("torch")
    memory = torch.cat([one.flatten(2).transpose(1, 2) for one in levels], 1)
    memory = look_at_front(head, memory, sizes, fixed, gathers=gathers)
    encoding, query = (one[None] for one in head.query_embedding.weight.split(head.embed_dims, dim=1))
    ratios = fixed["element_ratios"]

    def look(references: Any) -> Any:
        four = int(references.shape[-1]) == 4
        return references[:, :, None] * (torch.cat([ratios, ratios], -1) if four else ratios)

    query, used = decode_queries(
        head.transformer.decoder.layers,
        head.reg_branches if head.with_box_refine else (),
        query,
        encoding,
        memory,
        head.transformer.reference_points(encoding).sigmoid(),
        sizes,
        refine=move_box,
        look=look,
        kept=fixed["element_kept"],
        gathers=gathers,
    )
    return query, head.cls_branches[-1](query), move_box(head.reg_branches[-1](query), used).sigmoid()


def look_at_front(head: Any, memory: Any, sizes: Sequence[Any], fixed: Mapping[str, Any], *, gathers: bool) -> Any:
    """Deformable DETR's encoder over all levels of the front picture (1, pixels, channels)."""

    def own(attention: Any, now: Any) -> Any:
        found = attend_deformable(
            attention,
            now + fixed["element_encoding"],
            now,
            fixed["element_references"],
            sizes,
            kept=fixed["element_kept"],
            gathers=gathers,
        )
        return found + now

    for layer in head.transformer.encoder.layers:
        memory = run_layer(layer, memory, own, own)
    return memory


def padding_mask(picture: Any, padded: Any, size: Any) -> Any:
    """Which pixels of a feature map are padding, (height, width), as upstream scales its masks."""
    torch = load_library("torch")
    mask = torch.ones(1, 1, *padded)
    mask[..., : picture[0], : picture[1]] = 0
    return load_library("torch.nn.functional").interpolate(mask, size=size)[0, 0].bool()


def lane_constants(head: Any, mask: Any, cameras: int, padded: Any) -> Mapping[str, Any]:
    """What of the lanes' head depends on neither pictures nor rig, by the formulas of upstream's `forward`."""
    torch = load_library("torch")
    module = load_library(type(head).__module__)
    if not (head.with_position and head.with_multiview):
        raise refuse_export("TopoMLP", "lc_head has another positional encoding than PETR's")
    device, lanes = head.reference_points_lane.weight.device, head.num_lanes_one2one
    masks = mask.to(device).expand(1, cameras, -1, -1)
    references = head.reference_points_lane.weight[:lanes]
    low, high = (head.bev_range[:3], head.bev_range[3:])
    points = head.num_control_points
    lows = torch.tensor(list(low) * points, device=device)
    return {
        "lane_sines": head.adapt_pos3d(head.positional_encoding(masks).flatten(0, 1)),
        "lane_ignored": masks.reshape(1, -1),
        "lane_queries": head.query_embedding_lane(module.pos2posemb3d(references))[:, None],
        "lane_references": inverse_sigmoid(references.repeat(1, points))[None],
        "lane_lows": lows,
        "lane_spans": torch.tensor(list(high) * points, device=device) - lows,
        "lane_rays": rays(head, mask.shape, padded).to(device),
    }


def rays(head: Any, size: Any, padded: Any) -> Any:
    """What is projected back, (3, depths, height, width): x · depth and y · depth of a pixel, and the depth."""
    torch = load_library("torch")
    height, width = size
    index = torch.arange(head.depth_num).float()
    count = head.depth_num * (1 + head.depth_num) if head.LID else head.depth_num
    bin_size = (head.position_range[3] - head.depth_start) / count
    depths = head.depth_start + bin_size * index * (index + 1 if head.LID else 1)
    rows = torch.arange(height).float() * padded[0] / height
    columns = torch.arange(width).float() * padded[1] / width
    depth = depths[:, None, None].expand(-1, height, width)
    away = depth.clamp(min=1e-5)
    return torch.stack([columns[None, None] * away, rows[None, :, None] * away, depth])


def element_constants(head: Any, masks: Sequence[Any], sizes: Sequence[Any]) -> Mapping[str, Any]:
    """What of the traffic elements' head depends on no picture, by upstream's formulas."""
    torch = load_library("torch")
    transformer = head.transformer
    device = transformer.level_embeds.device
    masks = [one[None].to(device) for one in masks]
    ratios = torch.stack([transformer.get_valid_ratio(one) for one in masks], 1)
    encodings = [
        head.positional_encoding(one).flatten(2).transpose(1, 2) + transformer.level_embeds[level].view(1, 1, -1)
        for level, one in enumerate(masks)
    ]
    return {
        "element_encoding": torch.cat(encodings, 1),
        "element_kept": 1 - torch.cat([one.flatten(1) for one in masks], 1).float()[0, :, None],
        "element_ratios": ratios,
        "element_references": transformer.get_reference_points(sizes, ratios, device=device),
    }


def move_box(regressed: Any, references: Any) -> Any:
    """References of x and y, or of x, y, width and height, moved by a branch's four numbers."""
    torch = load_library("torch")
    moved = inverse_sigmoid(references)
    if int(references.shape[-1]) == 4:
        return regressed + moved
    return torch.cat([regressed[..., :2] + moved, regressed[..., 2:]], -1)


def relate(head: Any, lanes: Any, elements: Any, front_projection: Any) -> Any:
    """How likely each lane is governed by each element, (1, lanes, elements, 1): upstream's head, the rig an input."""
    torch = load_library("torch")
    first, second = head.MLP_o1(lanes), head.MLP_o2(elements)
    if head.add_pos:
        first = head.pos_embed(front_projection) + first
    first = first[:, :, None].expand(-1, -1, second.shape[1], -1)
    second = second[:, None].expand(-1, first.shape[1], -1, -1)
    return head.classifier(torch.cat([first, second], dim=-1))


NETWORKS = {"default": LaneNetwork, "gathers": LaneNetworkByGathers}
