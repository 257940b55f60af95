"""The network: torchvision's ResNet-18 with five input channels and two classes.

Source: K. He et al., Deep Residual Learning for Image Recognition, CVPR 2016, as torchvision writes it.
"""

from typing import Any

import torch
import torchvision

from calibration.channels import CHANNELS

CLASSES = ("miscalibrated", "calibrated")
"""Label 0 and label 1."""


class CalibrationNet(torch.nn.Module):
    """(B, 5, H, W) in 0 to 255 → logits (B, 2), label 0 miscalibrated."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = torchvision.models.resnet18(weights=None, num_classes=len(CLASSES))
        self.resnet.conv1 = torch.nn.Conv2d(CHANNELS, 64, kernel_size=7, stride=2, padding=3, bias=False)

    def forward(self, channels: Any) -> Any:
        """Return the logits."""
        return self.resnet(channels / 255.0)
