"""Who did what, when, and how it ended: one JSON line a request that changes something, or that was refused."""

from __future__ import annotations

import json
import logging
import logging.handlers
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admlops.service.security.tokens import Identity

MAX_BYTES, BACKUPS = 5_000_000, 5
REFUSALS = frozenset({401, 403, 408, 413, 429})


class AuditLog:
    """`audit.jsonl` in a folder, 6 files of 5 MB at most. It never holds a token, a body or a query."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8"
        )

    def write(self, *, who: str, what: str, outcome: object, **more: object) -> None:
        """Append a line."""
        line = {"when": datetime.now(UTC).isoformat(timespec="milliseconds"), "who": who, "what": what}
        text = json.dumps({**line, "outcome": outcome, **more})  # ASCII: no path can break a line
        self._handler.emit(logging.LogRecord("audit", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        self._handler.close()


class Audit:
    """Writes a line for each request that is no plain look, and for each refusal."""

    def __init__(self, app: ASGIApp, *, log: AuditLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            if scope["method"] not in {"GET", "HEAD"} or status in REFUSALS:
                self._note(scope, status, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        state = scope.get("state", {})
        identity = state.get("identity")
        self._log.write(
            who=identity.name if isinstance(identity, Identity) else "nobody",
            what=f"{scope['method']} {scope['path']}"[:300],
            outcome=status,
            client=(scope.get("client") or ("",))[0],
            seconds=round(seconds, 3),
            **state.get("audit", {}),
        )
