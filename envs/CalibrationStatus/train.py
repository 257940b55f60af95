"""The program that trains CalibrationStatus, on cameras as they are calibrated and with errors drawn anew each epoch.

AdamW with a one-cycle schedule. The seed, the samples and the version of PyTorch decide the weights; the errors of
training come from other seeds than that of evaluations. With a teacher, `worker.training.distillation` gives the loss.
"""

import random
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from calibration.channels import View, make_channels, read_views
from calibration.resnet import CalibrationNet
from calibration.smaller import begin_with, describe, example

from worker.adapter import Adapter, DataError, Settings
from worker.jobs import tell
from worker.samples.miscalibration import SEED, draw_miscalibration
from worker.training.distillation import distillation_loss
from worker.training.loop import EpochLoop
from worker.training.pruning import count
from worker.training.session import Session
from worker.training.torch_state import load

BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01
DEFAULT_EPOCHS = 6
TRAINING_SEEDS = 1000
"""The first of the seeds that training draws its errors from, one an epoch."""


TASK = "calibration_status"
CALIBRATED = "calibrated"


class Item(NamedTuple):
    """One camera of one sample; `label` is 1 where its own calibration is right, 0 where not, None if not known."""

    token: str
    camera: str
    view: View
    label: Optional[int] = 1


class Pair(NamedTuple):
    """A camera, whether its own calibration is shown or one with an error, and the label of what is shown."""

    item: Item
    as_given: bool
    label: int


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on `request["samples"]`, measure on `request["held_out"]`; see `worker.training.session`.

    Returns the accuracy on held-out samples, and where the training ended.
    """
    session = Session(request)
    tell("reading {} training and {} held-out samples".format(len(request["samples"]), len(request["held_out"])))
    labels = request.get("labels", {}).get(TASK)
    training = Training(_read(request["samples"], labels), session, settings.device)
    done = training.run({"torch": torch.__version__, "numpy": np.__version__})
    held_out = _read(request["held_out"], None)  # judged as evaluations do, whatever is said of training samples
    accuracy = measure(training.network, held_out, settings.device)
    size = count(training.network, example(settings.device))
    found = {**done, "accuracy": accuracy, **size, "seed": session.seed, "torch": torch.__version__}
    if training.teacher is not None:
        own = {"accuracy": measure(training.teacher, held_out, settings.device)}
        found["teacher"] = {**own, **count(training.teacher, example(settings.device))}
    return found


class Training(EpochLoop):
    """The network, its optimizer and where in which epoch they are."""

    def __init__(self, items: List[Item], session: Session, device: str) -> None:
        torch.manual_seed(session.seed)
        self._pairs, self._device = list_pairs(items), device
        if not self._pairs:
            raise DataError(f"no camera of the training samples has a label of {TASK}")
        super().__init__(session, items=len(self._pairs), batch=BATCH, epochs=DEFAULT_EPOCHS)
        self.network = begin_with(session).to(device).to(memory_format=torch.channels_last)
        self.teacher = None
        if session.distillation is not None:
            weights = load(session.distillation.teacher)["state_dict"]
            self.teacher = CalibrationNet.filled(weights).to(device).to(memory_format=torch.channels_last).eval()
        rate = session.learning_rate or LEARNING_RATE
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, total_steps=self.total)
        if session.resume is not None:
            self._restore(session.resume.state)
        session.keep_config(describe(self.network, session))
        self.network.train()

    def order(self, epoch: int) -> List[Pair]:
        """Return the pairs in an epoch's order."""
        pairs = list(self._pairs)
        random.Random(f"{self.session.seed} {epoch}").shuffle(pairs)  # noqa: S311  repeatable, no secret
        return pairs

    def step(self, pairs: List[Pair], epoch: int) -> None:
        """Learn from pairs."""
        began = time.perf_counter()
        inputs = _stack(pairs, TRAINING_SEEDS + 100 * self.session.seed + epoch).to(self._device)
        labels = torch.tensor([pair.label for pair in pairs], device=self._device)
        read = time.perf_counter()
        loss, parts = self._measure_loss(inputs, labels)
        self.descend(loss, parts, epoch=epoch, began=began, read=read)
        self._schedule.step()

    def _measure_loss(self, inputs: Any, labels: Any) -> Tuple[Any, Dict[str, Any]]:
        """Return the loss and its named parts."""
        given = self.network(inputs)
        if self.teacher is None or self.session.distillation is None:
            return torch.nn.functional.cross_entropy(given, labels), {}
        with torch.no_grad():
            wanted = self.teacher(inputs)
        return distillation_loss(given, wanted, labels, self.session.distillation)

    def write_weights(self, path: str) -> None:
        """Write them as `state_dict`."""
        state = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        torch.save({"state_dict": state}, path)

    def write_state(self, path: str) -> None:
        """Write optimizer and schedule."""
        parts = {"optimizer": self.optimizer.state_dict(), "schedule": self._schedule.state_dict()}
        torch.save({**parts, "iteration": self.done}, path)

    def _restore(self, state: str) -> None:
        kept = load(state)
        self.optimizer.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])
        self.done = kept["iteration"]


def list_pairs(items: Sequence[Item]) -> List[Pair]:
    """Return what is shown of cameras: those that are right with an error too; those that are wrong as they are.

    An error on top of a wrong calibration might undo it. A camera without a label is not shown.
    """
    pairs = []
    for one in items:
        if one.label == 1:
            pairs.append(Pair(one, as_given=False, label=0))
        if one.label is not None:
            pairs.append(Pair(one, as_given=True, label=one.label))
    return pairs


def measure(network: Any, items: Sequence[Item], device: str) -> float:
    """Return the share of right answers on what `list_pairs` shows of cameras, with the errors of evaluations."""
    network.eval()
    pairs = list_pairs(items)
    right = 0
    with torch.inference_mode():
        for start in range(0, len(pairs), BATCH):
            some = pairs[start : start + BATCH]
            said = network(_stack(some, SEED).to(device)).argmax(1).tolist()
            right += sum(answer == pair.label for answer, pair in zip(said, some))
    return right / max(1, len(pairs))


def _read(samples: Sequence[Dict[str, Any]], labels: Optional[Mapping[str, Mapping[str, str]]]) -> List[Item]:
    """The cameras of samples. Without labels every calibration is right; with some, those not listed have none."""
    return [
        Item(sample["sample_token"], camera, view, _label(labels, sample["sample_token"], camera))
        for sample in samples
        for camera, view in read_views(sample).items()
    ]


def _label(labels: Optional[Mapping[str, Mapping[str, str]]], token: str, camera: str) -> Optional[int]:
    if labels is None:
        return 1
    name = labels.get(token, {}).get(camera)
    return None if name is None else int(name == CALIBRATED)


def _stack(pairs: Sequence[Pair], seed: int) -> Any:
    """The inputs (B, 5, H, W) of what is shown."""
    made = [
        make_channels(
            pair.item.view,
            None if pair.as_given else draw_miscalibration(seed, pair.item.token, pair.item.camera),
        )
        for pair in pairs
    ]
    return torch.from_numpy(np.stack(made)).contiguous(memory_format=torch.channels_last)
