"""One sample through an adapter, with its times."""

import math
import time
from typing import Any, Dict, Optional

from worker import compact_json
from worker import memory as gpu
from worker.adapter import Adapter
from worker.wire import MAX_PAYLOAD_BYTES


class OutputError(Exception):
    """The adapter's outputs are not what a record can hold. The message names the place."""


class Step:
    """Where `run_sample` is, so that an exception can be told from the step it came from."""

    def __init__(self) -> None:
        self.preparing = False


def run_sample(adapter: Adapter, sample: Dict[str, Any], step: Step) -> Dict[str, Any]:
    """Prepare, forward, convert. Returns the sample's token, two times [s], peak GPU memory [MB] and the outputs."""
    gpu.reset_peak()
    began = time.perf_counter()
    step.preparing = True
    inputs = adapter.prepare(sample)
    step.preparing = False
    adapter.synchronize()
    called = time.perf_counter()
    raw = adapter.forward(inputs)
    adapter.synchronize()
    returned = time.perf_counter()
    outputs = adapter.convert(raw, sample)
    ended = time.perf_counter()
    return {
        "sample_token": sample["sample_token"],
        "inference_time": returned - called,
        "end_to_end_time": ended - began,
        "gpu_memory_used": gpu.peak_mb(),
        "outputs": outputs,
    }


def encode_result(result: Dict[str, Any]) -> bytes:
    """The result as JSON. Raises OutputError for what is not a number, not plain JSON or too large for a frame."""
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


def find_non_finite(value: Any, path: str) -> Optional[str]:
    """The path of the first NaN or infinity, such as `outputs.detections_3d[3].confidence`."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    pairs = []  # type: list[tuple[str, Any]]
    if isinstance(value, dict):
        pairs = [("{}.{}".format(path, key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        pairs = [("{}[{}]".format(path, index), item) for index, item in enumerate(value)]
    for place, item in pairs:
        found = find_non_finite(item, place)
        if found:
            return found
    return None
