"""The loop of trainers that have none of their own: epochs of batches, with a stop and a checkpoint after any step."""

import time
from abc import ABC, abstractmethod
from typing import Any, Dict, List, Mapping

from .session import Session, pick_batches
from .torch_state import load_torch


class EpochLoop(ABC):
    """Where in which epoch a training is, and what moves it on.

    A trainer gives it the optimizer, and says in `order` what an epoch goes through, and in `step` what a batch does.

    Attributes:
        batch, steps, total: items of a batch, steps of an epoch, steps in all.
        done: the steps that were made, those before a resume included.
        optimizer: PyTorch's, of the parameters that are trained.
        largest_norm: gradients are cut at it.
    """

    optimizer: Any
    largest_norm = float("inf")

    def __init__(self, session: Session, *, items: int, batch: int, epochs: int) -> None:
        self.session = session
        self.batch = min(session.batch or batch, items)
        self.steps = items // self.batch
        self.total = session.iterations or self.steps * (session.epochs or epochs)
        self.done = 0

    def run(self, libraries: Mapping[str, str]) -> Dict[str, Any]:
        """Train until the end, or until the session says to stop; returns what `Session.end` does."""
        session = self.session
        session.begin(iterations=self.total, per_epoch=self.steps, batch=self.batch, processes=1, libraries=libraries)
        reason = session.reason_to_stop(self.done)
        while reason is None:
            epoch, step = divmod(self.done, self.steps)
            for items in pick_batches(self.order(epoch), self.batch)[step:]:
                self.step(items, epoch)
                reason = session.reason_to_stop(self.done)
                if reason is not None or session.is_due(self.done):
                    session.save(self.done, self.write_weights, self.write_state)
                if reason is not None:
                    break
        return session.end(self.done, reason)

    def descend(self, loss: Any, parts: Mapping[str, Any], *, epoch: int, began: float, read: float) -> None:
        """Make a step of the optimizer, and tell of it.

        Args:
            loss: a tensor of one value, and `parts` what it is the sum of, by name.
            began, read: when the step began, and when its items had been read [s, `time.perf_counter`].
        """
        self.optimizer.zero_grad()
        loss.backward()
        trained = [one for group in self.optimizer.param_groups for one in group["params"]]
        norm = load_torch().nn.utils.clip_grad_norm_(trained, self.largest_norm)
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.done += 1
        self.session.tell_iteration(
            self.done,
            epoch=epoch + 1,
            loss=float(loss.detach()),
            losses={name: float(one.detach()) for name, one in parts.items()},
            grad_norm=float(norm),
            learning_rate=rate,
            time_s=time.perf_counter() - began,
            data_time_s=read - began,
        )

    @abstractmethod
    def order(self, epoch: int) -> List[Any]:
        """Return the items of an epoch, in an order that the seed and its number alone decide."""

    @abstractmethod
    def step(self, items: List[Any], epoch: int) -> None:
        """Learn from a batch: call `descend` once."""

    @abstractmethod
    def write_weights(self, path: str) -> None:
        """Write the network's weights."""

    @abstractmethod
    def write_state(self, path: str) -> None:
        """Write what a resume needs beside the weights."""
