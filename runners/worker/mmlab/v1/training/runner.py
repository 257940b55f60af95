"""The authors' training loop, watched: told of, saved so that it can go on exactly, and ended when asked to.

mmcv's runners are given data loaders that can be resumed, and one hook. The hook stands behind the optimizer and the
timer, and before the loggers, which empty the buffer.
"""

import functools
import math
from collections import OrderedDict
from typing import Any, Dict, Iterable, List, Optional, Tuple

from ....training.resumable import ResumableLoader
from ....training.session import Session
from ....training.torch_state import (
    load,
    load_torch,
    plain_tensors,
    random_states,
    set_plain_tensors,
    set_random_states,
)
from ...common.libraries import load_library, versions
from ...common.weights import load_into
from .corrections import name_copy_streams

PRIORITY = 80
"""Of our hook: mmcv's timer has 70, its loggers 90."""
RUNNERS = ("EpochBasedRunner", "IterBasedRunner")
MEGABYTE = 10**6


class EndedError(Exception):
    """Leaves the authors' loop when the training ends; it is no failure."""

    def __init__(self, iteration: int, reason: str) -> None:
        super().__init__(reason)
        self.iteration, self.reason = iteration, reason


def watch_runners(session: Session, tolerated: Iterable[str] = ()) -> None:
    """Let every run of mmcv's runners from now on be this session's. It leaves them by EndedError.

    `tolerated` are endings of keys that first weights may have and the network not, or the other way.
    """
    name_copy_streams()
    library = load_library("mmcv.runner")
    for name in RUNNERS:
        kind = getattr(library, name)
        kind.run = _watched(kind.run, session, tuple(tolerated))


def _watched(run: Any, session: Session, tolerated: Tuple[str, ...]) -> Any:
    @functools.wraps(run)
    def run_watched(self: Any, data_loaders: List[Any], workflow: Any, *arguments: Any, **keywords: Any) -> Any:
        training = _Training(self, data_loaders[0], session, tolerated)
        self.register_hook(training.hook(), priority=PRIORITY)
        return run(self, [training.loader, *data_loaders[1:]], workflow, *arguments, **keywords)

    return run_watched


class _Training:
    """A runner, its data and its session."""

    def __init__(self, runner: Any, loader: Any, session: Session, tolerated: Tuple[str, ...]) -> None:
        self._runner, self._session, self._tolerated = runner, session, tolerated
        self._network = getattr(runner.model, "module", runner.model)
        self._by_epoch = not hasattr(runner, "_max_iters") or runner._max_iters is None
        distributed = load_torch().distributed
        several = distributed.is_available() and distributed.is_initialized()
        self._processes = distributed.get_world_size() if several else 1
        self._batch = self._size_of_batch(loader)
        self._per_epoch = len(loader) if self._by_epoch else max(1, len(loader.dataset) // self._global_batch)
        self._set_length()
        kept = self._restore()
        # An epoch that was done to its end is not gone on with: the next one begins, as it would have.
        whole = kept is not None and self._by_epoch and kept["loader"]["taken"] >= len(loader)
        self.loader = ResumableLoader(loader, None if kept is None or whole else kept["loader"])
        session.begin(
            iterations=self._total,
            per_epoch=self._per_epoch,
            batch=self._batch,
            processes=self._processes,
            libraries=versions(("torch", "mmcv", "mmdet", "numpy")),
        )

    @property
    def _global_batch(self) -> int:
        return self._batch * self._processes

    @staticmethod
    def _size_of_batch(loader: Any) -> int:
        return int(getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size or 1)

    def _set_length(self) -> None:
        """Decide on the iterations in all: the person's, or the configuration's epochs over these data."""
        runner, asked = self._runner, self._session
        if self._by_epoch:
            self._total = asked.iterations or self._per_epoch * runner._max_epochs
            runner._max_epochs = math.ceil(self._total / self._per_epoch)
            return
        epochs = asked.epochs or asked.config_epochs
        self._total = asked.iterations or (self._per_epoch * epochs if epochs else runner._max_iters)
        runner._max_iters = self._total

    def hook(self) -> Any:
        """mmcv's kind of object that is called after each iteration."""
        training = self

        class Watch(load_library("mmcv.runner").Hook):  # type: ignore[misc]  # its base is imported late
            def after_train_iter(self, runner: Any) -> None:
                training.after_iteration()

        return Watch()

    def after_iteration(self) -> None:
        """Tell of the iteration, save if it is time, and leave the loop if it ends here. mmcv counts it later."""
        runner, session = self._runner, self._session
        done = runner.iter + 1
        told = dict(runner.outputs["log_vars"])
        loss = float(told.pop("loss"))
        session.tell_iteration(
            done,
            epoch=1 + (done - 1) // self._per_epoch,
            loss=loss,
            losses=told,
            grad_norm=self._last("grad_norm"),
            learning_rate=self._learning_rate(),
            time_s=self._last("time"),
            data_time_s=self._last("data_time"),
            memory_mb=_gpu_memory_mb(),
        )
        reason = session.reason_to_stop(done)
        if reason is not None or session.is_due(done):
            session.save(done, self._write_weights, self._write_state)
        if reason is not None:
            raise EndedError(done, reason)

    def _last(self, name: str) -> Optional[float]:
        values = self._runner.log_buffer.val_history.get(name)
        return float(values[-1]) if values else None

    def _learning_rate(self) -> float:
        rates = self._runner.current_lr()
        groups = rates.values() if isinstance(rates, dict) else [rates]
        return max(float(rate) for group in groups for rate in group)

    def _write_weights(self, path: str) -> None:
        runner = self._runner
        done = runner.iter + 1
        meta = {"iter": done, "epoch": done // self._per_epoch, "config": runner.meta.get("config", "")}
        classes = getattr(self._network, "CLASSES", None)
        if classes is not None:
            meta["CLASSES"] = tuple(classes)
        load_library("mmcv.runner").save_checkpoint(self._network, path, meta=meta)

    def _write_state(self, path: str) -> None:
        """All that another process needs: of several, each writes its own generators, the first the rest as well."""
        state: Dict[str, Any] = {
            "iteration": self._runner.iter + 1,
            "random": random_states(),
            "loader": self.loader.state(),
            "modules": plain_tensors(self._network),
        }
        if self._session.rank == 0:
            state["optimizer"] = self._runner.optimizer.state_dict()
            state["scaler"] = (self._runner.meta.get("fp16") or {}).get("loss_scaler")
        load_torch().save(state, path)

    def _restore(self) -> Optional[Dict[str, Any]]:
        """Fill the network: from the checkpoint that is resumed, or from the weights that the training begins with."""
        session, runner = self._session, self._runner
        weights = session.start.get("weights")
        if session.resume is None:
            if weights:
                session.note(load_into(self._network, weights, tolerated=self._tolerated).summary())
            return None
        first = load(session.resume.state)
        kept = first if session.rank == 0 else load(session.state_of_rank())
        self._fill(load(session.resume.weights)["state_dict"])
        runner.optimizer.load_state_dict(first["optimizer"])
        if first["scaler"] is not None:
            runner.meta.setdefault("fp16", {})["loss_scaler"] = first["scaler"]
        memory = set_plain_tensors(self._network, kept["modules"])
        done = int(first["iteration"])
        runner._iter, runner._epoch = done, done // self._per_epoch if self._by_epoch else 0
        set_random_states(kept["random"])
        remembered = "; the memory of {}".format(", ".join(memory)) if memory else ""
        session.note("resumed behind iteration {}: weights, optimizer, data order, draws{}".format(done, remembered))
        return kept  # type: ignore[no-any-return]

    def _fill(self, state: Dict[str, Any]) -> None:
        """Load weights that this training saved; mmcv also saves constants that PyTorch leaves out: MapTR's offsets.

        The network's own metadata goes with them: without a version mmdet takes them for older ones, and renames them.
        """
        own = self._network.state_dict()
        kept = OrderedDict((name, value) for name, value in state.items() if name in own)
        kept._metadata = own._metadata  # type: ignore[attr-defined]
        self._network.load_state_dict(kept)


def _gpu_memory_mb() -> Optional[float]:
    cuda = load_torch().cuda
    return cuda.max_memory_allocated() / MEGABYTE if cuda.is_available() else None
