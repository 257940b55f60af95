"""Options of a run that depend on the model: its own (`--option NAME=VALUE`), `--precision` and `--graphs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from admlops.catalog import Model
from admlops.core.errors import UsageError
from admlops.pipeline.fixes import fixes_of_weights
from admlops.pipeline.run_request import RunRequest
from admlops.worker.corruptions.fault import LIDAR, Fault, FaultError, parse_fault
from admlops.worker.precision import AUTHORS, HALF, PRECISIONS, TF32


def parse_options(given: Iterable[str]) -> dict[str, str]:
    """The options by name.

    Raises:
        UsageError: one is not NAME=VALUE, or a name comes twice.
    """
    options: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name or not value:
            raise UsageError(f"--option {text} is not NAME=VALUE", hint="pass --option command=straight, for example")
        if name in options:
            raise UsageError(f"--option {name} is given twice", hint="leave one of them out")
        options[name] = value
    return options


def require_sensor(model: Model, fault: Fault | None, config: str | None) -> None:
    """Raise UsageError for a fault of a sensor that the model does not look at."""
    if fault is None:
        return
    sensor = "lidar" if fault.name in LIDAR else "camera"
    own = model.sensors_of(config)
    if sensor not in own:
        raise UsageError(
            f"--corrupt {fault.label} is a fault of the {sensor}, and {model.name} looks at {' and '.join(own)} alone",
            hint="pass --corrupt fog:2 for cameras" if "camera" in own else "pass --corrupt lidar-points:2",
        )


def read_corrupt(text: str, seed: int) -> Fault:
    """Read a fault of `--corrupt`. Raises UsageError: there is no such one."""
    try:
        return parse_fault(text, seed)
    except FaultError as error:
        raise UsageError(
            f"--corrupt: {error}", hint="pass --corrupt fog:2, for example; docs/robustness.md has all"
        ) from error


EMA_VALUES = ("use", "leave")
"""`--option ema`: take the moving average in a checkpoint, or leave it."""


def check_options(model: Model, options: Mapping[str, str]) -> None:
    """Raise UsageError for an option that the model does not have, or a value that it does not take."""
    hint = f"admlops models show {model.name}"
    for name, value in options.items():
        if name not in model.options and _is_of_weights(model, name, value):
            continue
        if name not in model.options:
            known = f"it has: {', '.join(model.options)}" if model.options else "it has none"
            raise UsageError(f"{model.name} has no option {name}; {known}", hint=hint)
        values = model.options[name].values
        if value not in values:
            raise UsageError(f"--option {name}={value} is not one of: {', '.join(values)}", hint=hint)


def _is_of_weights(model: Model, name: str, value: str) -> bool:
    """Whether it is an option of every model with weights: `ema`, and `fixes` where some of its weights need one."""
    if name == "ema" and model.checkpoints:
        if value not in EMA_VALUES:
            raise UsageError(
                f"--option ema={value} is not one of: {', '.join(EMA_VALUES)}", hint="docs/checkpoints.md says more"
            )
        return True
    return name == "fixes" and bool(fixes_of_weights(model))


def check_config(model: Model, *, config: str | None, checkpoint: str | None) -> None:
    """Raise UsageError for a config of the catalogue that no variant of the model runs, however it is chosen.

    Also raise it for a name that another model has now.
    """
    for option, asked in (("--config", config), ("--checkpoint", checkpoint)):
        if asked in model.moved:
            raise UsageError(
                f"{option} {asked}: {model.name} has it no longer, it is of the model {model.moved[asked]} now",
                hint=f"admlops models show {model.moved[asked]}",
            )
    weights = model.checkpoints.get(checkpoint or "")
    chosen = config or (weights.config if weights else None)
    if chosen not in model.not_runnable:
        return
    runs = [name for name in model.configs if name not in model.not_runnable]
    raise UsageError(
        f"no variant of {model.name} runs its config {chosen}: {model.not_runnable[chosen]}",
        hint=f"pass --config or --checkpoint with another: {', '.join(runs)}",
    )


def check_graphs(model: Model, request: RunRequest, *, device: str) -> None:
    """Raise UsageError if `--graphs` is impossible: CUDA graphs are PyTorch's, on a GPU, of one sample at a time."""
    if not request.graphs:
        return
    reason = ""
    if not model.traits.made_for_gpu:
        reason = "it runs on the CPU alone"
    elif request.engine is not None:
        reason = f"--engine {request.engine} executes its network, and CUDA graphs are PyTorch's"
    elif (request.runtime or model.runtime) != "torch":
        reason = f"the runtime {request.runtime or model.runtime} executes its network, and CUDA graphs are PyTorch's"
    elif device == "cpu":
        reason = "a CPU has no CUDA graphs"
    elif request.batch != 1:
        reason = f"a graph is of one sample, and --batch {request.batch} takes several"
    elif request.throughput:
        reason = "a graph is of one sample, and --throughput tries batches"
    if reason:
        raise UsageError(f"{model.name} cannot run with --graphs: {reason}", hint="leave --graphs out")


def check_precision(model: Model, precision: str, *, device: str) -> None:
    """Raise UsageError for an unknown precision, or one that the model cannot have on `device`."""
    if precision not in PRECISIONS:
        raise UsageError(
            f"--precision {precision} is not one of: {', '.join(PRECISIONS)}", hint="leave --precision out"
        )
    if precision not in (TF32, HALF):
        return
    reason = "a CPU computes in float32" if device == "cpu" else "it runs on the CPU alone, in float32"
    if device == "cpu" or not model.traits.made_for_gpu:
        raise UsageError(
            f"{model.name} cannot run with --precision {precision}: {reason}", hint=f"pass --precision {AUTHORS}"
        )
