"""Bodies have limits of size and time; what exceeds them is refused before it is kept."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admlops.service.security.responses import refuse

DRAIN_S, DRAIN_BYTES = 5.0, 50_000_000
"""How long and how much of a body that is too large is read and thrown away before the answer."""
_RUN = re.compile(r"/v2/[^/]+/(run|runsync)/?")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much and how long one request may be; sizes in bytes, times in seconds."""

    run_body: int = 10_000_000
    runsync_body: int = 20_000_000
    body: int = 1_000_000
    """Of every other request."""
    header_s: float = 60.0
    """From the connection, or from the last answer, to the end of a request's headers."""
    body_s: float = 60.0
    """From the headers to the end of the body."""
    stop_s: float = 10.0
    """How long open requests have to end when the service stops."""


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BodyLimits:
    """Refuses with 413 what is too large, by its Content-Length or as it comes, and with 408 what comes too slowly."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self.most(scope["path"])
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > most:
            await _drain(receive)
            await _refusal(413, _size_message(most))(scope, receive, send)
            return
        reader = _Reader(receive, most, self._limits.body_s)
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, reader, note_start)
        except _RefusedError as error:
            if started:
                raise
            if error.status == 413:
                await _drain(receive)
            await _refusal(error.status, error.message)(scope, receive, send)

    def most(self, path: str) -> int:
        """Return how many bytes a body to this path may have."""
        found = _RUN.fullmatch(path)
        if found is None:
            return self._limits.body
        return self._limits.runsync_body if found[1] == "runsync" else self._limits.run_body


class _Reader:
    """`receive` that counts, and that has a deadline until the body is whole."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._most = most
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()  # waits for the reader to go away
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise _RefusedError(408, f"the body did not come within {self._seconds:g} s") from error
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._size > self._most:
                raise _RefusedError(413, _size_message(self._most))
        return message


async def _drain(receive: Receive) -> None:
    """Throw away what still comes, for a moment: a client that is cut while it sends never reads why."""
    size = 0
    try:
        async with asyncio.timeout(DRAIN_S):
            while size < DRAIN_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                size += len(message.get("body", b""))
    except TimeoutError:
        return


def _refusal(status: int, message: str) -> ASGIApp:
    return refuse(status, message, headers={"connection": "close"})


def _size_message(most: int) -> str:
    return f"a body here has at most {most} bytes"
