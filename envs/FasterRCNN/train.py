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
from worker.training.session import Session, pick_batches
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
    return Training(adapter, list(request["samples"]), Session(request), settings.device).run()


class Training:
    """The network, its optimizer and where in which epoch they are."""

    def __init__(self, adapter: Any, pictures: List[Dict[str, Any]], session: Session, device: str) -> None:
        torch.manual_seed(session.seed)
        self._pictures, self._session, self._device = pictures, session, device
        self._batch = session.batch or BATCH
        self._steps = max(1, len(pictures) // self._batch)
        self._total = session.iterations or self._steps * (session.epochs or EPOCHS)
        self._network = adapter.build("")
        if session.start.get("weights"):
            session.note(load_into(self._network, session.start["weights"]).summary())
        if session.is_smoke:
            self._network.transform.min_size, self._network.transform.max_size = SMOKE_SIZES
        self._network.to(device).train()
        trained = [one for one in self._network.parameters() if one.requires_grad]
        rate = session.learning_rate or LEARNING_RATE
        self._optimizer = torch.optim.SGD(trained, lr=rate, momentum=0.9, weight_decay=1e-4)
        self._rate, self._trained, self._done = rate, trained, 0
        if session.resume is not None:
            self._restore(session.resume.weights, session.resume.state)

    def run(self) -> Dict[str, Any]:
        """Train until the end, or until the session says to stop."""
        session = self._session
        session.begin(
            iterations=self._total,
            per_epoch=self._steps,
            batch=self._batch,
            processes=1,
            libraries={"torch": torch.__version__, "torchvision": torchvision.__version__},
        )
        reason = session.reason_to_stop(self._done)
        while reason is None:
            epoch, step = divmod(self._done, self._steps)
            order = list(range(len(self._pictures)))
            random.Random(f"{session.seed} {epoch}").shuffle(order)  # noqa: S311  repeatable, no secret
            for batch in pick_batches(order, self._batch)[step : self._steps]:
                self._step(batch, epoch)
                reason = session.reason_to_stop(self._done)
                if reason is not None or session.is_due(self._done):
                    session.save(self._done, self._write_weights, self._write_state)
                if reason is not None:
                    break
        return session.end(self._done, reason)

    def _step(self, batch: List[int], epoch: int) -> None:
        began = time.perf_counter()
        inputs, targets = zip(*(self._read(number, epoch) for number in batch))
        read = time.perf_counter()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * self._factor()
        losses = self._network(list(inputs), list(targets))
        loss = sum(losses.values())
        self._optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._trained, float("inf"))
        self._optimizer.step()
        self._done += 1
        self._session.tell_iteration(
            self._done,
            epoch=epoch + 1,
            loss=float(loss.detach()),
            losses={name: float(value.detach()) for name, value in losses.items()},
            grad_norm=float(norm),
            learning_rate=self._optimizer.param_groups[0]["lr"],
            time_s=time.perf_counter() - began,
            data_time_s=read - began,
        )

    def _factor(self) -> float:
        """What the learning rate is multiplied by now: the warm-up, and a tenth for each step that was passed."""
        warm_up = min(WARM_UP, self._steps)
        risen = min(1.0, WARM_UP_FACTOR + (1 - WARM_UP_FACTOR) * self._done / warm_up)
        passed = sum(self._done >= step * self._total for step in STEPS)
        return float(risen * 0.1**passed)

    def _read(self, number: int, epoch: int) -> Tuple[Any, Dict[str, Any]]:
        """A picture as a tensor and its boxes, turned over left to right in half of the epochs."""
        one = self._pictures[number]
        picture = to_tensor(read_picture("IMAGE", one))
        boxes = torch.tensor([box[:4] for box in one["boxes"]], dtype=torch.float32).reshape(-1, 4)
        labels = torch.tensor([LABELS[CLASSES[int(box[4])]] for box in one["boxes"]], dtype=torch.int64)
        whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, labels = boxes[whole], labels[whole]
        if random.Random(f"{self._session.seed} {epoch} {number}").random() < 0.5:  # noqa: S311
            picture, width = hflip(picture), float(one["width"])
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        return picture.to(self._device), {"boxes": boxes.to(self._device), "labels": labels.to(self._device)}

    def _write_weights(self, path: str) -> None:
        state = {name: tensor.cpu().contiguous() for name, tensor in self._network.state_dict().items()}
        torch.save({"state_dict": state}, path)

    def _write_state(self, path: str) -> None:
        parts = {"optimizer": self._optimizer.state_dict(), "iteration": self._done, "random": random_states()}
        torch.save(parts, path)

    def _restore(self, weights: str, state: str) -> None:
        kept = load(state)
        self._network.load_state_dict(load(weights)["state_dict"])
        self._optimizer.load_state_dict(kept["optimizer"])
        set_random_states(kept["random"])
        self._done = kept["iteration"]
