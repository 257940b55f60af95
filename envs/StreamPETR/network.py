"""What of StreamPETR leaves PyTorch: the whole detector, with its memory and everything of the rig as inputs.

The authors keep the memory in global coordinates and absolute time. One kilometre from the map's origin, float32 loses
so much of these that other boxes come out. Here the memory stays in the frame of the LiDAR of the last sample: what
comes in is the motion since then and the seconds since then, both worked out in float64. All else is the authors' own
forward.
"""

from types import MappingProxyType
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from worker.mmlab.common.libraries import load_library
from worker.mmlab.v1.exported import CODES, IMAGE, IMG2LIDAR, SCORES, ExportedDetector, Given, with_class
from worker.network import Arrays, Paired, TensorSpec
from worker.rows import keep_rows

MEMORY = ("embedding", "reference_point", "timestamp", "egopose", "velo")
"""What the authors' head calls the parts of its memory, behind `memory_`."""
NEXT = "next_"
TIE = 2e-4
"""How far the scores of two queries may lie apart, of which either may be chosen."""
POSE = "lidar2global"
"""What the adapter calls the pose in the meta data: (4, 4) [m], float64."""


class Detector(ExportedDetector):
    """Pictures, rig, motion and memory → scores, box codes and the memory for the next sample."""

    departs = "the memory stays in the frame of the last sample, where float32 loses nothing far from the map's origin"
    carried: Mapping[str, str] = MappingProxyType({NEXT + "memory_" + part: "memory_" + part for part in MEMORY})
    heads = ("StreamPETRHead",)

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self._last: Optional[Any] = None

    def inputs(self) -> Sequence[TensorSpec]:
        return (
            *self.pictures(),
            TensorSpec("intrinsics", "float32", (1, self.cameras, 4, 4), "pixel", "camera"),
            TensorSpec("prev_exists", "float32", (1,), "0 at the first sample of a scene, else 1"),
            TensorSpec("last2now", "float32", (1, 4, 4), "m", "LiDAR at the last sample to LiDAR now"),
            TensorSpec("seconds", "float32", (1,), "s since the last sample"),
            *self._memory(),
        )

    def outputs(self) -> Sequence[TensorSpec]:
        return (*self.boxes(), *[one._replace(name=NEXT + one.name) for one in self._memory()])

    def build(self) -> Any:
        return _wrap(self)

    def start_scene(self) -> None:
        self._last = None

    def pair(self, ours: Arrays, theirs: Arrays) -> Paired:
        """The queries that go into the memory are those with the best scores, best first; then come older rows."""
        if any(ours[name].shape != theirs[name].shape for name in theirs):
            return super().pair(ours, theirs)
        chosen = min(self.head.topk_proposals, self.head.memory_len)
        older = [(row, row) for row in range(chosen, self.head.memory_len)]
        own, other = zip(*pair_chosen(ours, theirs, chosen), *older)
        return keep_rows(tuple(self.carried), own, other, ours, theirs, axis=1)

    def feeds(self, inputs: Any) -> List[Arrays]:
        """Also remembers the sample's pose and time, for the next call."""
        pose, seconds = self.meta(inputs)[POSE], float(self.array(inputs, "timestamp").reshape(-1)[0])
        last_pose, last_seconds = self._last or (pose, seconds)
        known = self._last is not None
        self._last = pose, seconds
        return [
            {
                **self.picture_feeds(inputs, self.array(inputs, "lidar2img")[0]),
                "intrinsics": self.array(inputs, "intrinsics"),
                "prev_exists": np.full(1, float(known), np.float32),
                "last2now": (np.linalg.inv(pose) @ last_pose)[None].astype(np.float32),
                "seconds": np.full(1, seconds - last_seconds, np.float32),
            }
        ]

    def example(self, axes: Mapping[str, int]) -> Arrays:
        """A sample in the middle of a scene, half a second and four metres after the last, with all memory filled."""
        random = np.random.default_rng(1)
        shapes = {one.name: one.concrete({}) for one in self._memory()}
        drawn = {name: random.standard_normal(shape) for name, shape in shapes.items()}
        drawn["memory_reference_point"] *= 20
        drawn["memory_timestamp"] = np.abs(drawn["memory_timestamp"])
        drawn["memory_egopose"] = np.eye(4) + 0.01 * drawn["memory_egopose"]
        moved = np.eye(4)
        moved[1, 3] = -4
        drawn.update({"prev_exists": np.ones(1), "last2now": moved[None], "seconds": np.full(1, 0.5)})
        drawn["intrinsics"] = np.broadcast_to(np.diag([1000.0, 1000.0, 1.0, 1.0]), (1, self.cameras, 4, 4))
        return {**super().example(axes), **{name: np.array(one, np.float32) for name, one in drawn.items()}}

    def _memory(self) -> List[TensorSpec]:
        length, where = self.head.memory_len, "LiDAR at the last sample"
        return [
            TensorSpec("memory_embedding", "float32", (1, length, self.head.embed_dims)),
            TensorSpec("memory_reference_point", "float32", (1, length, 3), "m", where),
            TensorSpec("memory_timestamp", "float32", (1, length, 1), "s before the last sample"),
            TensorSpec("memory_egopose", "float32", (1, length, 4, 4), "m", where),
            TensorSpec("memory_velo", "float32", (1, length, 2), "m/s", where),
        ]


def pair_chosen(ours: Arrays, theirs: Arrays, chosen: int) -> List[Tuple[int, int]]:
    """Pair the first `chosen` rows of both memories by their queries: (the row in `ours`, that in `theirs`).

    A query that `ours` left out has no pair where those taken in its place have as high a score in `ours`, but for TIE:
    the choice is right by the scores, which are compared themselves. Otherwise it is paired with the row that stands in
    its place, so that the difference shows.
    """
    queries, others = (_chosen_queries(one, chosen) for one in (ours, theirs))
    places = {query: row for row, query in enumerate(queries)}
    best = 1 / (1 + np.exp(-ours[SCORES][0].max(axis=-1).astype(np.float64)))
    least = min((best[query] for query in set(queries) - set(others)), default=-np.inf)
    found = [(places.get(query, None if best[query] - least <= TIE else row), row) for row, query in enumerate(others)]
    return [(own, row) for own, row in found if own is not None]


def _chosen_queries(outputs: Arrays, chosen: int) -> List[int]:
    """Of which query each of the memory's first rows is: the one with its position and velocity, or the nearest left.

    In float32 these are equal to the bit. In half precision the memory's have been through one more rounding.
    """
    boxes = np.concatenate([outputs[CODES][0, :, :3], outputs[CODES][0, :, -2:]], axis=-1)
    parts = [outputs[NEXT + "memory_" + part][0, :chosen] for part in ("reference_point", "velo")]
    apart = np.abs(np.concatenate(parts, axis=-1)[:, None] - boxes[None]).max(axis=-1)
    found = [0] * chosen
    for _ in range(chosen):
        row, query = np.unravel_index(int(apart.argmin()), apart.shape)
        found[int(row)] = int(query)
        apart[row, :] = apart[:, query] = np.inf
    return found


class RelativeMemory:
    """Over the authors' head: its memory is given, and is left in the frame of this sample's LiDAR."""

    def pre_update_memory(self, data: Any) -> None:
        """The authors' own update, of the motion since the last sample in place of a pose from global coordinates."""
        for part, given in zip(MEMORY, data["memory"]):
            setattr(self, "memory_" + part, given.clone())  # the authors' own writes into it
        super().pre_update_memory(data)

    def post_update_memory(self, data: Any, *others: Any) -> None:
        """The authors' own update, of no pose and no time."""
        torch = load_library("torch")
        stay = {"ego_pose": torch.eye(4, device=data["timestamp"].device)[None], "timestamp": 0 * data["timestamp"]}
        super().post_update_memory(stay, *others)


def _wrap(network: Detector) -> Any:
    torch = load_library("torch")
    names = [one.name for one in network.inputs()]
    kept = network.head.memory_len

    class Exported(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.detector = network.detector
            self.head = with_class(network.head, RelativeMemory)

        def forward(self, *given: Any) -> Any:
            own = dict(zip(names, given))
            metas = network.metas()
            features = self.detector.extract_img_feat(own[IMAGE].clone(), 1)  # which squeezes its input in place
            data = {
                "img_feats": features,
                "lidar2img": Given(own[IMG2LIDAR]),
                "intrinsics": own["intrinsics"],
                "prev_exists": own["prev_exists"],
                "ego_pose_inv": own["last2now"],
                "timestamp": own["seconds"],
                "memory": [own["memory_" + part] for part in MEMORY],
            }
            location = self.detector.prepare_location(metas, img_feats=features)
            chosen = self.detector.forward_roi_head(location, **data)["topk_indexes"]
            found = self.head(location, metas, chosen, **data)
            memory = [getattr(self.head, "memory_" + part)[:, :kept].float() for part in MEMORY]
            return (found["all_cls_scores"][-1], found["all_bbox_preds"][-1], *memory)

    return Exported().eval()


NETWORKS = {"default": Detector}
