"""What of CalibrationStatus leaves PyTorch: the whole classifier, any number of inputs at once."""

from typing import Any, List, Mapping, Sequence

import numpy as np
from calibration.channels import CHANNELS, HEIGHT, WIDTH

from worker.network import Arrays, Network, TensorSpec

CLASSES = 2


class Classifier(Network):
    """channels (B, 5, H, W) → logits (B, 2)."""

    def inputs(self) -> Sequence[TensorSpec]:
        unit = "BGR 0 to 255; depth 255 z / 128 m; intensity 0 to 255"
        return (TensorSpec("channels", "float32", ("batch", CHANNELS, HEIGHT, WIDTH), unit, "camera"),)

    def outputs(self) -> Sequence[TensorSpec]:
        return (TensorSpec("logits", "float32", ("batch", CLASSES), "label 0 miscalibrated, 1 calibrated"),)

    def build(self) -> Any:
        """The network with its one output in a tuple, as every network here returns them."""
        import torch

        class Wrapped(torch.nn.Module):
            def __init__(self, network: Any) -> None:
                super().__init__()
                self.network = network

            def forward(self, channels: Any) -> Any:
                return (self.network(channels),)

        return Wrapped(self.adapter._network).eval()

    def feeds(self, inputs: Any) -> List[Arrays]:
        return [{"channels": inputs.channels}]

    def decode(self, calls: Sequence[Arrays], inputs: Any) -> Any:
        return calls[0]["logits"], inputs.judged

    def example(self, axes: Mapping[str, int]) -> Arrays:
        """Values of the inputs' own range."""
        shape = self.inputs()[0].concrete({"batch": 2, **axes})
        return {"channels": np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)}


NETWORKS = {"default": Classifier}
