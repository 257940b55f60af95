"""CalibrationStatus's adapter: whether the calibration of each camera and the LiDAR agree, by a small classifier.

Each camera of a sample is judged twice, unless the option `forms` says `given`: with the extrinsics as the data set has
them, and with an error that is drawn from a seed. What the classifier makes of the second says what its word is worth.
"""

import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "runners")]

import numpy as np  # noqa: E402
from calibration.channels import make_channels, read_views  # noqa: E402

from worker.adapter import Adapter, Settings  # noqa: E402
from worker.main import main  # noqa: E402
from worker.mmlab.common.libraries import load_library, versions  # noqa: E402
from worker.samples.miscalibration import SEED, Miscalibration, as_json, draw_miscalibration  # noqa: E402

GIVEN, PERTURBED = "given", "perturbed"
BOTH = "both"


class Judged(NamedTuple):
    """One input of a sample: its camera, and the error of its extrinsics, None as they are given."""

    camera: str
    error: Any


class Prepared(NamedTuple):
    """The inputs of a sample: `channels` (B, 5, H, W) float32, and what each of the B is."""

    channels: np.ndarray
    judged: List[Judged]


class CalibrationStatus(Adapter):
    """ResNet-18 with five input channels, on every camera of a sample at once."""

    name = "CalibrationStatus"

    def load(self, settings: Settings) -> List[str]:
        """Build and fill the network, unless an exported file takes its place."""
        self._device = settings.device
        self._both = settings.options.get("forms", BOTH) == BOTH
        self._network = None
        if settings.engine:
            return []
        from calibration.weights import load_network

        self._network = load_network(settings)
        return []

    def read(self, described: Dict[str, Any]) -> Prepared:
        """Project the LiDAR's sweep into every camera."""
        judged, channels = [], []
        for camera, view in read_views(described).items():
            errors: List[Any] = [None]
            if self._both:
                errors.append(draw_miscalibration(SEED, described["sample_token"], camera))
            for error in errors:
                judged.append(Judged(camera, error))
                channels.append(make_channels(view, error))
        return Prepared(np.stack(channels), judged)

    def forward(self, inputs: Prepared) -> Any:
        """Return logits (B, 2) and what they are of."""
        torch = load_library("torch")
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(inputs.channels).to(self._device))
        return logits.cpu().numpy(), inputs.judged

    def graph_parts(self) -> Dict[str, Any]:
        """The whole network: its input is every camera of a sample."""
        return {} if self._network is None else {"network": self._network}

    def convert(self, raw: Any, sample: Dict[str, Any]) -> Dict[str, Any]:
        """The probability that a camera's calibration is right, by the softmax of both logits."""
        logits, judged = raw
        return {"calibration_status": [_record(one, logits[index]) for index, one in enumerate(judged)]}

    def libraries(self) -> Dict[str, str]:
        """The libraries that decide the result; PyTorch is absent where an exported file runs alone."""
        return versions(("torch", "torchvision", "numpy", "PIL", "onnxruntime"))


def _record(one: Judged, logits: np.ndarray) -> Dict[str, Any]:
    miscalibrated, calibrated = logits.astype(np.float64)
    score = float(1.0 / (1.0 + np.exp(miscalibrated - calibrated)))
    found = {"camera": one.camera, "form": GIVEN if one.error is None else PERTURBED, "score": score}
    if isinstance(one.error, Miscalibration):
        found["error"] = as_json(one.error)
    return found


if __name__ == "__main__":
    sys.exit(main(CalibrationStatus))
