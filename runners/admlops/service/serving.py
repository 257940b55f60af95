"""The server's process: uvicorn, with deadlines for headers, and a stop that ends open streams."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from admlops.core.errors import UsageError
from admlops.downloads.public_addresses import VARIABLE as PUBLIC_ONLY
from admlops.service.app import create_app, create_service
from admlops.service.context import Service
from admlops.service.jobs.pool import RunnerPool
from admlops.service.security.login import login_link
from admlops.service.security.tokens import Identity
from admlops.service.settings import Settings

log = logging.getLogger(__name__)

LINK_NAME = "login link"
MOST_CONNECTIONS = 1000
"""More are answered with 503."""


def check_settings(settings: Settings) -> None:
    """Refuse what would let strangers in.

    Raises:
        UsageError: the address is not this machine's alone and there is no token.
    """
    if not settings.is_loopback and not settings.tokens:
        raise UsageError(
            f"--host {settings.host} lets others reach the service, and there is no token",
            hint="(umask 077; echo run $(openssl rand -hex 32) > tokens) && admlops serve --token-file tokens "
            f"--host {settings.host}",
        )


def serve_until_stopped(settings: Settings, *, announce: Callable[[str, str | None], None]) -> None:
    """Serve until a signal comes. `announce` is told the address and the first login link once requests are answered.

    Raises:
        UsageError: the address is taken or is not this machine's, or has no token.
    """
    check_settings(settings)
    with _listen(settings) as listening:
        settings = replace(settings, port=listening.getsockname()[1])
        service = create_service(settings)
        config = uvicorn.Config(
            create_app(settings, service),
            http=_http_protocol(settings.limits.header_s),
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=max(1, int(settings.limits.header_s)),
            timeout_graceful_shutdown=int(settings.limits.stop_s),
        )
        if not settings.allow_private_addresses:
            os.environ[PUBLIC_ONLY] = "1"  # for the runners, and the jobs that they start
        pool = RunnerPool(settings.layout, settings.jobs, count=settings.runners, devices=settings.devices)
        pool.start()
        # The signal that stopped the service ended it as intended: uvicorn sends it again when all is done.
        try:
            with suppress(KeyboardInterrupt):
                _Server(config, service, announce).run(sockets=[listening])
        finally:
            pool.stop()


def _listen(settings: Settings) -> socket.socket:
    """Take the port, before anything else begins."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        made = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no host's name"
        raise UsageError(
            f"the service cannot listen on {settings.host}, port {settings.port}: {reason}",
            hint="admlops serve --port 0   # takes a free port; ss -ltnp shows who has which",
        ) from error
    # By its number the socket learns that it speaks TCP. asyncio looks at that before it sets TCP_NODELAY, without
    # which each answer waits 40 ms for the client's acknowledgement.
    return socket.socket(fileno=made.detach())


def first_link(service: Service) -> str | None:
    """Return an address that logs a browser in once; None where no login is needed."""
    if not service.settings.tokens:
        return None
    return login_link(service.settings.url, service.sessions, Identity(name=LINK_NAME, scope="run", way="cookie"))


class _Server(uvicorn.Server):
    """uvicorn's server; the first signal also tells those who keep requests open."""

    def __init__(self, config: uvicorn.Config, service: Service, announce: Callable[[str, str | None], None]) -> None:
        super().__init__(config)
        self._service = service
        self._announce = announce
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: object = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            self._announce(self._service.settings.url, first_link(self._service))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._service.stop)
        super().handle_exit(sig, frame)


def _http_protocol(header_s: float) -> type[H11Protocol]:
    class Deadlined(H11Protocol):
        """Closes a connection on which a request's headers do not come in time; uvicorn waits for them for ever."""

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._timer = self.loop.call_later(header_s, self._close_late)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self._waits_for_headers():
                self._stop_timer()
            elif self._timer is None:
                self._timer = self.loop.call_later(header_s, self._close_late)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _waits_for_headers(self) -> bool:
            cycle: RequestResponseCycle | None = self.cycle  # None before the first request
            return cycle is None or cycle.response_complete

        def _close_late(self) -> None:
            self._timer = None
            if self._waits_for_headers():
                self.transport.close()

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Deadlined
