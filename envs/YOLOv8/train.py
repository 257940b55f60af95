"""The program that trains YOLOv8 by ultralytics' own trainer, on pictures and boxes that the host lists.

It and the adapter alone import ultralytics, which is under AGPL-3.0; see demo.py. The trainer's loader shuffles and
augments in a pass over the data that cannot be gone on with: after a resume within an epoch, the order and the draws
of what is left of it begin anew. Weights, their moving average, the optimizer and the count of iterations go on.
"""

import time
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from worker.adapter import Adapter, Settings
from worker.mmlab.common.libraries import load_library, versions
from worker.mmlab.common.weights import load_into
from worker.pictures.ultralytics_data import write_data
from worker.pictures.ultralytics_switches import keep_settings, set_switches
from worker.training.session import Session
from worker.training.torch_state import load, random_states, set_random_states

EPOCHS, BATCH, LEARNING_RATE = 100, 16, 0.01
INPUT_SIZE, SMOKE_SIZE = 640, 160


class EndedError(Exception):
    """Leaves the trainer's loop when the training ends; it is no failure."""

    def __init__(self, iteration: int, reason: str) -> None:
        super().__init__(reason)
        self.iteration, self.reason = iteration, reason


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on `request["samples"]`; see `worker.training.session`, and `training.trainers.pictures` of the host."""
    session = Session(request)
    data = write_data(Path(session.folder) / "work", request)
    set_switches()
    with keep_settings():
        training = Training(session, settings, data, len(request["samples"]))
        try:
            training.trainer.train()
        except EndedError as end:
            return session.end(end.iteration, end.reason)
    raise RuntimeError("ultralytics' trainer ended before the last iteration")


class Training:
    """ultralytics' trainer, with callbacks that tell, save and end."""

    def __init__(self, session: Session, settings: Settings, data: Path, pictures: int) -> None:
        self._session, self._done, self._began = session, 0, 0.0
        self._batch = session.batch or BATCH
        self._steps = -(-pictures // self._batch)  # the trainer's last batch may be smaller
        self._total = session.iterations or self._steps * (session.epochs or EPOCHS)
        library = load_library("ultralytics.models.yolo.detect")
        start = session.start.get("weights")

        class Trainer(library.DetectionTrainer):  # type: ignore[misc]  # imported late
            def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
                network = super().get_model(cfg=cfg, weights=None, verbose=False)
                if start:
                    session.note(load_into(network, start).summary())
                return network

        self.trainer = Trainer(overrides=self._overrides(settings, data))
        self.trainer.add_callback("on_pretrain_routine_end", lambda _: self._restore())
        self.trainer.add_callback("on_train_start", lambda _: self._begin())
        self.trainer.add_callback("on_train_batch_start", lambda _: self._start_timer())
        self.trainer.add_callback("on_train_batch_end", lambda _: self._after_iteration())

    def _overrides(self, settings: Settings, data: Path) -> Dict[str, Any]:
        device = "cpu" if settings.device == "cpu" else settings.device.partition(":")[2] or "0"
        rate = self._session.learning_rate
        return {
            "model": Path(settings.config or "yolov8s.yaml").name,
            "data": str(data),
            "epochs": -(-self._total // self._steps),
            "batch": self._batch,
            "imgsz": SMOKE_SIZE if self._session.is_smoke else INPUT_SIZE,
            "device": device,
            "workers": 0 if self._session.is_smoke else 8,
            "project": str(data.parent),
            "name": "ultralytics",
            "exist_ok": True,
            "pretrained": False,
            "optimizer": "SGD",  # `auto` would choose the learning rate itself
            "lr0": LEARNING_RATE if rate is None else rate,
            "seed": self._session.seed,
            "deterministic": True,
            "amp": device != "cpu",
            "val": False,
            "save": False,
            "plots": False,
            "verbose": False,
        }

    def _begin(self) -> None:
        self._session.begin(
            iterations=self._total,
            per_epoch=self._steps,
            batch=self._batch,
            processes=1,
            libraries=versions(("torch", "ultralytics", "numpy")),
        )

    def _start_timer(self) -> None:
        self._began = time.perf_counter()

    def _after_iteration(self) -> None:
        trainer, session = self.trainer, self._session
        self._done += 1
        losses = {name: float(value) for name, value in trainer.loss_items.items()}
        session.tell_iteration(
            self._done,
            epoch=1 + (self._done - 1) // self._steps,
            loss=sum(losses.values()),
            losses=losses,
            grad_norm=self._norm(),
            learning_rate=max(group["lr"] for group in trainer.optimizer.param_groups),
            time_s=time.perf_counter() - self._began,
        )
        reason = session.reason_to_stop(self._done)
        if reason is not None or session.is_due(self._done):
            session.save(self._done, self._write_weights, self._write_state)
        if reason is not None:
            raise EndedError(self._done, reason)

    def _norm(self) -> Optional[float]:
        """The norm of the gradients that are summed up for the next step; None right after a step."""
        torch = load_library("torch")
        norms = [one.grad.norm() for one in self.trainer.model.parameters() if one.grad is not None]
        return float(torch.stack(norms).norm()) if norms else None

    def _write_weights(self, path: str) -> None:
        """The moving average: what ultralytics itself keeps as the result."""
        load_library("torch").save({"state_dict": self.trainer.ema.ema.state_dict()}, path)

    def _write_state(self, path: str) -> None:
        trainer = self.trainer
        state = {
            "iteration": self._done,
            "network": trainer.model.state_dict(),
            "average": trainer.ema.ema.state_dict(),
            "updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "random": random_states(),
        }
        load_library("torch").save(state, path)

    def _restore(self) -> None:
        """Go on behind the checkpoint that is resumed, once the trainer has built everything."""
        if self._session.resume is None:
            return
        trainer, kept = self.trainer, load(self._session.resume.state)
        trainer.model.load_state_dict(kept["network"])
        trainer.ema.ema.load_state_dict(kept["average"])
        trainer.ema.updates = kept["updates"]
        trainer.optimizer.load_state_dict(kept["optimizer"])
        trainer.scaler.load_state_dict(kept["scaler"])
        self._done = int(kept["iteration"])
        trainer.start_epoch = self._done // self._steps
        trainer.scheduler.last_epoch = trainer.start_epoch - 1
        set_random_states(kept["random"])
        if self._done % self._steps:
            self._session.note(
                "ultralytics' loader cannot go on within an epoch: order and draws of the rest of this one begin anew"
            )
