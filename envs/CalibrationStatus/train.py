"""The program that trains CalibrationStatus, on cameras as they are calibrated and with errors drawn anew each epoch.

AdamW with a one-cycle schedule. The seed, the samples and the version of PyTorch decide the weights; the errors of
training come from other seeds than that of evaluations. With a teacher, `worker.training.distillation` gives the loss.
"""

import random
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from calibration.channels import View, make_channels, read_views
from calibration.resnet import CalibrationNet
from calibration.smaller import begin_with, describe, example

from worker.adapter import Adapter, Settings
from worker.jobs import tell
from worker.samples.miscalibration import SEED, draw_miscalibration
from worker.training.distillation import distillation_loss
from worker.training.pruning import count
from worker.training.session import Session, pick_batches
from worker.training.torch_state import load

BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.01
DEFAULT_EPOCHS = 6
TRAINING_SEEDS = 1000
"""The first of the seeds that training draws its errors from, one an epoch."""


class Item(NamedTuple):
    """One camera of one sample."""

    token: str
    camera: str
    view: View


Pair = Tuple[Item, int]
"""A camera and its label: 1 as it is calibrated, 0 with an error."""


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on `request["samples"]`, measure on `request["held_out"]`; see `worker.training.session`.

    Returns the accuracy on held-out samples, and where the training ended.
    """
    session = Session(request)
    tell("reading {} training and {} held-out samples".format(len(request["samples"]), len(request["held_out"])))
    training = Training(_read(request["samples"]), session, settings.device)
    done = training.run()
    held_out = _read(request["held_out"])
    accuracy = measure(training.network, held_out, settings.device)
    size = count(training.network, example(settings.device))
    found = {**done, "accuracy": accuracy, **size, "seed": session.seed, "torch": torch.__version__}
    if training.teacher is not None:
        own = {"accuracy": measure(training.teacher, held_out, settings.device)}
        found["teacher"] = {**own, **count(training.teacher, example(settings.device))}
    return found


class Training:
    """The network, its optimizer and where in which epoch they are."""

    def __init__(self, items: List[Item], session: Session, device: str) -> None:
        torch.manual_seed(session.seed)
        self._items, self._session, self._device = items, session, device
        self._batch = session.batch or BATCH
        self._steps = max(1, 2 * len(items) // self._batch)
        epochs = session.epochs or DEFAULT_EPOCHS
        self._total = session.iterations or self._steps * epochs
        self.network = begin_with(session).to(device).to(memory_format=torch.channels_last)
        self.teacher = None
        if session.distillation is not None:
            weights = load(session.distillation.teacher)["state_dict"]
            self.teacher = CalibrationNet.filled(weights).to(device).to(memory_format=torch.channels_last).eval()
        rate = session.learning_rate or LEARNING_RATE
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, rate, total_steps=self._total)
        self._done = 0
        if session.resume is not None:
            self._restore(session.resume.state)
        session.keep_config(describe(self.network, session))

    def run(self) -> Dict[str, Any]:
        """Train until the end, or until the session says to stop."""
        session = self._session
        session.begin(
            iterations=self._total,
            per_epoch=self._steps,
            batch=self._batch,
            processes=1,
            libraries={"torch": torch.__version__, "numpy": np.__version__},
        )
        self.network.train()
        reason = session.reason_to_stop(self._done)
        while reason is None:
            epoch, step = divmod(self._done, self._steps)
            batches = pick_batches(self._order(epoch), self._batch)[: self._steps]
            for pairs in batches[step:]:
                self._step(pairs, epoch)
                reason = session.reason_to_stop(self._done)
                if reason is not None or session.is_due(self._done):
                    session.save(self._done, self._write_weights, self._write_state)
                if reason is not None:
                    break
        return session.end(self._done, reason)

    def _order(self, epoch: int) -> List[Pair]:
        """The pairs of an epoch, in an order that the seed and its number alone decide."""
        pairs = [(one, label) for one in self._items for label in (0, 1)]
        random.Random(f"{self._session.seed} {epoch}").shuffle(pairs)  # noqa: S311  repeatable, no secret
        return pairs

    def _step(self, pairs: List[Pair], epoch: int) -> None:
        began = time.perf_counter()
        inputs = _stack(pairs, TRAINING_SEEDS + 100 * self._session.seed + epoch).to(self._device)
        labels = torch.tensor([label for _, label in pairs], device=self._device)
        read = time.perf_counter()
        loss, parts = self._measure_loss(inputs, labels)
        self._optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), float("inf"))
        rate = self._optimizer.param_groups[0]["lr"]
        self._optimizer.step()
        self._schedule.step()
        self._done += 1
        self._session.tell_iteration(
            self._done,
            epoch=epoch + 1,
            loss=float(loss.detach()),
            losses={name: float(part.detach()) for name, part in parts.items()},
            grad_norm=float(norm),
            learning_rate=rate,
            time_s=time.perf_counter() - began,
            data_time_s=read - began,
        )

    def _measure_loss(self, inputs: Any, labels: Any) -> Tuple[Any, Dict[str, Any]]:
        """Return the loss and its named parts."""
        given = self.network(inputs)
        if self.teacher is None or self._session.distillation is None:
            return torch.nn.functional.cross_entropy(given, labels), {}
        with torch.no_grad():
            wanted = self.teacher(inputs)
        return distillation_loss(given, wanted, labels, self._session.distillation)

    def _write_weights(self, path: str) -> None:
        state = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        torch.save({"state_dict": state}, path)

    def _write_state(self, path: str) -> None:
        parts = {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}
        torch.save({**parts, "iteration": self._done}, path)

    def _restore(self, state: str) -> None:
        kept = load(state)
        self._optimizer.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])
        self._done = kept["iteration"]


def measure(network: Any, items: Sequence[Item], device: str) -> float:
    """Return the share of right answers on both forms of every camera, with the errors of evaluations."""
    network.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(items), BATCH):
            some = items[start : start + BATCH]
            for label in (0, 1):
                said = network(_stack([(one, label) for one in some], SEED).to(device)).argmax(1)
                right += int((said == label).sum())
    return right / max(1, 2 * len(items))


def _read(samples: Sequence[Dict[str, Any]]) -> List[Item]:
    return [
        Item(sample["sample_token"], camera, view) for sample in samples for camera, view in read_views(sample).items()
    ]


def _stack(pairs: Sequence[Pair], seed: int) -> Any:
    """The inputs of cameras with their labels."""
    made = [
        make_channels(one.view, None if label else draw_miscalibration(seed, one.token, one.camera))
        for one, label in pairs
    ]
    return torch.from_numpy(np.stack(made)).contiguous(memory_format=torch.channels_last)
