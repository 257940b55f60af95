"""The messages of workers, validated as they enter. Field names are the wire format's; see docs/architecture.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from admlops.results.record import Megabytes, Name, Outputs, PartState, Precision, Seconds
from admlops.results.record_json import outputs_class
from admlops.worker.wire import BATCH, FAILED, HELLO, KIND_NAMES, READY, RESULT, SCENE_DONE, Frame, ProtocolError


class Hello(Struct, frozen=True, forbid_unknown_fields=True):
    """Who the worker is. `digest` is over the adapter's source."""

    protocol: int
    model: Name
    python: str
    adapter: str
    libraries: dict[str, str]
    digest: str


class Ready(Struct, frozen=True, forbid_unknown_fields=True):
    """The model is loaded, with these of the catalogue's fixes, in this arithmetic."""

    fixes: list[str]
    device_name: str
    precision: Precision | UnsetType = UNSET


NOT_LOADED = Ready(fixes=[], device_name="")
"""For a worker that has no model yet."""


class Usage(Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker has taken so far: peaks of memory [MB, 10⁶ bytes], time of its threads, and its own clock [s].

    `reserved_peak_mb` is what the runtime held of the GPU, without what the driver takes for the process. `busy_s` is
    how long its threads computed, or would have, had a core been free.
    """

    host_peak_mb: Megabytes
    reserved_peak_mb: Megabytes | None
    busy_s: Seconds
    clock_s: Seconds


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """One sample done: seconds, megabytes, and the outputs of the standard record.

    `batch` is how many samples went through the network with it, itself included; absent where no batch was asked for.
    `usage` is what the worker has taken until then, sent now and then. `graphs` is how each part of the network ran, in
    a run with graphs; `graphs_refused` says, once, why a part runs without one from then on.
    """

    sample_token: Name
    inference_time: Seconds
    end_to_end_time: Seconds
    gpu_memory_used: Megabytes | None
    outputs: Outputs
    batch: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    graphs: dict[Name, PartState] | UnsetType = UNSET
    graphs_refused: dict[Name, str] | UnsetType = UNSET


class Failed(Struct, frozen=True, forbid_unknown_fields=True, rename={"kind": "class"}):
    """The adapter raised an exception; without a sample token, while starting or between samples.

    `crash` is that of a process which read samples for the worker.
    """

    sample_token: str | None
    kind: Literal["arch", "cuda_oom", "host_oom", "poisoned", "lost", "data", "model", "crash"]
    message: str
    traceback: str


class BatchBegun(Struct, frozen=True, forbid_unknown_fields=True):
    """The next samples are processed together: no answer comes before all of them are done."""

    samples: Annotated[int, Meta(ge=1)]


class SceneDone(Struct, frozen=True, forbid_unknown_fields=True):
    """Every sample of the scene has been answered."""

    scene: str
    samples: int


Message = Hello | Ready | Result | Failed | BatchBegun | SceneDone

_KINDS: Mapping[int, type[Message]] = MappingProxyType(
    {HELLO: Hello, READY: Ready, RESULT: Result, FAILED: Failed, BATCH: BatchBegun, SCENE_DONE: SceneDone}
)


@cache
def _decoder(kind: int) -> msgspec.json.Decoder[Message] | None:
    message: Any = _KINDS.get(kind)
    if message is Result and outputs_class() is not Outputs:
        # An extension's tasks add keys to the outputs.
        fields: Any = [("outputs", outputs_class())]
        message = msgspec.defstruct("Result", fields, bases=(Result,), frozen=True, forbid_unknown_fields=True)
    return None if message is None else msgspec.json.Decoder(message)


def decode_message(frame: Frame) -> Message:
    """Return the message in a frame. Raises ProtocolError naming a wrong field, or a kind that only the host sends."""
    decoder = _decoder(frame.kind)
    if decoder is None:
        raise ProtocolError(f"a worker does not send {KIND_NAMES[frame.kind]} frames")
    try:
        return decoder.decode(frame.payload)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"{KIND_NAMES[frame.kind]} frame: {error}") from error
