"""Decoders of Deformable DETR's kind: queries that refine where they look, layer by layer."""

from typing import Any, Callable, Optional, Sequence, Tuple

from ..common.libraries import load_library
from .attention import attend_deformable, run_layer
from .sampling import Size

Refine = Callable[[Any, Any], Any]
"""What a regression branch gives (1, queries, code) and the references (1, queries, n) → the new references' logits."""


def decode_queries(
    layers: Sequence[Any],
    branches: Sequence[Any],
    query: Any,
    encoding: Any,
    value: Any,
    references: Any,
    sizes: Sequence[Size],
    *,
    refine: Refine,
    look: Optional[Callable[[Any], Any]] = None,
    kept: Optional[Any] = None,
    gathers: bool = False,
) -> Tuple[Any, Any]:
    """Run a decoder; returns the last layer's queries and the references that it looked at.

    Args:
        layers: upstream's decoder layers.
        branches: the regression branches that refine the references; empty where nothing does.
        query: (1, queries, channels).
        encoding: the queries' positional encoding, of the same shape.
        value: what is looked at, (1, pixels of all levels, channels).
        references: where each query looks first, (1, queries, 2 or more), x and y first, 0 to 1.
        sizes: the levels' height and width.
        refine: how a branch's output moves the references.
        look: where the value is looked at, of the references: (1, queries, 1 or levels, 2 or 4); x and y of them, for
            every level, without it.
        kept: as in `attend_deformable`.
        gathers: whether to do without GridSample.
    """
    used = references
    for index, layer in enumerate(layers):
        used = references
        where = references[:, :, None, :2] if look is None else look(references)
        query = decode_layer(layer, query, encoding, value, where, sizes, kept=kept, gathers=gathers)
        if len(branches) and index + 1 < len(layers):
            references = refine(branches[index](query), references).sigmoid()
    return query, used


def decode_layer(
    layer: Any,
    query: Any,
    encoding: Any,
    value: Any,
    where: Any,
    sizes: Sequence[Size],
    *,
    kept: Optional[Any],
    gathers: bool,
) -> Any:
    """One layer: the queries ask each other, then the value. Tensors as in `decode_queries`; `where` of its `look`."""

    def own(attention: Any, now: Any) -> Any:
        turned, position = now.transpose(0, 1), encoding.transpose(0, 1)
        return attention(turned, turned, turned, None, query_pos=position, key_pos=position).transpose(0, 1)

    def cross(attention: Any, now: Any) -> Any:
        found = attend_deformable(attention, now + encoding, value, where, sizes, kept=kept, gathers=gathers)
        return found + now

    return run_layer(layer, query, own, cross)


def inverse_sigmoid(value: Any) -> Any:
    """mmdet's, which clamps at 1e-5."""
    return load_library("mmdet.models.utils.transformer").inverse_sigmoid(value)


def move_in_plane(regressed: Any, references: Any) -> Any:
    """References of x and y alone, moved by a branch's first two numbers: MapTR's."""
    return regressed[..., :2] + inverse_sigmoid(references)


class MapParts:
    """Where a head has the parts of MapTR's decoder: VAD's names begin with `map_`."""

    def __init__(self, head: Any, prefix: str = "") -> None:
        def part(name: str) -> Any:
            return getattr(head, prefix + name)

        transformer = head.transformer
        self.elements, self.points = part("num_vec"), part("num_pts_per_vec")
        self.cls_branches, self.reg_branches = part("cls_branches"), part("reg_branches")
        self.layers = getattr(transformer, prefix + "decoder").layers
        self.reference_points = getattr(transformer, prefix + "reference_points")
        self._whole = part("query_embedding")
        self._halves = None
        if self._whole is None:
            self._halves = (part("pts_embedding"), part("instance_embedding"))

    @property
    def embedding(self) -> Any:
        """The queries' embedding and positional encoding side by side, (elements · points, 2 · channels)."""
        if self._halves is None:
            return self._whole.weight
        points, instances = self._halves
        return (points.weight[None] + instances.weight[:, None]).flatten(0, 1)


def decode_map(head: Any, parts: MapParts, bev: Any, size: Size, *, gathers: bool) -> Tuple[Any, Any, Any]:
    """MapTR's elements: the last layer's queries (1, elements · points, channels), class scores and points' places.

    The places are (1, elements · points, 2), 0 to 1 over the map's range.
    """
    transformer = head.transformer
    encoding, query = (one[None] for one in parts.embedding.split(transformer.embed_dims, dim=1))
    references = parts.reference_points(encoding).sigmoid()
    branches = parts.reg_branches if head.with_box_refine else ()
    query, used = decode_queries(
        parts.layers, branches, query, encoding, bev, references, [size], refine=move_in_plane, gathers=gathers
    )
    pooled = query.view(1, parts.elements, parts.points, -1).mean(2)
    places = move_in_plane(parts.reg_branches[-1](query), used).sigmoid()
    return query, parts.cls_branches[-1](pooled), places


def decode_objects(head: Any, bev: Any, size: Any, *, gathers: bool) -> Any:
    """The objects' queries (1, objects, channels), class scores, boxes, and centres (1, objects, 2), 0 to 1."""
    torch = load_library("torch")
    transformer, low, high = head.transformer, head.pc_range[:3], head.pc_range[3:]
    encoding, query = (one[None] for one in head.query_embedding.weight.split(head.embed_dims, dim=1))
    references = transformer.reference_points(encoding).sigmoid()
    branches = head.reg_branches if head.with_box_refine else ()
    query, used = decode_queries(
        transformer.decoder.layers,
        branches,
        query,
        encoding,
        bev,
        references,
        [size],
        refine=move_in_space,
        gathers=gathers,
    )
    box = head.reg_branches[-1](query)
    places = move_in_space(box, used).sigmoid()
    x, y, z = (places[..., axis : axis + 1] * (high[axis] - low[axis]) + low[axis] for axis in range(3))
    boxes = torch.cat([x, y, box[..., 2:4], z, box[..., 5:]], -1)
    return query, head.cls_branches[-1](query), boxes, places[..., :2]


def move_in_space(regressed: Any, references: Any) -> Any:
    """References of x, y and z, moved by a branch's first, second and fifth number."""
    torch = load_library("torch")
    return torch.cat([regressed[..., :2], regressed[..., 4:5]], -1) + inverse_sigmoid(references)
