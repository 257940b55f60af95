"""The job that trains CalibrationStatus, on cameras as they are calibrated and with errors drawn anew each epoch.

AdamW with a one-cycle schedule. The seed, the samples and the version of PyTorch decide the weights; the errors of
training come from other seeds than that of evaluations.
"""

import random
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from calibration.channels import View, make_channels, read_views
from calibration.resnet import CalibrationNet

from worker.adapter import Adapter, Settings
from worker.jobs import tell
from worker.samples.miscalibration import SEED, draw_miscalibration

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


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on `request["training"]`, measure on `request["held_out"]` (samples), write `request["file"]`.

    `request` also has `seed` and, if not DEFAULT_EPOCHS, `epochs`. Returns the accuracy on held-out samples, and how
    the training went.
    """
    seed, epochs = int(request["seed"]), int(request.get("epochs") or DEFAULT_EPOCHS)
    torch.manual_seed(seed)
    random_order = random.Random(seed)  # noqa: S311  a repeatable order, and no secret
    tell("reading {} training and {} held-out samples".format(len(request["training"]), len(request["held_out"])))
    training, held_out = _read(request["training"]), _read(request["held_out"])
    network = CalibrationNet().to(settings.device).to(memory_format=torch.channels_last)
    began, losses = time.monotonic(), []
    train_epoch = _trainer(network, len(training), epochs, settings.device)
    for epoch in range(epochs):
        losses.append(train_epoch(training, TRAINING_SEEDS + 100 * seed + epoch, random_order))
        accuracy = measure(network, held_out, settings.device)
        tell(
            f"epoch {epoch + 1} of {epochs}: loss {losses[-1]:.3f}, held-out accuracy {accuracy:.3f}, "
            f"{time.monotonic() - began:.0f} s"
        )
    state = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state}, request["file"])
    return {"accuracy": accuracy, "losses": losses, "epochs": epochs, "seed": seed, "torch": torch.__version__}


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


def _stack(pairs: Sequence[Tuple[Item, int]], seed: int) -> Any:
    """The inputs of cameras with their labels: 1 as they are calibrated, 0 with an error."""
    made = [
        make_channels(one.view, None if label else draw_miscalibration(seed, one.token, one.camera))
        for one, label in pairs
    ]
    return torch.from_numpy(np.stack(made)).contiguous(memory_format=torch.channels_last)


def _trainer(network: Any, items: int, epochs: int, device: str) -> Any:
    """Return a function that trains for one epoch and returns its mean loss."""
    steps = max(1, 2 * items // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps * epochs)

    def train_epoch(training: Sequence[Item], seed: int, order: random.Random) -> float:
        network.train()
        pairs = [(one, label) for one in training for label in (0, 1)]
        order.shuffle(pairs)
        total = 0.0
        for step in range(steps):
            some = pairs[step * BATCH : (step + 1) * BATCH]
            labels = torch.tensor([label for _, label in some], device=device)
            loss = torch.nn.functional.cross_entropy(network(_stack(some, seed).to(device)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        return total / steps

    return train_epoch
