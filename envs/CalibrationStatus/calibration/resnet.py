"""The network: torchvision's ResNet-18 with five input channels and two classes, at any width.

Source: K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016, as torchvision writes it. A configuration
says the width; a file of weights says it by its shapes, each layer its own, so that networks run that lost channels.
"""

import json
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import torch
import torchvision

from calibration.channels import CHANNELS

CLASSES = ("miscalibrated", "calibrated")
"""Label 0 and label 1."""
_FIRST, _LAST = "resnet.conv1", "resnet.fc"

Shapes = Dict[str, Tuple[int, int]]
"""Output and input channels by the layer's name; of a normalization both are its channels."""


class CalibrationNet(torch.nn.Module):
    """(B, 5, H, W) in 0 to 255 → logits (B, 2), label 0 miscalibrated.

    `width` is the share of ResNet-18's channels in every layer, rounded, at least one.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.resnet = torchvision.models.resnet18(weights=None, num_classes=len(CLASSES))
        self.resnet.conv1 = torch.nn.Conv2d(CHANNELS, 64, kernel_size=7, stride=2, padding=3, bias=False)
        if width != 1.0:
            self._resize({name: _scale(name, shape, width) for name, shape in _shapes(self.state_dict()).items()})

    @classmethod
    def filled(cls, state: Mapping[str, Any]) -> "CalibrationNet":
        """Return the network that weights are of, with them in it.

        Raises:
            ValueError: their first layer does not take five channels, or their last does not give two classes.
            KeyError, RuntimeError: they are not a ResNet-18's.
        """
        network, shapes = cls(), _shapes(state)
        if shapes[_FIRST][1] != CHANNELS or shapes[_LAST][0] != len(CLASSES):
            raise ValueError(f"it takes {shapes[_FIRST][1]} channels and gives {shapes[_LAST][0]} classes")
        network._resize(shapes)
        network.load_state_dict(state)
        return network

    def forward(self, channels: Any) -> Any:
        """Return the logits."""
        return self.resnet(channels / 255.0)

    def _resize(self, shapes: Shapes) -> None:
        """Replace every layer whose channels are others, by one that is drawn anew."""
        own = _shapes(self.state_dict())
        for name, module in list(self.named_modules()):
            if name in shapes and name in own and shapes[name] != own[name]:
                parent, _, attribute = name.rpartition(".")
                setattr(self.get_submodule(parent), attribute, _remake(module, *shapes[name]))


def width_of(config: Any) -> float:
    """The width that a configuration states, a JSON file; 1 without one. Raises ValueError: it states none."""
    if config is None:
        return 1.0
    stated = json.loads(Path(config).read_text(encoding="utf-8"))
    width = stated.get("width") if isinstance(stated, dict) else None
    if not isinstance(width, (int, float)) or not 0 < width <= 1:
        raise ValueError(f'{config} states no "width" above 0 and up to 1')
    return float(width)


def _shapes(state: Mapping[str, Any]) -> Shapes:
    weights = {name[: -len(".weight")]: one.shape for name, one in state.items() if name.endswith(".weight")}
    return {name: (shape[0], shape[1] if len(shape) > 1 else shape[0]) for name, shape in weights.items()}


def _scale(name: str, shape: Tuple[int, int], width: float) -> Tuple[int, int]:
    outputs, inputs = (max(1, round(width * channels)) for channels in shape)
    return (shape[0] if name == _LAST else outputs, shape[1] if name == _FIRST else inputs)


def _remake(module: Any, outputs: int, inputs: int) -> Any:
    if isinstance(module, torch.nn.Conv2d):
        made = torch.nn.Conv2d(
            inputs, outputs, module.kernel_size, stride=module.stride, padding=module.padding, bias=False
        )
        torch.nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")  # as torchvision begins
        return made
    if isinstance(module, torch.nn.BatchNorm2d):
        return torch.nn.BatchNorm2d(outputs)
    return torch.nn.Linear(inputs, outputs)
