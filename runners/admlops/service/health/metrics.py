"""What Prometheus is told: GPUs under DCGM's names, jobs, runners and inference times under our own.

prometheus-client would rename DCGM's energy counter to `…_total`, which no dashboard made for DCGM asks for, so it is
told as a gauge.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from admlops.core.errors import AdmlopsError
from admlops.health.gpu_metrics import METRICS, GpuMetrics, GpuValues
from admlops.service.health.inference_times import InferenceTimes
from admlops.service.queue.job import RunnerState
from admlops.service.queue.jobs import JobQueue

BOARD_LABELS = ("gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname")
SLICE_LABELS = ("GPU_I_ID", "GPU_I_PROFILE")
RUNNER_STATES = ("idle", "running", "initializing")


def make_registry(queue: JobQueue, gpus: GpuMetrics, times: InferenceTimes, *, runners: int) -> CollectorRegistry:
    """Return a registry of everything that the service tells. `runners` is how many it starts itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(GpuCollector(gpus))
    registry.register(QueueCollector(queue, runners=runners))
    registry.register(times)
    return registry


class GpuCollector(Collector):
    """Tells of every GPU and slice; nothing of a machine without a driver."""

    def __init__(self, gpus: GpuMetrics) -> None:
        self._gpus = gpus
        self._reading = threading.Lock()
        self._host = socket.gethostname()

    def describe(self) -> Iterator[Metric]:
        """Tell nothing before it is asked: registering must not ask the driver."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read all GPUs once."""
        with self._reading:
            found = self._gpus.read()
        divided = any(one.instance or one.profile for one in found)
        for metric in METRICS:
            labels = (*BOARD_LABELS, *SLICE_LABELS) if divided else BOARD_LABELS
            family = GaugeMetricFamily(metric.name, metric.help, labels=labels)
            for one in found:
                if metric.name in one.values:
                    family.add_metric(self._labels(one, divided=divided), one.values[metric.name])
            if family.samples:
                yield family

    def _labels(self, one: GpuValues, *, divided: bool) -> list[str]:
        board = [str(one.index), one.uuid, one.pci_bus_id, f"nvidia{one.index}", one.name, self._host]
        return board + ([one.instance, one.profile] if divided else [])


class QueueCollector(Collector):
    """Tells how many jobs and runners stand where. A database that is away leaves `admlops_queue_up` at 0."""

    def __init__(self, queue: JobQueue, *, runners: int) -> None:
        self._queue = queue
        self._runners = runners
        self._ended: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._counting = threading.Lock()

    def describe(self) -> Iterator[Metric]:
        """Tell nothing before it is asked: registering must not ask the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Ask the database once."""
        up = GaugeMetricFamily("admlops_queue_up", "Whether the queue's database answers.")
        try:
            counts = self._queue.counts()
            runners = self._queue.runners()
        except AdmlopsError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        ended = CounterMetricFamily("admlops_jobs", "Jobs that have ended, by how.", labels=("state",))
        for state, number in self._count_up(
            {
                "completed": counts.completed,
                "failed": counts.failed,
                "cancelled": counts.cancelled,
                "timed_out": counts.timed_out,
            }
        ).items():
            ended.add_metric((state,), number)
        yield ended
        yield _gauge("admlops_queue_depth", "Jobs that wait in the queue.", counts.in_queue)
        yield _gauge("admlops_jobs_in_progress", "Jobs that are being done.", counts.in_progress)
        yield self._describe_runners(runners)

    def _count_up(self, now: dict[str, int]) -> Counter[str]:
        """Count only upwards: old jobs are removed from the table, and a counter must not fall."""
        with self._counting:
            for state, number in now.items():
                self._ended[state] += max(0, number - self._seen[state])
                self._seen[state] = number
            return Counter(self._ended)

    def _describe_runners(self, runners: Sequence[RunnerState]) -> Metric:
        busy = sum(one.job is not None for one in runners)
        numbers = (len(runners) - busy, busy, max(0, self._runners - len(runners)))
        family = GaugeMetricFamily("admlops_workers", "Processes that take jobs, by what they do.", labels=("state",))
        for state, number in zip(RUNNER_STATES, numbers, strict=True):
            family.add_metric((state,), number)
        return family


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric((), value)
    return family
