"""Browsers: a link that works once gives a cookie, so that no token is ever typed or kept there."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from admlops.service.security.tokens import Identity, new_secret

COOKIE = "admlops_session"
SESSION_S = 12 * 3600.0
LINK_S = 15 * 60.0
MOST = 1000
"""Sessions and links at a time; the oldest goes first."""


class Sessions:
    """Links and sessions, in memory: they end with the service. Digests are kept, not the secrets themselves."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._links: dict[bytes, tuple[Identity, float]] = {}
        self._sessions: dict[bytes, tuple[Identity, float]] = {}

    def new_link(self, identity: Identity) -> str:
        """Return a code that opens one session for `identity`, within the next quarter of an hour."""
        return self._keep(self._links, identity, LINK_S)

    def open(self, code: str) -> tuple[str, Identity] | None:
        """Spend a link's code; returns the session's secret and whose it is, None if the code is spent or too old."""
        with self._lock:
            found = self._links.pop(_digest(code), None)
        if found is None or found[1] < self._clock():
            return None
        return self.begin(found[0]), found[0]

    def begin(self, identity: Identity) -> str:
        """Return the secret of a new session."""
        return self._keep(self._sessions, replace(identity, way="cookie"), SESSION_S)

    def find(self, secret: str) -> Identity | None:
        """Return whose session it is."""
        found = self._sessions.get(_digest(secret))
        return None if found is None or found[1] < self._clock() else found[0]

    def end(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_digest(secret), None)

    def _keep(self, where: dict[bytes, tuple[Identity, float]], identity: Identity, seconds: float) -> str:
        secret = new_secret()
        with self._lock:
            now = self._clock()
            for old in [digest for digest, (_, end) in where.items() if end < now]:
                del where[old]
            while len(where) >= MOST:
                del where[next(iter(where))]
            where[_digest(secret)] = (identity, now + seconds)
        return secret


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
