"""The program that makes NanoDet smaller: the published network teaches one that has lost channels, without labels.

Pictures of any data set serve, for what the student learns is what the teacher says of them. Its losses: quality focal
loss with the teacher's scores in the place of labels, and localization distillation, which counts a cell by the
teacher's best score in it; `worker.training.distillation` has both with their sources. Without first weights it begins
as its teacher. The graph's normalizations are part of its convolutions already, so none is trained.
"""

import random
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
import torch
from nanodet.agreement import measure_agreement
from nanodet.config import Config, read_config
from nanodet.network import Network
from nanodet.pictures import read_picture
from nanodet.weights import read_graph_model, write_graph_model

from worker.adapter import Adapter, Settings
from worker.jobs import tell
from worker.training.distillation import Distillation, quality_focal_loss, soft_loss
from worker.training.loop import EpochLoop
from worker.training.pruning import count, prune_channels
from worker.training.session import STOPPED, TERMINATED, Session
from worker.training.torch_state import load

BATCH = 8
LEARNING_RATE = 2e-4
LARGEST_NORM = 35.0
"""Gradients are cut at the norm of the authors' grad_clip."""
DEFAULT_EPOCHS = 10
LOCALIZATION_WEIGHT = 0.25
"""Of the distances' loss beside the scores', as the authors' weight of the distribution focal loss."""


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on the pictures of `request["samples"]`, and hold the student against its teacher on `request["held_out"]`.

    Returns how far they agree, the sizes of both, and where the training ended; see `worker.training.session`.
    """
    session = Session(request)
    assert session.distillation is not None, "model.toml says that it needs a teacher"
    config = read_config(Path(str(settings.config)))
    paths = _paths(request["samples"])
    tell(f"{len(paths)} pictures to learn from")
    training = Training(paths, session, session.distillation, config, settings.device)
    done = training.run({"torch": torch.__version__, "numpy": np.__version__})
    if done["reason"] in (STOPPED, TERMINATED):  # whoever stops a training does not want to wait for numbers
        return done
    example = torch.zeros(1, 3, config.input_size, config.input_size, device=settings.device)
    networks = (training.network, training.teacher)
    pictures = (torch.from_numpy(read_picture(path, config).pixels)[None] for path in _paths(request["held_out"]))
    agreement = measure_agreement(*networks, (one.to(settings.device) for one in pictures), config)
    own, theirs = (count(network, example) for network in networks)
    return {**done, **agreement, **own, "teacher": theirs, "seed": session.seed, "torch": torch.__version__}


class Training(EpochLoop):
    """The student, its optimizer and where in which epoch they are."""

    largest_norm = LARGEST_NORM

    def __init__(
        self, paths: List[str], session: Session, distillation: Distillation, config: Config, device: str
    ) -> None:
        torch.manual_seed(session.seed)
        self._paths, self._config, self._device = paths, config, device
        self._temperature = distillation.temperature
        self.teacher = _read(distillation.teacher, config).to(device).eval()
        begin = session.resume.weights if session.resume is not None else session.start.get("weights")
        self.network = _read(begin or distillation.teacher, config)
        if session.start.get("random") and session.resume is None:
            self.network.draw()
        if session.prune is not None and session.resume is None:
            example = torch.zeros(1, 3, config.input_size, config.input_size)
            prune_channels(self.network, example, session.prune, keep=self.network.heads)
        self.network.to(device).train()
        super().__init__(session, items=len(paths), batch=BATCH, epochs=DEFAULT_EPOCHS)
        rate = session.learning_rate or LEARNING_RATE
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=1e-4)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, rate, total_steps=self.total)
        if session.resume is not None:
            self._restore(session.resume.state)
        session.keep_config(config._asdict())

    def order(self, epoch: int) -> List[Tuple[str, bool]]:
        """Return pictures in an epoch's order, and whether each is mirrored."""
        chance = random.Random(f"{self.session.seed} {epoch}")  # noqa: S311  repeatable, no secret
        items = [(path, chance.random() < 0.5) for path in self._paths]
        chance.shuffle(items)
        return items

    def step(self, batch: List[Tuple[str, bool]], epoch: int) -> None:
        """Learn from pictures what the teacher says of them."""
        began = time.perf_counter()
        pixels = [read_picture(path, self._config).pixels[:, :, :: -1 if turned else 1] for path, turned in batch]
        pictures = torch.from_numpy(np.stack(pixels)).to(self._device)
        read = time.perf_counter()
        with torch.no_grad():
            wanted = self.teacher(pictures)
        losses = compare_outputs(self.network(pictures), wanted, self._config, self._temperature)
        loss = losses["scores"] + LOCALIZATION_WEIGHT * losses["distances"]
        self.descend(loss, losses, epoch=epoch, began=began, read=read)
        self._schedule.step()

    def write_weights(self, path: str) -> None:
        """Write them as the published graph."""
        write_graph_model(Path(path), self.network.to_graph())

    def write_state(self, path: str) -> None:
        """The file of weights holds them in half precision; a resume needs them whole."""
        parts = {"optimizer": self.optimizer.state_dict(), "schedule": self._schedule.state_dict()}
        torch.save({**parts, "network": self.network.state_dict(), "iteration": self.done}, path)

    def _restore(self, state: str) -> None:
        kept = load(state)
        self.network.load_state_dict(kept["network"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self._schedule.load_state_dict(kept["schedule"])
        self.done = kept["iteration"]


def compare_outputs(given: Any, wanted: Any, config: Config, temperature: float) -> Dict[str, Any]:
    """Return the losses of scores and distances, over the cells of all strides.

    Args:
        given, wanted: what `Network` gives, of the student and of the teacher.
        temperature: of the distributions of distances.
    """
    own_scores, own_distances = (torch.cat(one, dim=1).flatten(0, 1) for one in given)
    scores, distances = (torch.cat(one, dim=1).flatten(0, 1) for one in wanted)
    scores = torch.sigmoid(scores)
    best = scores.amax(dim=1)
    bins = config.reg_max + 1
    rows = own_distances.reshape(-1, bins), distances.reshape(-1, bins)
    return {
        "scores": quality_focal_loss(own_scores, scores) / best.sum().clip(min=1.0),
        "distances": soft_loss(*rows, temperature, weights=best.repeat_interleave(4)),
    }


def _read(file: str, config: Config) -> Network:
    return Network(read_graph_model(Path(file)), config)


def _paths(samples: Sequence[Mapping[str, Any]]) -> List[str]:
    return [entry["path"] for sample in samples for entry in sample["cameras"].values()]
