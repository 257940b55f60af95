"""Running one sample through an adapter, and its times."""

import time
from typing import Any, Dict, Optional

from . import compact_json
from .adapter import Adapter
from .memory import resident_peak_mb, waited_for_cores_s
from .prefetch.reader import Reader
from .runtimes.base import Runtime
from .samples.form import find_non_finite
from .wire import MAX_PAYLOAD_BYTES


class OutputError(Exception):
    """The adapter's outputs are not what a record can hold. The message names the place."""


class Step:
    """The step that `run_sample` is at: it tells which step an exception came from."""

    def __init__(self) -> None:
        self.preparing = False


def run_sample(
    adapter: Adapter,
    sample: Dict[str, Any],
    step: Step,
    runtime: Optional[Runtime] = None,
    reader: Optional[Reader] = None,
) -> Dict[str, Any]:
    """Prepare, forward, convert. Returns the sample's token, two times [s], peak GPU memory [MB] and the outputs.

    `reader` prepares; without one the adapter does. The end-to-end time is what the sample's own steps took, wherever.
    """
    runtime = runtime or Runtime()
    reader = reader or Reader(adapter)
    runtime.reset_peak()
    began = time.perf_counter()
    step.preparing = True
    inputs, correction_s = reader.prepare(sample)
    step.preparing = False
    adapter.synchronize()
    runtime.synchronize()
    called = time.perf_counter()
    raw = adapter.forward(inputs)
    adapter.synchronize()
    runtime.synchronize()
    returned = time.perf_counter()
    outputs = adapter.convert(raw, sample)
    ended = time.perf_counter()
    return {
        "sample_token": sample["sample_token"],
        "inference_time": returned - called,
        "end_to_end_time": ended - began + correction_s,
        "gpu_memory_used": runtime.peak_mb(),
        "outputs": outputs,
    }


def measure_usage(runtime: Runtime) -> Dict[str, Any]:
    """Return what this process has taken so far: peaks of memory [MB]; seconds of its threads, and of a clock [s]."""
    return {
        "host_peak_mb": round(resident_peak_mb(), 3),
        "reserved_peak_mb": runtime.reserved_peak_mb(),
        "busy_s": time.process_time() + waited_for_cores_s(),
        "clock_s": time.perf_counter(),
    }


def encode_result(result: Dict[str, Any]) -> bytes:
    """Return the result as JSON. Raises OutputError for NaN, for what is not plain JSON or too large for a frame."""
    if not isinstance(result["outputs"], dict):
        raise OutputError("convert() returned {}, not a dictionary".format(type(result["outputs"]).__name__))
    try:
        payload = compact_json.encode(result)
    except ValueError as error:
        place = find_non_finite(result["outputs"], "outputs")
        raise OutputError("{} is not a finite number".format(place) if place else str(error)) from error
    except TypeError as error:
        raise OutputError("outputs are not plain JSON: {}".format(error)) from error
    except RecursionError as error:
        raise OutputError("outputs are nested without end") from error
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise OutputError("outputs of {} bytes are over the limit of {}".format(len(payload), MAX_PAYLOAD_BYTES))
    return payload
