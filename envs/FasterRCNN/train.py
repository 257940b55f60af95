"""The program that trains torchvision's Faster R-CNN, as its reference script does: SGD, warm-up, flips.

Source: torchvision 0.25, references/detection (train.py, engine.py): lr 0.02 for a batch of 16, momentum 0.9, weight
decay 1e-4, a linear warm-up over the first 1000 iterations, tenfold steps at 16/26 and 22/26 of the epochs.
"""

import random
import time
from typing import Any, Dict, List, Mapping, Tuple

import torch
import torchvision
from torchvision.transforms.functional import hflip, to_tensor

from worker.adapter import Adapter, Settings
from worker.mmlab.common.weights import load_into
from worker.pictures.coco import CLASSES, NAME_OF_ID
from worker.pictures.reading import read_picture
from worker.training.loop import EpochLoop
from worker.training.session import Session
from worker.training.torch_state import load, random_states, set_random_states

BATCH, LEARNING_RATE = 2, 0.02
EPOCHS, STEPS = 26, (16 / 26, 22 / 26)
SMOKE_SIZES = (200,), 333
"""A quarter of the usual sides of a picture [pixels]."""
WARM_UP, WARM_UP_FACTOR = 1000, 0.001
LABELS = {name: number for number, name in NAME_OF_ID.items()}
"""The network's label of a class: COCO's own id."""


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on `request["samples"]`; see `worker.training.session`, and `training.trainers.pictures` of the host."""
    training = Training(adapter, list(request["samples"]), Session(request), settings.device)
    return training.run({"torch": torch.__version__, "torchvision": torchvision.__version__})


class Training(EpochLoop):
    """The network, its optimizer and where in which epoch they are."""

    def __init__(self, adapter: Any, pictures: List[Dict[str, Any]], session: Session, device: str) -> None:
        torch.manual_seed(session.seed)
        self._pictures, self._device = pictures, device
        super().__init__(session, items=len(pictures), batch=BATCH, epochs=EPOCHS)
        self._network = adapter.build("")
        if session.start.get("weights"):
            session.note(load_into(self._network, session.start["weights"]).summary())
        if session.is_smoke:
            self._network.transform.min_size, self._network.transform.max_size = SMOKE_SIZES
        self._network.to(device).train()
        trained = [one for one in self._network.parameters() if one.requires_grad]
        self._rate = session.learning_rate or LEARNING_RATE
        self.optimizer = torch.optim.SGD(trained, lr=self._rate, momentum=0.9, weight_decay=1e-4)
        if session.resume is not None:
            self._restore(session.resume.weights, session.resume.state)

    def order(self, epoch: int) -> List[int]:
        """Return the pictures' numbers in an epoch's order."""
        order = list(range(len(self._pictures)))
        random.Random(f"{self.session.seed} {epoch}").shuffle(order)  # noqa: S311  repeatable, no secret
        return order

    def step(self, batch: List[int], epoch: int) -> None:
        """Learn from pictures with boxes."""
        began = time.perf_counter()
        inputs, targets = zip(*(self._read(number, epoch) for number in batch))
        read = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * self._factor()
        losses = self._network(list(inputs), list(targets))
        self.descend(sum(losses.values()), losses, epoch=epoch, began=began, read=read)

    def _factor(self) -> float:
        """What the learning rate is multiplied by now: the warm-up, and a tenth for each step that was passed."""
        warm_up = min(WARM_UP, self.steps)
        risen = min(1.0, WARM_UP_FACTOR + (1 - WARM_UP_FACTOR) * self.done / warm_up)
        passed = sum(self.done >= step * self.total for step in STEPS)
        return float(risen * 0.1**passed)

    def _read(self, number: int, epoch: int) -> Tuple[Any, Dict[str, Any]]:
        """A picture as a tensor and its boxes, turned over left to right in half of the epochs."""
        one = self._pictures[number]
        picture = to_tensor(read_picture("IMAGE", one))
        boxes = torch.tensor([box[:4] for box in one["boxes"]], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([LABELS[CLASSES[int(box[4])]] for box in one["boxes"]], dtype=torch.int64)
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, labels = boxes[whole], labels[whole]
        if random.Random(f"{self.session.seed} {epoch} {number}").random() < 0.5:  # noqa: S311
            picture, width = hflip(picture), float(one["width"])
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        return picture.to(self._device), {"boxes": boxes.to(self._device), "labels": labels.to(self._device)}

    def write_weights(self, path: str) -> None:
        """Write them as `state_dict`."""
        state = {name: tensor.cpu().contiguous() for name, tensor in self._network.state_dict().items()}
        torch.save({"state_dict": state}, path)

    def write_state(self, path: str) -> None:
        """Write optimizer and generators."""
        parts = {"optimizer": self.optimizer.state_dict(), "iteration": self.done, "random": random_states()}
        torch.save(parts, path)

    def _restore(self, weights: str, state: str) -> None:
        kept = load(state)
        self._network.load_state_dict(load(weights)["state_dict"])
        self.optimizer.load_state_dict(kept["optimizer"])
        set_random_states(kept["random"])
        self.done = kept["iteration"]
