"""The program that trains Detectron2's Faster R-CNN by `DefaultTrainer` of the source, on boxes that the host lists.

The schedule is the configuration's, brought to the length and the batch that are asked for in the way of
`auto_scale_workers`.
Pictures come in the order of Detectron2's sampler. Each is augmented by draws of its own place in that order, so that a
resume repeats what an unbroken training does, whatever process reads it.
"""

import sys
import time
import zlib
from itertools import count, islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

import numpy as np
import torch

from worker.adapter import Settings
from worker.mmlab.common.libraries import load_library, versions
from worker.mmlab.common.weights import load_into
from worker.pictures.grouping import find_waiting
from worker.training.session import Session
from worker.training.torch_state import load, random_states, set_random_states

SOURCE = Path(__file__).resolve().parents[2] / "submodules" / "Detectron2"
BATCH = 2
"""The authors' batch on each of their eight GPUs."""


def run(adapter: Any, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on `request["samples"]`; see `worker.training.session`, and `training.trainers.pictures` of the host."""
    sys.path.insert(0, str(SOURCE))
    session = Session(request)
    records = list_records(request["samples"])
    config = make_config(session, settings.config or adapter.default_config, len(records), settings.device)
    return Training(session, config, records, adapter.tolerated_keys).run()


def list_records(samples: List[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """The pictures in Detectron2's own form; without those that show nothing, as its loader leaves them out."""
    mode = load_library("detectron2.structures").BoxMode.XYXY_ABS
    return [
        {
            "file_name": one["path"],
            "image_id": number,
            "width": one["width"],
            "height": one["height"],
            "annotations": [{"bbox": box[:4], "bbox_mode": mode, "category_id": int(box[4])} for box in one["boxes"]],
        }
        for number, one in enumerate(samples)
        if one["boxes"]
    ]


def make_config(session: Session, path: str, pictures: int, device: str) -> Any:
    """The configuration at `path` for the batch, the length and the rate that are asked for."""
    config = load_library("detectron2.config").get_cfg()
    config.merge_from_file(path)
    solver = config.SOLVER
    batch = session.batch or BATCH
    scale = batch / solver.IMS_PER_BATCH
    total = session.iterations or (session.epochs or 0) * max(1, pictures // batch) or round(solver.MAX_ITER / scale)
    steps = {int(step * total / solver.MAX_ITER) for step in solver.STEPS}
    solver.STEPS = tuple(sorted(steps - {0}))  # of a very short training they fall together
    solver.WARMUP_ITERS = round(solver.WARMUP_ITERS / scale)
    solver.BASE_LR = solver.BASE_LR * scale if session.learning_rate is None else session.learning_rate
    solver.MAX_ITER, solver.IMS_PER_BATCH = total, batch
    solver.REFERENCE_WORLD_SIZE = 0
    config.MODEL.DEVICE, config.MODEL.WEIGHTS, config.SEED = device, "", session.seed
    config.OUTPUT_DIR = str(Path(session.folder) / "work")
    if session.start.get("random"):
        config.MODEL.BACKBONE.FREEZE_AT = 0  # as its configurations from scratch: frozen layers would stay random
    if session.is_smoke:
        config.merge_from_list([one for setting in session.smoke_settings.items() for one in setting])
    return config


class EndedAt(BaseException):
    """Leaves Detectron2's loop when the training ends before its last iteration."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]  # untyped
    """The records in the order of Detectron2's sampler, each with its position, behind the first `done` batches.

    Several reading processes take turns, so that what they give together is in this order too.
    """

    def __init__(self, records: List[Dict[str, Any]], batch: int, seed: int, done: int) -> None:
        self._records = records
        self._order = load_library("detectron2.data.samplers").TrainingSampler(len(records), seed=seed)
        groups = (records[index]["width"] > records[index]["height"] for index in self._order)
        waiting, self._next = find_waiting(groups, batch, done)
        self._waiting = frozenset(waiting)

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        reader = torch.utils.data.get_worker_info()
        number, readers = (0, 1) if reader is None else (reader.id, reader.num_workers)
        left = (
            {**self._records[index], "position": position}
            for position, index in zip(count(), self._order)
            if position >= self._next or position in self._waiting
        )
        return islice(left, number, None, readers)


class Mapper:
    """Detectron2's own mapper, whose augmentation draws from NumPy, seeded for each position of the stream."""

    def __init__(self, own: Any, seed: int) -> None:
        self._own, self._seed = own, seed

    def __call__(self, record: Dict[str, Any]) -> Any:
        np.random.seed(zlib.crc32(f"{self._seed} {record['position']}".encode()))  # noqa: NPY002  it draws from this
        return self._own(record)


def build_loader(config: Any, records: List[Dict[str, Any]], done: int) -> Any:
    """Detectron2's training loader behind the first `done` batches."""
    data = load_library("detectron2.data")
    batch = config.SOLVER.IMS_PER_BATCH
    return data.build_detection_train_loader(
        Stream(records, batch, config.SEED, done),
        mapper=Mapper(data.DatasetMapper(config, is_train=True), config.SEED),
        total_batch_size=batch,
        aspect_ratio_grouping=True,
        num_workers=config.DATALOADER.NUM_WORKERS,
        seed=config.SEED,  # else it draws from the generator that the network draws from
    )


class Training:
    """Detectron2's trainer, with a hook that tells, saves and ends."""

    def __init__(self, session: Session, config: Any, records: List[Dict[str, Any]], tolerated: Any) -> None:
        self._session, self._batch = session, config.SOLVER.IMS_PER_BATCH
        self._steps = max(1, len(records) // self._batch)
        kept = None if session.resume is None else load(session.resume.state)
        self._done = 0 if kept is None else int(kept["iteration"])
        self._began = 0.0
        load_library("detectron2.utils.env").seed_all_rng(session.seed)
        self._trainer = self._build(config, records)
        self._network = self._trainer.model
        self._start(tolerated)
        if session.resume is not None and kept is not None:
            self._network.load_state_dict(load(session.resume.weights)["state_dict"])
            self._trainer.optimizer.load_state_dict(kept["optimizer"])
            self._trainer.scheduler.load_state_dict(kept["scheduler"])
            set_random_states(kept["random"])
        self._trainer.start_iter = self._done

    def run(self) -> Dict[str, Any]:
        """Train until the end, or until the session says to stop."""
        session, trainer = self._session, self._trainer
        session.begin(
            iterations=trainer.max_iter,
            per_epoch=self._steps,
            batch=self._batch,
            processes=1,
            libraries=versions(("torch", "torchvision", "detectron2", "numpy")),
        )
        reason = session.reason_to_stop(self._done)
        try:
            if reason is None:
                trainer.train()
        except EndedAt as end:
            reason = end.reason
        except FloatingPointError:
            session.tell_iteration(trainer.iter + 1, epoch=1 + trainer.iter // self._steps, loss=float("nan"))
        if reason is None:
            raise RuntimeError("Detectron2's trainer ended before the last iteration")
        return session.end(self._done, reason)

    def _build(self, config: Any, records: List[Dict[str, Any]]) -> Any:
        engine, hooks = load_library("detectron2.engine"), load_library("detectron2.engine.hooks")
        training = self

        class Trainer(engine.DefaultTrainer):  # type: ignore[misc]  # imported late
            @classmethod
            def build_train_loader(cls, cfg: Any) -> Any:
                return build_loader(cfg, records, training._done)

            def build_hooks(self) -> List[Any]:
                own = hooks.CallbackHook(before_step=training._start_timer, after_step=training._after_step)
                return [hooks.IterationTimer(), hooks.LRScheduler(), own]

        return Trainer(config)

    def _start(self, tolerated: Any) -> None:
        """Load what it begins with: weights of this network, or those of the backbone that the authors name."""
        start = self._session.start
        if start.get("weights"):
            self._session.note(load_into(self._network, start["weights"], tolerated=tolerated).summary())
        for file in (start.get("initial") or {}).values():
            checkpointer = load_library("detectron2.checkpoint").DetectionCheckpointer
            checkpointer(self._network).load(file)

    def _start_timer(self, _: Any) -> None:
        self._began = time.perf_counter()

    def _after_step(self, trainer: Any) -> None:
        session = self._session
        self._done = trainer.iter + 1
        said = {name: float(value) for name, (value, _) in trainer.storage.latest().items()}
        session.tell_iteration(
            self._done,
            epoch=1 + trainer.iter // self._steps,
            loss=said["total_loss"],
            losses={name: value for name, value in said.items() if name.startswith("loss_")},
            grad_norm=self._norm(),
            learning_rate=said["lr"],
            time_s=time.perf_counter() - self._began,
            data_time_s=said["data_time"],
        )
        reason = session.reason_to_stop(self._done)
        if reason is not None or session.is_due(self._done):
            session.save(self._done, self._write_weights, self._write_state)
        if reason is not None:
            raise EndedAt(reason)

    def _norm(self) -> Optional[float]:
        norms = [one.grad.norm() for one in self._network.parameters() if one.grad is not None]
        return float(torch.stack(norms).norm()) if norms else None

    def _write_weights(self, path: str) -> None:
        state = {name: tensor.cpu().contiguous() for name, tensor in self._network.state_dict().items()}
        torch.save({"state_dict": state}, path)

    def _write_state(self, path: str) -> None:
        parts = {
            "iteration": self._done,
            "optimizer": self._trainer.optimizer.state_dict(),
            "scheduler": self._trainer.scheduler.state_dict(),
            "random": random_states(),
        }
        torch.save(parts, path)
