"""Who asks, and whether they may: tokens, sessions, hosts and origins. What is not named public needs a token."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from admlops.service.security.responses import refuse
from admlops.service.security.sessions import COOKIE, Sessions
from admlops.service.security.tokens import Identity, Tokens

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
NOBODY = Identity(name="local", scope="run", way="none")
"""Whoever asks a service without tokens: this machine's users."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Access:
    """Lets through who may pass and puts `identity` into the request's state.

    `public` are paths that need no token. A request that reads needs the scope `read`, every other one `run`; paths in
    `scopes` have their own.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        sessions: Sessions,
        public: frozenset[str],
        scopes: Mapping[str, str],
        origins: frozenset[str],
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._sessions = sessions
        self._public = public
        self._scopes = scopes
        self._origins = origins
        self._hosts = LOCAL_HOSTS | hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._tokens and _host_name(headers) not in self._hosts:
            # A page of another site may name itself as this machine (DNS rebinding); its Host header shows it.
            await refuse(403, "this service has no tokens and answers to this machine's own names alone")(
                scope, receive, send
            )
            return
        identity = self._identify(headers)
        scope.setdefault("state", {})["identity"] = identity
        refusal = self._refusal(scope, headers, identity)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers, identity: Identity | None) -> ASGIApp | None:
        path, method = scope["path"], scope["method"]
        if method not in SAFE_METHODS and not self._is_same_origin(headers, identity):
            return refuse(403, "the request comes from a page of another site")
        if path in self._public:
            return None
        if identity is None:
            return refuse(
                401,
                "no valid token",
                hint="send the header Authorization: Bearer TOKEN",
                headers={"www-authenticate": "Bearer"},
            )
        needed = self._scopes.get(path, "read" if method in SAFE_METHODS else "run")
        if not identity.may(needed):
            return refuse(403, f"this token may not do that: it needs the scope {needed}")
        return None

    def _identify(self, headers: Headers) -> Identity | None:
        if not self._tokens:
            return NOBODY
        authorization = headers.get("authorization")
        if authorization is not None:
            kind, _, rest = authorization.partition(" ")
            token = rest.strip() if kind.lower() == "bearer" and rest else authorization.strip()
            return self._tokens.find(token)
        return self._sessions.find(_cookies(headers).get(COOKIE, ""))

    def _is_same_origin(self, headers: Headers, identity: Identity | None) -> bool:
        """Tell whether a page of ours sent it, or a program: browsers always say where a form comes from."""
        if identity is not None and identity.way == "header":
            return True  # no page of another site can send it
        origin = headers.get("origin")
        if origin is not None:
            return origin in self._origins or urlsplit(origin).netloc == headers.get("host")
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site == "same-origin"
        return identity is None or identity.way == "none"


def identity_of(request: Request) -> Identity:
    """Return who asks; routes that are not public always know."""
    identity = request.state.identity
    assert isinstance(identity, Identity)
    return identity


def _host_name(headers: Headers) -> str:
    host = headers.get("host", "")
    return host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host


def _cookies(headers: Headers) -> dict[str, str]:
    pairs = (one.strip().partition("=") for one in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs if name}
