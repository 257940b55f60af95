"""What the parts of the service share: settings, the queue, the audit log, sessions, and that it is to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from admlops.service.queue.job import Job
from admlops.service.queue.jobs import JobQueue
from admlops.service.security.audit import AuditLog
from admlops.service.security.sessions import Sessions
from admlops.service.settings import Settings
from admlops.service.watcher import JobWatcher


@dataclass(frozen=True, kw_only=True)
class Service:
    """One running service. `stopping` is set when it is to stop: whoever keeps a request open ends it then."""

    settings: Settings
    queue: JobQueue
    watcher: JobWatcher
    audit: AuditLog
    sessions: Sessions = field(default_factory=Sessions)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Ask everybody who keeps a request open to end it; call it in the server's loop."""
        self.stopping.set()
        self.watcher.wake_all()

    async def find_job(self, job_id: str) -> Job | None:
        """Return a job, or None.

        A look into a SQLite file takes less than handing it to a thread, and waits for no writer; PostgreSQL is asked
        in a thread.
        """
        if self.queue.database.is_sqlite:
            return self.queue.get(job_id)
        return await run_in_threadpool(self.queue.get, job_id)

    async def stops_within(self, seconds: float) -> bool:
        """Wait `seconds`, or until the service is to stop; tell whether it is to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some routes. `public` are exact paths that need no token.

    What reads needs the scope `read`, everything else `run`; `scopes` names exact paths where it is another. `tasks`
    run beside the requests, from the service's start until its stop, which cancels them.
    """

    routes: Sequence[BaseRoute]
    public: frozenset[str] = frozenset()
    scopes: Mapping[str, str] = field(default_factory=dict)
    tasks: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()


MakePart = Callable[[Service], Part]
