"""Long polls: an answer that comes as soon as the job has changed, or when the time is over."""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool

from admlops.service.context import Service
from admlops.service.queue.job import Chunk, Job

STREAM_WAIT_S = 5.0
"""The JavaScript SDK asks again at once; the Python SDK gives up after 10 s."""


async def wait_for_end(service: Service, job: Job, seconds: float) -> Job:
    """Return the job as it is at its end, or when the time is over, or when the service stops."""
    deadline = asyncio.get_running_loop().time() + seconds
    with service.watcher.watch(job.id) as changed:
        while True:
            changed.clear()
            job = await look_again(service, job)
            if job.status.is_final or service.stopping.is_set() or not await _wait(changed, deadline):
                return job


async def wait_for_chunks(service: Service, job: Job, seconds: float = STREAM_WAIT_S) -> tuple[Job, tuple[Chunk, ...]]:
    """Take the chunks that nobody has taken; waits for the first one, unless the job has ended.

    The state is read first: what comes between the two is in the chunks, and nothing comes after the end.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    with service.watcher.watch(job.id) as changed:
        while True:
            changed.clear()
            job = await look_again(service, job)
            chunks = tuple(await run_in_threadpool(service.queue.take_chunks, job.id))
            if chunks or job.status.is_final or service.stopping.is_set() or not await _wait(changed, deadline):
                return job, chunks


async def look_again(service: Service, job: Job) -> Job:
    """Return the job as it is now; as it was where it has been removed since."""
    found = await service.find_job(job.id)
    return job if found is None else found


async def _wait(changed: asyncio.Event, deadline: float) -> bool:
    try:
        async with asyncio.timeout_at(deadline):
            await changed.wait()
    except TimeoutError:
        return False
    return True
