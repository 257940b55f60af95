"""What of PETR and PETRv2 leaves PyTorch: the whole detector, with the rig as an input.

The authors' own layers and forward run. They invert the rig's matrices in NumPy, which a trace bakes in: here the
positions of the pictures' rays are worked out from an input instead. PETRv2 divides its velocities by the time between
its two pictures, which comes from NumPy too and is an input here.
"""

from typing import Any, List, Mapping, Sequence

import numpy as np

from ...network import Arrays, TensorSpec
from ..common.libraries import load_library
from .exported import CAMERAS, IMAGE, IMG2LIDAR, ExportedDetector, with_class

SECONDS = "seconds"
VELOCITY = 8
"""Where a box's code has its velocity."""
NEAREST = 1e-5
"""The least depth by which the authors scale a ray's pixels."""


class PetrNetwork(ExportedDetector):
    """Pictures and rig → scores and box codes; of PETRv2 with the pictures from before, and how long before."""

    heads = ("PETRHead", "PETRv2Head")

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self.timed = bool(getattr(self.head, "with_time", False))
        self.frames = 2 if self.timed else 1

    def inputs(self) -> Sequence[TensorSpec]:
        timed = (TensorSpec(SECONDS, "float32", (1,), "s from the earlier pictures to these"),) if self.timed else ()
        return (*self.pictures(), *timed)

    def outputs(self) -> Sequence[TensorSpec]:
        return self.boxes()

    def build(self) -> Any:
        return _wrap(self)

    def feeds(self, inputs: Any) -> List[Arrays]:
        meta = self.meta(inputs)
        feed = self.picture_feeds(inputs, meta["lidar2img"])
        if self.timed:
            ages = np.asarray(meta["timestamp"], np.float64).reshape(-1, CAMERAS)
            feed[SECONDS] = np.full(1, (ages[1] - ages[0]).mean(), np.float32)
        return [feed]

    def example(self, axes: Mapping[str, int]) -> Arrays:
        timed = {SECONDS: np.full(1, 1.25, np.float32)} if self.timed else {}
        return {**super().example(axes), **timed}


class GivenRig:
    """Over the authors' head: `img2lidar` (1, N, 4, 4) is given to the copy before it is called."""

    img2lidar: Any

    def position_embeding(self, img_feats: Any, img_metas: Any, masks: Any = None) -> Any:
        """Embed where each pixel's ray passes, at each depth, in the LiDAR's frame; positions as the authors make them.

        Returns (1, N, C, H, W). The authors return a mask as well, and never use it.
        """
        cameras, _, height, width = img_feats[self.position_level].shape[1:]  # type: ignore[attr-defined]
        low, high = _range(self, self.img2lidar)
        rays = _rays(self, img_metas[0]["pad_shape"][0], height, width).to(self.img2lidar.device)
        points = rays @ self.img2lidar[0].transpose(1, 2)  # (HWD, 4) of each camera
        places = (points[..., :3] - low) / (high - low)
        places = places.view(cameras, height, width, -1).permute(0, 3, 1, 2)
        inverse_sigmoid = load_library("mmdet.models.utils.transformer").inverse_sigmoid
        embedded = self.position_encoder(inverse_sigmoid(places))  # type: ignore[attr-defined]
        return embedded[None], None


def _range(head: Any, like: Any) -> Any:
    """The least and the largest position [m], each (3,)."""
    bounds = like.new_tensor(head.position_range)
    return bounds[:3], bounds[3:]


def _rays(head: Any, padded: Any, height: int, width: int) -> Any:
    """(u d, v d, d, 1) of each pixel of the features at each depth d [m]: (height · width · depths, 4).

    Depths lie evenly, or grow by steps that grow evenly (LID): section 3.2 of PETR, after CaDDN.
    """
    torch = load_library("torch")
    number = torch.arange(head.depth_num).float()
    reach = head.position_range[3] - head.depth_start
    if head.LID:
        depths = head.depth_start + reach / (head.depth_num * (1 + head.depth_num)) * number * (number + 1)
    else:
        depths = head.depth_start + reach / head.depth_num * number
    rows = torch.arange(height).float() * padded[0] / height
    columns = torch.arange(width).float() * padded[1] / width
    v, u, d = torch.meshgrid(rows, columns, depths, indexing="ij")
    scale = d.clamp(min=NEAREST)
    return torch.stack([u * scale, v * scale, d, torch.ones_like(d)], dim=-1).view(-1, 4)


def _wrap(network: PetrNetwork) -> Any:
    torch = load_library("torch")
    names = [one.name for one in network.inputs()]

    class Exported(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.detector = network.detector
            # Velocities are divided below: the authors' own line reads the time from meta data.
            self.head = with_class(network.head, GivenRig, **({"with_time": False} if network.timed else {}))

        def forward(self, *given: Any) -> Any:
            own = dict(zip(names, given))
            metas = network.metas()
            features = self.detector.extract_img_feat(own[IMAGE].clone(), metas)  # which squeezes its input in place
            self.head.img2lidar = own[IMG2LIDAR]
            found = self.head(features, metas)
            scores, codes = found["all_cls_scores"][-1], found["all_bbox_preds"][-1]
            if network.timed:
                still, moving = codes[..., :VELOCITY], codes[..., VELOCITY:]
                codes = torch.cat([still, moving / own[SECONDS]], dim=-1)
            return scores, codes

    return Exported().eval()
