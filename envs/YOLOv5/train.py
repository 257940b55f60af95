"""The program that trains YOLOv5 by `train` of the repository's train.py, on pictures and boxes that the host lists.

It and the adapter alone import YOLOv5's source, which is under AGPL-3.0; see demo.py. `train` has callbacks, but hands
over neither its optimizer nor its average: so the functions that make those are wrapped here, by their names in its
module. What asks the network (loggers, fonts, the check of half precision) is left out.

After a resume the order, the draws, weights, average and optimizer are those of an unbroken training. Gradients that
`train` sums up over several small batches are not kept: the first batch behind a resume makes a step of its own.
"""

import os
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from itertools import chain
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from worker.adapter import Adapter, Settings
from worker.mmlab.common.libraries import load_library, versions
from worker.mmlab.common.weights import load_into
from worker.pictures.ultralytics_data import write_data
from worker.pictures.ultralytics_switches import keep_settings, set_switches
from worker.training.resumable import ResumableLoader
from worker.training.session import Session
from worker.training.torch_state import load, random_states, set_random_states

SOURCE = Path(__file__).resolve().parents[2] / "submodules" / "YOLOv5"
HYPERPARAMETERS = SOURCE / "data" / "hyps" / "hyp.scratch-low.yaml"
EPOCHS, BATCH = 100, 16
LOSSES = ("box", "obj", "cls")
VISIBLE = "CUDA_VISIBLE_DEVICES"


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Train on `request["samples"]`; see `worker.training.session`, and `training.trainers.pictures` of the host."""
    session = Session(request)
    data = write_data(Path(session.folder) / "work", request)
    device = show_one_gpu(settings.device)
    set_switches()
    with keep_settings():
        config = settings.config or str(SOURCE / "models" / "yolov5s.yaml")
        return Training(session, config, data, len(request["samples"])).run(device)


def show_one_gpu(device: str) -> str:
    """Hide all GPUs but this one before PyTorch looks: `train` spreads over what it sees. Returns the new name."""
    if device == "cpu":
        return device
    number = int(device.partition(":")[2] or 0)
    visible = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = visible.split(",")[number] if visible else str(number)
    return "cuda:0"


def load_source() -> Any:
    """The repository's train.py, without the font that it would download."""
    sys.path.insert(0, str(SOURCE))
    load_library("utils.general").check_font = lambda *_, **__: None
    spec = spec_from_file_location("yolov5_train", str(SOURCE / "train.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Loggers:
    """In the place of the repository's loggers, which draw, write tables and call services: it does nothing."""

    remote_dataset = None

    def __init__(self, **_: Any) -> None:
        pass


class Passes:
    """The loader of the repository: passes that were done before a resume are empty, and one begins in its middle.

    Args:
        loader: a DataLoader with a generator of its own, which shuffles.
        done: how many batches were taken before.
        kept: what `state` gave after them, None at the begin of a training.
    """

    def __init__(self, loader: Any, done: int, kept: Optional[Mapping[str, Any]]) -> None:
        self._loader, self._kept, self._epoch = loader, kept, 0
        self._first, self.offset = divmod(done, len(loader))
        self._resumable = ResumableLoader(loader, dict(kept["loader"]) if kept and self.offset else None)
        self._order: Any = None

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __iter__(self) -> Iterator[Any]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        if epoch < self._first:
            return iter(())
        generator = self._loader.generator
        if epoch > self._first:
            self.offset = 0
        elif self._kept is not None:
            generator.set_state(self._kept["order" if self.offset else "next_order"])
        self._order = generator.get_state()
        return iter(self._resumable)

    def numbered(self, batches: Iterator[Tuple[int, Any]], **_: Any) -> "Numbered":
        """Number the batches of a pass from where it begins; takes the place of the repository's progress bar."""
        return Numbered(batches, self)

    def state(self) -> Dict[str, Any]:
        """What another process needs to go on behind the batch that was taken last."""
        next_order = self._loader.generator.get_state()
        return {"loader": self._resumable.state(), "order": self._order, "next_order": next_order}


class Numbered:
    """What `train` takes for its progress bar."""

    def __init__(self, batches: Iterator[Tuple[int, Any]], passes: Passes) -> None:
        self._batches, self._passes = batches, passes

    def __iter__(self) -> Iterator[Tuple[int, Any]]:
        first = next(self._batches, None)
        for number, batch in chain(() if first is None else (first,), self._batches):
            yield number + self._passes.offset, batch

    def set_description(self, _: str) -> None:
        """Nothing: the host shows progress."""


class Training:
    """One call of `train`, with what it makes on the way, and callbacks that tell, save and end."""

    def __init__(self, session: Session, config: str, data: Path, pictures: int) -> None:
        self._session, self._config, self._data = session, config, data
        self._batch = min(session.batch or BATCH, pictures)
        self._steps = -(-pictures // self._batch)  # the last batch may be smaller
        self._total = session.iterations or self._steps * (session.epochs or EPOCHS)
        self._kept = None if session.resume is None else load(session.resume.state)
        self._done = 0 if self._kept is None else int(self._kept["iteration"])
        self._made: Dict[str, Any] = {}
        self._losses: List[float] = []
        self._norm: Optional[float] = None
        self._ended = self._began = time.perf_counter()
        self._reason: Optional[str] = None

    def run(self, device: str) -> Dict[str, Any]:
        """Train until the end, or until the session says to stop."""
        torch = load_library("torch")
        source = load_source()
        self._replace(source, torch)
        self._callbacks = source.Callbacks()
        self._callbacks.register_action("on_train_start", callback=self._begin)
        self._callbacks.register_action("on_train_batch_start", callback=self._start_timer)
        self._callbacks.register_action("on_train_batch_end", callback=self._after_iteration)
        hyperparameters = load_library("yaml").safe_load(HYPERPARAMETERS.read_text())
        if self._session.learning_rate is not None:
            hyperparameters["lr0"] = self._session.learning_rate
        source.train(hyperparameters, self._options(source), torch.device(device), self._callbacks)
        if self._reason is None:
            raise RuntimeError("YOLOv5's trainer ended before the last iteration")
        return self._session.end(self._done, self._reason)

    def _options(self, source: Any) -> Any:
        """The options of the command line, with what is asked for here."""
        arguments, sys.argv = sys.argv, sys.argv[:1]
        try:
            options = source.parse_opt(known=True)
        finally:
            sys.argv = arguments
        asked: Dict[str, Any] = {
            "weights": "",
            "cfg": self._config,
            "data": str(self._data),
            "save_dir": str(self._data.parent / "yolov5"),
            "epochs": -(-self._total // self._steps),
            "batch_size": self._batch,
            "seed": self._session.seed,
            "patience": 0,
            "noval": True,
            "nosave": True,
            "noplots": True,
            "noautoanchor": self._kept is not None,
        }
        if self._session.is_smoke:
            asked.update(self._session.smoke_settings)
        for name, value in asked.items():
            setattr(options, name, value)
        return options

    def _replace(self, source: Any, torch: Any) -> None:
        """Wrap what `train` calls, to keep what it makes."""
        source.Loggers = Loggers
        source.check_amp = lambda network: next(network.parameters()).device.type != "cpu"
        loaders = load_library("utils.dataloaders")
        # A loader that begins anew in each pass: the repository's reads ahead into the next one.
        loaders.InfiniteDataLoader = torch.utils.data.DataLoader
        # Pictures are looked at by threads: processes that are forked beside PyTorch's threads can wait for ever.
        loaders.Pool = loaders.ThreadPool
        source.create_dataloader = self._make_loader(source.create_dataloader)
        source.TQDM = lambda batches, **options: self._made["loader"].numbered(batches, **options)
        source.Model = self._fill(source.Model)
        source.ComputeLoss = self._hear_losses(source.ComputeLoss)
        source.smart_optimizer = self._keep("optimizer", source.smart_optimizer)
        source.ModelEMA = self._keep("average", source.ModelEMA)
        torch.cuda.amp.GradScaler = self._keep("scaler", torch.cuda.amp.GradScaler)
        torch.nn.utils.clip_grad_norm_ = self._hear_norm(torch.nn.utils.clip_grad_norm_)

    def _keep(self, name: str, make: Any) -> Any:
        def kept(*arguments: Any, **options: Any) -> Any:
            self._made[name] = make(*arguments, **options)
            return self._made[name]

        return kept

    def _make_loader(self, make: Any) -> Any:
        def made(*arguments: Any, **options: Any) -> Any:
            loader, pictures = make(*arguments, **options)
            if not options.get("augment"):
                return loader, pictures
            self._made["loader"] = Passes(loader, self._done, self._kept and self._kept["loader"])
            return self._made["loader"], pictures

        return made

    def _fill(self, build: Any) -> Any:
        def filled(*arguments: Any, **options: Any) -> Any:
            network = self._made["network"] = build(*arguments, **options)
            if self._session.start.get("weights"):
                self._session.note(load_into(network, self._session.start["weights"]).summary())
            return network

        return filled

    def _hear_losses(self, make: Any) -> Any:
        def made(network: Any) -> Any:
            compute = make(network)

            def call(*given: Any) -> Any:
                loss, parts = compute(*given)
                self._losses = parts.tolist()
                return loss, parts

            return call

        return made

    def _hear_norm(self, clip: Any) -> Any:
        def heard(*arguments: Any, **options: Any) -> Any:
            norm = clip(*arguments, **options)
            self._norm = float(norm)
            return norm

        return heard

    def _begin(self) -> None:
        self._restore()
        self._session.begin(
            iterations=self._total,
            per_epoch=self._steps,
            batch=self._batch,
            processes=1,
            libraries=versions(("torch", "ultralytics", "numpy")),
        )
        self._ended = time.perf_counter()

    def _restore(self) -> None:
        """Go on behind the checkpoint that is resumed, once `train` has built everything."""
        if self._kept is None:
            return
        made, kept = self._made, self._kept
        made["network"].load_state_dict(kept["network"])
        made["average"].ema.load_state_dict(kept["average"])
        made["average"].updates = kept["updates"]
        made["optimizer"].load_state_dict(kept["optimizer"])
        made["scaler"].load_state_dict(kept["scaler"])
        set_random_states(kept["random"])

    def _start_timer(self) -> None:
        self._began, self._norm = time.perf_counter(), None

    def _after_iteration(self, *_: Any) -> None:
        session, now = self._session, time.perf_counter()
        self._done += 1
        session.tell_iteration(
            self._done,
            epoch=1 + (self._done - 1) // self._steps,
            loss=sum(self._losses),
            losses=dict(zip(LOSSES, self._losses)),
            grad_norm=self._norm,
            learning_rate=max(group["lr"] for group in self._made["optimizer"].param_groups),
            time_s=now - self._ended,
            data_time_s=self._began - self._ended,
        )
        self._ended = now
        self._reason = session.reason_to_stop(self._done)
        if self._reason is not None or session.is_due(self._done):
            session.save(self._done, self._write_weights, self._write_state)
        self._callbacks.stop_training = self._reason is not None

    def _write_weights(self, path: str) -> None:
        """The moving average: what the repository itself keeps as the result."""
        load_library("torch").save({"state_dict": self._made["average"].ema.state_dict()}, path)

    def _write_state(self, path: str) -> None:
        made = self._made
        state = {
            "iteration": self._done,
            "network": made["network"].state_dict(),
            "average": made["average"].ema.state_dict(),
            "updates": made["average"].updates,
            "optimizer": plain(made["optimizer"].state_dict()),
            "scaler": made["scaler"].state_dict(),
            "loader": made["loader"].state(),
            "random": random_states(),
        }
        load_library("torch").save(state, path)


def plain(state: Dict[str, Any]) -> Dict[str, Any]:
    """The optimizer's state with Python's numbers: the warm-up leaves NumPy's, which a safe reader refuses."""
    groups = [
        {name: float(value) if isinstance(value, float) else value for name, value in group.items()}
        for group in state["param_groups"]
    ]
    return {**state, "param_groups": groups}
