"""Options that `run` and `compare` share, and the request they make."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from admlops.cli.completion import complete_scenes, complete_splits, complete_variants, complete_versions
from admlops.cli.quantities import GpuMemory, ProcessesAhead, SamplesAtOnce
from admlops.worker.precision import AUTHORS, PRECISIONS

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.pipeline.run_request import RunRequest

Command = TypeVar("Command", bound=Callable[..., Any])

DATA = click.Path(path_type=Path)
"""A data set's root: a folder, or a file with a list of pictures or with labels."""

_OPTIONS = (
    click.option(
        "--data",
        type=DATA,
        help="The data set's root, or a list of pictures. [default: the one in data/ that MODEL reads]",
    ),
    click.option(
        "--version",
        shell_complete=complete_versions,
        help="The tables' folder, or OpenLane-V2's subset. [default: the only one, or v1.0-mini]",
    ),
    click.option(
        "--split",
        shell_complete=complete_splits,
        help="train, val, test, all, mini_train or mini_val. [default: val; for v1.0-mini: mini_val]",
    ),
    click.option(
        "--scene",
        "scenes",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_scenes,
        help="Run this scene (may be repeated).",
    ),
    click.option(
        "--tokens", type=click.Path(path_type=Path), help="A file or folder of sample tokens; - reads standard input."
    ),
    click.option("--limit", type=int, help="Run only the first N samples.", metavar="N"),
    click.option("--complete-scenes", is_flag=True, help="Run the whole of every scene that a chosen sample is in."),
    click.option(
        "--shard", metavar="I/N", help="Run the I-th of N parts of the scenes; admlops results merge joins the parts."
    ),
    click.option(
        "--where",
        metavar="CONDITION",
        help="Run the scenes with samples where this holds, and evaluate these alone: tag = 'night' and speed < 5.",
    ),
    click.option("--rules", type=click.Path(path_type=Path), metavar="FILE", help="Rules of more tags, for --where."),
    click.option("--variant", shell_complete=complete_variants, help="The set of pins. [default: the model's]"),
    click.option(
        "--devices",
        "--device",
        "device",
        default="auto",
        show_default=True,
        metavar="cpu|all|cuda:0,cuda:2",
        help="The devices to run on; auto takes every visible GPU, or the CPU if there is none.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=AUTHORS,
        show_default=True,
        help="The network's arithmetic on a GPU; authors: as their test runs, but positions in float32.",
    ),
    click.option(
        "--graphs",
        is_flag=True,
        help="Replay the parts of the network that allow it as CUDA graphs: for a GPU that waits for the processor.",
    ),
    click.option(
        "--engine",
        metavar="onnx|…|FILE",
        help="What executes the network in PyTorch's place: onnx, onnx:fp16, or an exported file.",
    ),
    click.option(
        "--batch",
        type=SamplesAtOnce(),
        default="1",
        show_default=True,
        help="Samples that a worker takes at once, for models that can; auto: as many as pay. Latency wants 1.",
    ),
    click.option(
        "--prefetch",
        type=ProcessesAhead(),
        help="Processes that read each worker's next samples; 0: none. "
        "[default: auto with --batch or several workers, else 0]",
    ),
    click.option("--workers", type=int, default=1, show_default=True, help="Worker processes on each device."),
    click.option(
        "--executor",
        default="local",
        show_default=True,
        help="Who runs the workers: local, ray (a cluster), or an extension's.",
    ),
    click.option(
        "--address", metavar="HOST:PORT", help="The Ray cluster's head. [default: what admlops cluster up started]"
    ),
    click.option(
        "--data-map",
        multiple=True,
        metavar="NODE=PATH",
        help="The data set's root on a node, or a file of such lines (TOML, JSON); may be repeated.",
    ),
    click.option(
        "--gpu-memory-limit",
        type=GpuMemory(),
        envvar="GPU_MEMORY_LIMIT",
        help="GPU memory of a worker: MB, or 20GB, 20GiB, 80%. [env: GPU_MEMORY_LIMIT]",
    ),
    click.option(
        "--estimate-energy", is_flag=True, help="Where no energy is measured, let codecarbon estimate it, if installed."
    ),
    click.option(
        "--timeout",
        type=float,
        envvar="INFERENCE_TIMEOUT",
        help="Seconds that one sample may take. [env: INFERENCE_TIMEOUT]",
    ),
    click.option(
        "--start-timeout",
        type=float,
        envvar="START_TIMEOUT",
        help="Seconds until a model must be loaded. [env: START_TIMEOUT; default: 900]",
    ),
)


def selection_options(command: Command) -> Command:
    """Add the options that say what to run on, and how."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_request(layout: Layout, *, model: str, options: dict[str, Any], **more: Any) -> RunRequest:
    """The request that the shared options make; `more` are fields of the request itself."""
    from admlops.catalog import load_model
    from admlops.core.errors import UsageError
    from admlops.datasets.base import default_split
    from admlops.deployment.engines import split_checkpoint
    from admlops.execution.deadlines import DEFAULT_DEADLINES
    from admlops.pipeline.data_map import read_data_map
    from admlops.pipeline.run_request import RunRequest
    from admlops.pipeline.selection import Selection
    from admlops.pipeline.shards import parse_shard

    deadlines = DEFAULT_DEADLINES
    for option, usual in (("timeout", 120), ("start_timeout", 900)):
        limit_s = options[option]
        if limit_s is not None and not 0 < limit_s < math.inf:
            spelt = f"--{option.replace('_', '-')}"
            raise UsageError(f"{spelt} {limit_s:g} leaves no time", hint=f"pass {spelt} {usual}   # seconds")
    if options["timeout"] is not None:
        deadlines = deadlines.with_call(options["timeout"])
    if options["start_timeout"] is not None:
        deadlines = deadlines.with_start(options["start_timeout"])
    model, _ = split_checkpoint(model)
    reads = load_model(layout, model).reads
    data = options["data"] or default_data(layout, reads)
    return RunRequest(
        model=model,
        data=data,
        version=options["version"],
        selection=Selection(
            split=options["split"] or default_split(data, options["version"], wanted=reads),
            scenes=options["scenes"],
            tokens=options["tokens"],
            limit=options["limit"],
            complete_scenes=options["complete_scenes"],
            shard=None if options["shard"] is None else parse_shard(options["shard"]),
            where=options["where"],
            rules=options["rules"],
        ),
        variant=options["variant"],
        device=options["device"],
        precision=options["precision"],
        graphs=options["graphs"],
        estimate_energy=options["estimate_energy"],
        batch=options["batch"],
        prefetch=options["prefetch"],
        engine=options["engine"],
        workers=options["workers"],
        executor=options["executor"],
        address=options["address"],
        data_map=read_data_map(options["data_map"]),
        gpu_memory_limit_mb=None if options["gpu_memory_limit"] is None else options["gpu_memory_limit"].megabytes,
        gpu_memory_share=None if options["gpu_memory_limit"] is None else options["gpu_memory_limit"].share,
        command=shlex.join(["admlops", *sys.argv[1:]]),
        deadlines=deadlines,
        **more,
    )


def default_data(layout: Layout, kinds: Sequence[str]) -> Path:
    """The data set to use when none is named: of a kind that the model reads, real data before synthetic data.

    Raises:
        DataError: there is none.
    """
    from admlops.catalog.registries import DATA_KINDS
    from admlops.core.errors import DataError

    known = [DATA_KINDS.get(kind) for kind in kinds]
    folders = [layout.data / folder for kind in known for folder in kind.folders]
    found: Path | None = next((folder for folder in folders if folder.is_dir()), None)
    if found is not None:
        return found
    made = next(((kind.folders[-1], kind.synthesize) for kind in known if kind.synthesize is not None), None)
    command = "pass --data with your own root"
    if made is not None:
        options = "".join(f" {option}" for option in made[1])
        command = f"admlops data synthesize {layout.data / made[0]}{options}   # or {command}"
    names = ", ".join(f"{folder.name}/" for folder in folders)
    raise DataError(f"no --data was given, and {layout.data} has none of {names}", hint=command)
