"""The application: parts give routes, and every request goes through the same gates.

To add a part, write a function that takes the `Service` and returns a `Part`, and name it in `PARTS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from admlops.service.context import MakePart, Part, Service
from admlops.service.dashboard.part import dashboard_part
from admlops.service.job_api.routes import job_api_part
from admlops.service.job_api.webhooks import Webhooks
from admlops.service.jobs.endpoints import ENDPOINTS
from admlops.service.queue.database import open_database
from admlops.service.queue.jobs import JobQueue
from admlops.service.security.access import Access
from admlops.service.security.audit import Audit, AuditLog
from admlops.service.security.bodies import BodyLimits
from admlops.service.security.headers import SecurityHeaders
from admlops.service.security.login import PUBLIC as LOGIN_PATHS
from admlops.service.security.login import Login
from admlops.service.security.responses import REASONS, refuse
from admlops.service.settings import Settings
from admlops.service.watcher import JobWatcher

log = logging.getLogger(__name__)


def login_part(service: Service) -> Part:
    """Logging in and out."""
    login = Login(url=service.settings.url, tokens=service.settings.tokens, sessions=service.sessions)
    return Part(routes=login.routes(), public=LOGIN_PATHS, scopes={"/logout": "read", "/login/links": "read"})


PARTS: tuple[MakePart, ...] = (login_part, job_api_part, dashboard_part)
"""The service's parts, in the order in which their routes are tried."""


def create_service(settings: Settings) -> Service:
    """Open what the parts share.

    Raises:
        UsageError, StorageError, MissingExtraError: the database cannot be opened.
    """
    jobs = settings.jobs
    queue = JobQueue(open_database(jobs.database, force=jobs.force_database, backup=jobs.backup))
    settings.folder.mkdir(parents=True, exist_ok=True)
    return Service(
        settings=settings,
        queue=queue,
        watcher=JobWatcher(queue),
        audit=AuditLog(settings.folder / "audit.jsonl"),
    )


def create_app(settings: Settings, service: Service | None = None, parts: Sequence[MakePart] = PARTS) -> Starlette:
    """Make the application; `app.state.service` is what its parts share."""
    shared = create_service(settings) if service is None else service
    made = [make(shared) for make in parts]
    app = Starlette(
        routes=[route for part in made for route in part.routes],
        middleware=_gates(shared, made),
        exception_handlers={HTTPException: _refuse_http, Exception: _refuse_defect},
        lifespan=_lifespan(shared, made),
    )
    app.state.service = shared
    return app


def _gates(service: Service, parts: Sequence[Part]) -> list[Middleware]:
    settings = service.settings
    return [
        Middleware(SecurityHeaders),
        Middleware(Audit, log=service.audit),
        Middleware(
            Access,
            tokens=settings.tokens,
            sessions=service.sessions,
            public=frozenset().union(*(part.public for part in parts)),
            scopes={path: scope for part in parts for path, scope in part.scopes.items()},
            origins=frozenset({settings.url}),
            hosts=frozenset({settings.host}),
        ),
        Middleware(BodyLimits, limits=settings.limits),
    ]


def _lifespan(service: Service, parts: Sequence[Part]) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.watcher.begin()
        tasks = [
            asyncio.create_task(asyncio.to_thread(_load_endpoints)),
            asyncio.create_task(Webhooks(service).send_all()),
            *(asyncio.create_task(task()) for part in parts for task in part.tasks),
        ]
        yield
        service.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(service.watcher.end)
        service.audit.close()
        service.queue.database.close()

    return lifespan


def _load_endpoints() -> None:
    """Import what the endpoints need while nobody asks yet: some clients wait no longer than 3 s."""
    for _ in ENDPOINTS.values():
        pass


async def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail if error.detail.lower() != _standard(error.status_code) else REASONS[error.status_code]
    return refuse(error.status_code, message, headers=error.headers)


async def _refuse_defect(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refuse(500, REASONS[500], hint="the service's own log says what failed")


def _standard(status: int) -> str | None:
    from http import HTTPStatus

    return HTTPStatus(status).phrase.lower() if status in REASONS else None
