"""The data set that a run asks for: opened, at 12 Hz if it is a stream, and checked against what the model reads."""

from __future__ import annotations

from admlops.catalog import Model
from admlops.catalog.registries import DATA_KINDS
from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset, HasStream, open_data
from admlops.pipeline.run_request import RunRequest


def open_requested(model: Model, request: RunRequest) -> Dataset:
    """Open the data set of a request; with `stream` its inputs at 12 Hz.

    Raises:
        UsageError: the data set has no inputs at 12 Hz, or the model looks back by the key frames' index.
    """
    data = open_data(request.data, request.version, wanted=model.reads)
    if not request.stream:
        return data
    if f"{data.kind}-12hz" not in DATA_KINDS:
        raise UsageError(
            f"--stream wants a data set with pictures at 12 Hz, and {data.root} is {data.kind}",
            hint="pass --data with the root of nuScenes, or leave --stream out",
        )
    if model.traits.needs_context:
        raise UsageError(
            f"{model.name} looks back by an index of key frames, which has no inputs at 12 Hz",
            hint=f"admlops evaluate RUN --protocol staleness.2hz-velocity   # of an ordinary run of {model.name}",
        )
    return open_data(request.data, request.version, wanted=[f"{data.kind}-12hz"])


def check_data_kind(model: Model, data: Dataset, request: RunRequest) -> None:
    """Refuse data that the adapter cannot read, and data that the model was not made for unless asked."""
    if data.kind in model.reads or (request.stream and isinstance(data, HasStream)):
        return
    reads = " or ".join(model.reads)
    if data.kind not in model.off_distribution:
        raise UsageError(
            f"{model.name} reads {reads}, and {data.root} is {data.kind}",
            hint=f"pass --data with the root of {reads}; its adapter reads no {data.kind}, with no option",
        )
    if not request.off_distribution:
        raise UsageError(
            f"{model.name} reads {reads}, and {data.root} is {data.kind}",
            hint=f"pass --data with the root of {reads}; to run it there all the same, add --off-distribution",
        )
