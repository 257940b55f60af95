"""The machine's memory, and what the container's control group leaves of it."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from admlops.core.cgroups import count_kills, memory_left_bytes
from admlops.pipeline.health.check import Finding, HealthCheck, Place, judge

ENOUGH_BYTES, LEAST_BYTES = 4_000_000_000, 1_000_000_000
"""A worker of the larger models takes 3 to 6 GB; below LEAST_BYTES not even the host's own work fits."""


def _look(place: Place) -> Iterator[Finding]:
    machine = psutil.virtual_memory()
    yield Finding(measure="total", value=round(machine.total / 1e6), unit="MB", subject="machine")
    yield _free("machine", machine.available)
    left = memory_left_bytes(place.root / "sys/fs/cgroup")
    if left is None:
        yield Finding(measure="limit", value="none", subject="container")
    else:
        yield _free("container", min(left, machine.available))
    kills = count_kills(place.root / "sys/fs/cgroup")
    if kills is not None:
        yield Finding(
            measure="kills for want of memory",
            value=kills,
            subject="container",
            status="warn" if kills else "pass",
            problem="the kernel ended processes here because the memory was full" if kills else "",
            advice="admlops doctor   # says whether a worker was among them; run fewer --workers",
        )


def _free(subject: str, free: int) -> Finding:
    status = judge(free, warn_below=ENOUGH_BYTES, fail_below=LEAST_BYTES)
    return Finding(
        measure="free",
        value=round(free / 1e6),
        unit="MB",
        subject=subject,
        status=status,
        problem="" if status == "pass" else "a worker of a large model takes 3 to 6 GB",
        advice="ps aux --sort=-rss | head   # end what is not needed, or rent a pod with more memory",
    )


CHECK = HealthCheck(id="memory", title="Memory", look=_look)
