"""What a user asks of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from admlops.core.errors import UsageError
from admlops.execution.cancel import CancelToken
from admlops.execution.deadlines import DEFAULT_DEADLINES, Deadlines
from admlops.pipeline.selection import Selection
from admlops.worker.corruptions.fault import Fault
from admlops.worker.precision import AUTHORS

AUTO_BATCH: Literal["auto"] = "auto"
MOST_PREFETCH = 64
RUN_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The user's request. `config` and `checkpoint` are names in the catalogue or paths of files.

    `weights` is `random:SEED` instead of a checkpoint: such a run shows how a model runs, not how good it is.
    `off_distribution` allows data that the model was not made for; its numbers then have a protocol of their own.
    `model_options` are those that its catalogue entry lists. `device` is `auto`, `cpu`, `all` or a list such as
    `cuda:0,cuda:2`; each device gets `workers` workers. A worker may take `gpu_memory_limit_mb` of its GPU's memory, or
    `gpu_memory_share` of it (0 to 1). `retry_failed` does the failed samples of the run called `name` again. `command`
    is the command line, kept with the run for its readers. `on_begin` is called with the folder of each run that is
    prepared, before its workers start. Setting `cancel` stops the run from any thread.
    `engine` is `onnx`, `tensorrt:fp16` or an exported network's file, which executes it in PyTorch's place;
    `engine_options` are those by which its runtime builds it, such as `workspace_bytes`.
    `exported_form` lets PyTorch execute the form of the network that is exported, to compare engines with.
    `precision` is one of `admlops.worker.precision.PRECISIONS`. `graphs` replays parts of the network as CUDA graphs.
    `batch` is how many samples a worker takes at once, or AUTO_BATCH for as many as pay. `prefetch` is how many
    processes read a worker's samples ahead, or `auto`; None leaves it to the kind of run, see `pipeline.prefetching`.
    `address` is the cluster's, for an executor of several machines; `data_map` is the data set's root on those of its
    nodes where it lies elsewhere. `stream` takes the data set's inputs at 12 Hz, `corrupt` lets the model see its
    sensors with a fault. `throughput` searches for the number of workers and the batch with the most samples a second,
    before the run; `workers` above 1 are then the most that are tried, and the memory limit is that of all workers
    together. `estimate_energy` asks codecarbon where the machine measures no energy.
    """

    model: str
    data: Path
    version: str | None = None
    selection: Selection = field(default_factory=Selection)
    variant: str | None = None
    device: str = "auto"
    workers: int = 1
    config: str | None = None
    checkpoint: str | None = None
    weights: str | None = None
    model_options: Mapping[str, str] = field(default_factory=dict)
    off_distribution: bool = False
    precision: str = AUTHORS
    graphs: bool = False
    batch: int | Literal["auto"] = 1
    prefetch: int | Literal["auto"] | None = None
    gpu_memory_limit_mb: float | None = None
    gpu_memory_share: float | None = None
    executor: str = "local"
    address: str | None = None
    data_map: Mapping[str, str] = field(default_factory=dict)
    runtime: str | None = None
    engine: str | None = None
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    exported_form: bool = False
    deadlines: Deadlines = DEFAULT_DEADLINES
    throughput: bool = False
    estimate_energy: bool = False
    stream: bool = False
    corrupt: Fault | None = None
    name: str | None = None
    resume: bool = False
    retry_failed: bool = False
    command: str = ""
    on_begin: Callable[[Path], None] | None = field(default=None, compare=False, repr=False)
    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch != AUTO_BATCH and self.batch < 1:
            raise UsageError(f"--batch {self.batch} leaves no sample", hint="pass --batch 1 or more, or --batch auto")
        if isinstance(self.prefetch, int) and not 0 <= self.prefetch <= MOST_PREFETCH:
            raise UsageError(
                f"--prefetch {self.prefetch} is no number of processes from 0 to {MOST_PREFETCH}",
                hint="pass --prefetch auto",
            )
        if self.workers < 1:
            raise UsageError(f"--workers {self.workers} leaves no worker", hint="pass --workers 1 or more")
        for option, given in (("--resume", self.resume), ("--retry-failed", self.retry_failed)):
            if given and self.name is None:
                raise UsageError(
                    f"{option} needs the run's name", hint="pass --run NAME; admlops results list shows names"
                )
        if self.name is not None and not RUN_NAME.fullmatch(self.name):
            raise UsageError(
                f"--run {self.name!r} is no name for a folder: letters, digits and . _ - are taken, and it begins with "
                "a letter or a digit",
                hint="pass --run first   # or leave it out: a name is made from the model and the time",
            )
        if self.weights is not None:
            self._check_weights(self.weights)

    def _check_weights(self, weights: str) -> None:
        if not re.fullmatch(r"random:\d{1,9}", weights):
            raise UsageError(f"--weights {weights} is not random:SEED", hint="pass --weights random:0")
        if self.checkpoint is not None:
            raise UsageError("--weights and --checkpoint exclude each other", hint="leave one of them out")
