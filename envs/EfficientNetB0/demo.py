"""The adapter of EfficientNet-B0: how likely a picture shows a car, by timm's classifier of ImageNet's classes."""

import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "runners"))

from worker.adapter import Settings
from worker.main import main
from worker.mmlab.common.libraries import load_library
from worker.pictures.adapter import PictureAdapter
from worker.pictures.records import presence_records

CARS = {
    436: "beach wagon",
    468: "cab",
    511: "convertible",
    609: "jeep",
    627: "limousine",
    656: "minivan",
    661: "Model T",
    717: "pickup",
    751: "racer",
    817: "sports car",
}
"""ImageNet's classes that are cars, by their number."""


class EfficientNetB0(PictureAdapter):
    """The classifier, and its score: the probability of ten classes together."""

    name = "EfficientNetB0"
    default_config = "efficientnet_b0.ra_in1k"
    graph_modules = ("",)
    library_names = ("torch", "torchvision", "numpy", "PIL", "timm")

    def build(self, config: str) -> Any:
        """The network that timm knows by this name, without a download."""
        os.environ["HF_HUB_OFFLINE"] = "1"
        return load_library("timm").create_model(Path(config).name, pretrained=False)

    def begin(self, network: Any, settings: Settings) -> Any:
        """Make timm's own transform for the network: bicubic scaling, the middle of the picture, mean and deviation."""
        data = load_library("timm.data")
        self._transform = data.create_transform(**data.resolve_data_config(model=network), is_training=False)
        return super().begin(network, settings)

    def make_input(self, picture: Any) -> Any:
        """The picture as a normalized tensor (1, 3, 224, 224), RGB."""
        return self._transform(picture).unsqueeze(0)

    def size_of(self, given: Any) -> Tuple[int, ...]:
        """Height and width of the network's input, which are those of every picture."""
        return tuple(given.shape[2:])

    def call_together(self, given: List[Any]) -> List[Any]:
        """The probabilities (1000,) of ImageNet's classes for each picture."""
        return list(self._network(load_library("torch").cat(given)).softmax(-1))

    def convert(self, raw: Dict[str, Any], sample: Dict[str, Any]) -> Dict[str, Any]:
        """The sum over the classes of cars, for each camera."""
        return {"car_presence": presence_records({name: float(found[list(CARS)].sum()) for name, found in raw.items()})}


if __name__ == "__main__":
    sys.exit(main(EfficientNetB0))
