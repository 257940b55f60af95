"""What a run is made of once it can begin: its plan, its executor, and the work that its workers get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from admlops.catalog import Model
from admlops.catalog.registries import RUNTIMES
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.types import Say
from admlops.datasets.base import Dataset, HasContext, Scene, files_root
from admlops.environments import Environment
from admlops.evaluation.corrupted import fault_of
from admlops.execution.batches import LARGEST_AUTO, Batch
from admlops.execution.executor import Executor, ExecutorOptions
from admlops.execution.executors import EXECUTORS
from admlops.execution.scene_job import Job, SceneJob
from admlops.execution.worker import WorkerCommand
from admlops.health.devices import ComputeDevice
from admlops.pipeline.run_request import AUTO_BATCH, RunRequest
from admlops.pipeline.run_settings import working_folder
from admlops.pipeline.scene_jobs import DataSetSamples, expect_outputs
from admlops.pipeline.throughput import Throughput
from admlops.results.header import RunHeader
from admlops.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run that can begin: nothing of it is on disk yet. `executor` has the devices that were asked for.

    `runtime_path` are folders with the packages of its runtime that its environment lacks. `throughput` is what
    throughput mode found for it.
    """

    model: Model
    data: Dataset
    scenes: tuple[Scene, ...]
    environment: Environment
    header: RunHeader
    executor: Executor
    runtime_path: Sequence[str] = ()
    throughput: Throughput | None = None

    def renamed(self, name: str) -> RunPlan:
        """The same plan for a run of another name."""
        return replace(self, header=msgspec.structs.replace(self.header, run=name))


def make_job(layout: Layout, request: RunRequest, plan: RunPlan, run: RunFolder, scenes: tuple[SceneJob, ...]) -> Job:
    runtime = RUNTIMES.get(plan.header.runtime)
    return Job(
        run=run,
        model=plan.model.name,
        variant=plan.header.variant,
        command=_worker_command(layout, plan),
        settings={
            **{name: value for name, value in plan.header.settings.items() if name != "device"},
            "prefetch": plan.header.options.get("prefetch", 0),
        },
        scenes=scenes,
        samples=DataSetSamples(
            plan.data, with_context=_gets_context(plan.model, plan.data), fault=fault_of(plan.header)
        ),
        data_root=str(files_root(plan.data)),
        runtime={"id": runtime.id, "file": str(runtime.file), "path": list(plan.runtime_path)},
        expected=expect_outputs(plan.model),
        temporal=plan.model.temporal,
        batch=_batch(plan.header),
        retry_failed=request.retry_failed,
        deadlines=request.deadlines,
    )


def _batch(header: RunHeader) -> Batch | None:
    """Return how many samples a worker may take at once, by the run's header; None for one, without batches."""
    chosen = header.settings.get("batch", 1)
    if chosen == AUTO_BATCH:
        return Batch(most=LARGEST_AUTO, auto=True)
    return None if chosen == 1 else Batch(most=int(chosen))


def _gets_context(model: Model, data: Dataset) -> bool:
    return model.traits.needs_context and isinstance(data, HasContext)


def name_devices(executor: Executor) -> str:
    """Name the devices of a run, and how many workers there are: `the CPU (…), 2 workers`."""
    slots = executor.slots()
    devices = {(slot.node, slot.device.id): slot.device for slot in slots}
    names = ", ".join(
        f"{'the CPU' if one.kind == 'cpu' else one.id}{f' of {node}' if node else ''} ({one.name})"
        for (node, _), one in devices.items()
    )
    return f"{names}, {len(slots)} worker{'' if len(slots) == 1 else 's'}"


def choose_executor(
    request: RunRequest, machine: Mapping[str, Any], *, say: Say
) -> tuple[Executor, tuple[ComputeDevice, ...]]:
    """Return the executor and its devices, each once. Raises UsageError for a device that is not there."""
    make = EXECUTORS.get(request.executor)  # says which ones there are
    if request.executor == "local" and (request.address or request.data_map):
        named = f"--address {request.address}" if request.address else f"--data-map {request.data_map}"
        raise UsageError(
            f"{named} is for executors of several machines, and the local one has this machine alone",
            hint="add --executor ray, or leave the option out",
        )
    executor = make(
        ExecutorOptions(
            devices=request.device,
            workers=request.workers,
            machine=machine,
            address=request.address,
            data_map=request.data_map,
        )
    )
    devices = tuple({(slot.node, slot.device.id): slot.device for slot in executor.slots()}.values())
    if executor.slots()[0].node:
        return executor, devices  # what this machine's driver says does not matter
    if devices[0].kind == "cpu" and machine["gpus"].get("problem"):
        say(f"the NVIDIA driver fails ({machine['gpus']['problem']}); the run is on the CPU, as asked")
    for lost in machine["gpus"].get("lost", ()):
        say(f"a GPU of this machine does not answer and is left out: {lost}")
    others = {str(one["name"]) for one in machine["gpus"]["devices"]} - {device.name for device in devices}
    if request.device == "auto" and devices[0].kind == "cuda" and others:
        say(f"a run takes GPUs of one model; left out: {', '.join(sorted(others))} (--device chooses)")
    return executor, devices


def _worker_command(layout: Layout, plan: RunPlan) -> WorkerCommand:
    return WorkerCommand(
        python=plan.environment.python,
        adapter=plan.model.adapter,
        cwd=working_folder(layout, plan.model),
        variables=process_environment(plan.environment.variables),
    )
