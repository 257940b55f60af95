"""How many processes read a worker's samples ahead, so that its network does not wait for pictures.

A latency run is one whose times stand as `latency.batch1`: one sample at a time, one worker on each device. There
nothing reads ahead unless it is asked for, because what decodes beside the network takes cores from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from admlops.core.types import Say
from admlops.environments.install.ops.jobs import count_cores
from admlops.execution.executor import Slot
from admlops.pipeline.run_request import RunRequest

MOST = 4
"""What `auto` takes at most: six pictures take one core 0.1 to 0.3 s, and fast networks 0.02 to 0.1 s."""


def choose_prefetch(request: RunRequest, slots: Sequence[Slot], *, say: Say, cores: int | None = None) -> int:
    """Return the number of processes that read ahead for each worker; 0: samples are read in turn.

    `auto` leaves each worker a core of its own and shares the others out; on the CPU it is 0, because there the network
    computes on all of them.
    """
    asked = request.prefetch
    if asked is None:
        asked = 0 if _is_latency_run(request) else "auto"
    if asked == "auto":
        asked = 0
        if all(slot.device.kind != "cpu" for slot in slots):
            asked = max(0, min(MOST, (cores or count_cores()) // len(slots) - 1))
        if request.prefetch == "auto" and asked == 0:
            say("--prefetch auto: samples are read in turn, for no core is left beside the network")
    if asked:
        beside = ", which takes cores from the network: its times are no latencies of a worker alone"
        say(
            f"samples are read ahead, by {asked} process{'' if asked == 1 else 'es'} a worker"
            f"{beside if _is_latency_run(request) else ''}"
        )
    return asked


def _is_latency_run(request: RunRequest) -> bool:
    return request.batch == 1 and request.workers == 1 and not request.throughput
