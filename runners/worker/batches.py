"""Several samples in one call of the network: how many, and what follows when a call fails.

Only samples of one scene meet in a batch, in their order. A batch that runs out of memory is halved, down to single
samples; one that fails otherwise is done again sample by sample, so that a failure costs its own sample and no other.
Times of a sample in a batch are its share: the batch's time by its number of samples. Reading counts by what it takes
of the worker's time: nothing but waiting where others read ahead.
"""

import gc
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .adapter import Adapter
from .failures import classify, describe
from .measure import OutputError, Step, encode_result, measure_usage, run_sample
from .memory import host_memory_left_mb, host_peak_mb
from .prefetch.reader import Reader
from .runtimes.base import Runtime

TRIALS = 2
"""Batches of each size: the first warms up (kernels are chosen, memory is reserved), the others are timed."""
GAIN = 1.05
"""A doubled batch must be so much faster a sample, else the smaller one stays."""
MEMORY_SHARE = 0.5
"""Of the host's free memory, which a doubled batch may be expected to take."""
OUT_OF_MEMORY = ("cuda_oom", "host_oom")
BROKEN = ("arch", "poisoned", "lost")
"""Failures that leave the process of no use: nothing is tried again here."""


class Outcome(NamedTuple):
    """What became of one sample: its result as JSON, or the exception and its failure class."""

    sample: Dict[str, Any]
    payload: Optional[bytes] = None
    error: Optional[Exception] = None
    kind: str = ""


class BatchSize:
    """How many samples go into the next batch.

    A fixed size is `most`. With `auto` it begins at 1 and doubles up to `most` while that pays, as TRIALS and GAIN say,
    and while the host's memory seems to carry it. Either is halved when a batch runs out of memory, and stays so.
    """

    def __init__(self, *, auto: bool, most: int) -> None:
        self.current = 1 if auto else max(1, most)
        self.searching = auto and most > 1
        self._most = max(1, most)
        self._times = []  # type: List[float]
        self._best = (0.0, 1)  # type: Tuple[float, int]
        self._peaks = []  # type: List[float]

    def note_time(self, size: int, seconds: float) -> None:
        """Learn how long a batch of `size` took, and choose the next size."""
        if not self.searching or size != self.current:
            return
        self._times.append(seconds)
        if len(self._times) < TRIALS:
            return
        rate = size / max(min(self._times[1:]), 1e-9)
        self._times = []
        if rate < self._best[0] * GAIN:
            self._settle(self._best[1], "{:.3g} samples/s at {} is no more".format(rate, size))
            return
        self._best = (rate, size)
        self._peaks.append(host_peak_mb())
        if 2 * size > self._most:
            self._settle(size, "the largest that is tried")
        elif not self._has_room():
            self._settle(size, "a doubled one may not fit into the memory")
        else:
            self.current = 2 * size

    def halve(self, size: int) -> None:
        """Learn that a batch of `size` ran out of memory."""
        self._most = max(1, size // 2)
        self._settle(min(self.current, self._most), "{} ran out of memory".format(size))

    def _settle(self, size: int, why: str) -> None:
        self.current, self.searching = size, False
        sys.stderr.write("batches of {}: {}\n".format(size, why))
        sys.stderr.flush()

    def _has_room(self) -> bool:
        """What the last doubling took, twice, must be within the share of what is left."""
        if len(self._peaks) < 2:
            return True
        return 2 * (self._peaks[-1] - self._peaks[-2]) < MEMORY_SHARE * host_memory_left_mb()


def takes_batches(adapter: Adapter) -> bool:
    """Tell whether the adapter can run several samples in one call."""
    own = getattr(adapter.forward_batch, "__func__", None)
    return own is not Adapter.forward_batch


def run_batch(
    adapter: Adapter,
    samples: List[Dict[str, Any]],
    size: BatchSize,
    runtime: Runtime,
    *,
    begin: Callable[[int], None],
    reader: Optional[Reader] = None,
) -> List[Outcome]:
    """Run the samples in one call if that goes, else in smaller ones. Returns an outcome for each, in their order.

    `begin` is told the number of samples of each call before it is made. The list ends early after a failure of BROKEN,
    and after the host's memory was too small for a single sample.
    """
    begin(len(samples))
    reader = reader or Reader(adapter)
    if len(samples) == 1:
        return [_run_single(adapter, samples[0], size, runtime, reader)]
    try:
        return _run_together(adapter, samples, size, runtime, reader)
    except Exception as error:  # noqa: BLE001  an adapter may raise anything; the class decides what follows
        kind = classify(error)
        if kind in BROKEN:
            return [Outcome(samples[0], error=error, kind=kind)]
        sys.stderr.write("a batch of {} failed ({}): {}\n".format(len(samples), kind, describe(error)[0]))
        error.__traceback__ = None  # its frames hold the batch's tensors
    if kind in OUT_OF_MEMORY:
        size.halve(len(samples))
        gc.collect()
        runtime.release_memory()
        middle = (len(samples) + 1) // 2
        parts = [samples[:middle], samples[middle:]]
    else:
        parts = [[sample] for sample in samples]
    outcomes = []  # type: List[Outcome]
    for part in parts:
        outcomes += run_batch(adapter, part, size, runtime, begin=begin, reader=reader)
        if _ends_process(outcomes[-1]):
            break
    return outcomes


def _ends_process(outcome: Outcome) -> bool:
    return outcome.kind in BROKEN or outcome.kind == "host_oom"


def _run_single(adapter: Adapter, sample: Dict[str, Any], size: BatchSize, runtime: Runtime, reader: Reader) -> Outcome:
    step = Step()
    began = time.perf_counter()
    try:
        result = run_sample(adapter, sample, step, runtime, reader)
        result["end_to_end_time"] = time.perf_counter() - began  # a share says how fast the run is, also of one
        size.note_time(1, result["end_to_end_time"])
        return Outcome(sample, encode_result({**result, "batch": 1, "usage": measure_usage(runtime)}))
    except Exception as error:  # noqa: BLE001  as above
        return Outcome(sample, error=error, kind=classify(error, preparing=step.preparing))


def _run_together(
    adapter: Adapter, samples: List[Dict[str, Any]], size: BatchSize, runtime: Runtime, reader: Reader
) -> List[Outcome]:
    """One call for all whose input can be read. Raises what the adapter's `forward_batch` raises."""
    runtime.reset_peak()
    began = time.perf_counter()
    prepared = [_prepare(reader, sample) for sample in samples]
    good = [index for index, (_, _, failed) in enumerate(prepared) if failed is None]
    if not good:
        return [failed for _, _, failed in prepared if failed is not None]
    adapter.synchronize()
    runtime.synchronize()
    called = time.perf_counter()
    raws = adapter.forward_batch([prepared[index][0] for index in good])
    adapter.synchronize()
    runtime.synchronize()
    share_s = (time.perf_counter() - called) / len(good)
    if len(raws) != len(good):
        raise OutputError("forward_batch() gave {} results for {} samples".format(len(raws), len(good)))
    given = dict(zip(good, raws))
    outcomes = []
    for index, (_, reading_s, failed) in enumerate(prepared):
        if failed is None:
            times = {"inference_time": share_s, "before_s": reading_s, "batch": len(good), "last": index == good[-1]}
            failed = _convert(adapter, given[index], samples[index], times, runtime)
        outcomes.append(failed)
    size.note_time(len(samples), time.perf_counter() - began)
    return outcomes


def _prepare(reader: Reader, sample: Dict[str, Any]) -> "Tuple[Any, float, Optional[Outcome]]":
    """(inputs, seconds, None), or (None, seconds, the failure) for a sample that costs itself alone."""
    began = time.perf_counter()
    try:
        return reader.prepare(sample).inputs, time.perf_counter() - began, None
    except Exception as error:
        kind = classify(error, preparing=True)
        if kind in OUT_OF_MEMORY or kind in BROKEN:
            raise
        return None, time.perf_counter() - began, Outcome(sample, error=error, kind=kind)


def _convert(adapter: Adapter, raw: Any, sample: Dict[str, Any], times: Dict[str, Any], runtime: Runtime) -> Outcome:
    """The sample's result. Its end-to-end time is its own reading and converting, and its share of the call."""
    began = time.perf_counter()
    try:
        outputs = adapter.convert(raw, sample)
        converting_s = time.perf_counter() - began
        result = {
            "sample_token": sample["sample_token"],
            "inference_time": times["inference_time"],
            "end_to_end_time": times["before_s"] + times["inference_time"] + converting_s,
            "gpu_memory_used": runtime.peak_mb(),
            "outputs": outputs,
            "batch": times["batch"],
        }
        if times["last"]:
            result["usage"] = measure_usage(runtime)
        return Outcome(sample, encode_result(result))
    except Exception as error:  # noqa: BLE001  as above
        return Outcome(sample, error=error, kind=classify(error))
