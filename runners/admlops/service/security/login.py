"""The pages of a browser's login: a link that works once, or a token, becomes a cookie."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from admlops.service.security.access import identity_of
from admlops.service.security.responses import refuse
from admlops.service.security.sessions import COOKIE, SESSION_S, Sessions
from admlops.service.security.tokens import Identity, Tokens

PUBLIC = frozenset({"/login"})

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · admlops</title>
<style>body {{font: 16px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 15vh auto; padding: 0 1rem}}
input, button {{font: inherit; padding: .4rem .8rem; width: 100%; box-sizing: border-box; margin: .3rem 0}}
p.error {{color: #a00000}}</style></head>
<body><main><h1>admlops</h1>{message}
<form method="post" action="/login">{field}<button>Log in</button></form></main></body></html>
"""
_ASK = '<label for="token">Token</label><input id="token" name="token" type="password" autocomplete="off" required>'


class Login:
    """The routes of logging in and out."""

    def __init__(self, *, url: str, tokens: Tokens, sessions: Sessions) -> None:
        self._url = url
        self._tokens = tokens
        self._sessions = sessions

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/login", self.show_or_enter, methods=["GET", "POST"]),
            Route("/login/links", self.new_link, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    async def show_or_enter(self, request: Request) -> Response:
        """Answer to both methods of the page."""
        return await (self.enter(request) if request.method == "POST" else self.show(request))

    async def show(self, request: Request) -> Response:
        """Show the form. Following the link spends nothing: previews of links follow them too."""
        return _page(request.query_params.get("code", ""))

    async def enter(self, request: Request) -> Response:
        """Open a session for a code or a token."""
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        code, token = form.get("code", [""])[0], form.get("token", [""])[0]
        if code:
            opened = self._sessions.open(code)
        else:
            identity = self._tokens.find(token.strip())
            opened = None if identity is None else (self._sessions.begin(identity), identity)
        if opened is None:
            return _page("", error="This link is spent or too old." if code else "This is no valid token.", status=401)
        secret, identity = opened
        request.state.identity = identity
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(
            COOKIE,
            secret,
            max_age=int(SESSION_S),
            httponly=True,
            samesite="strict",
            secure=_is_https(request, self._url),
        )
        return answer

    async def new_link(self, request: Request) -> Response:
        """Make a link for another browser, with the scope of whoever asks."""
        identity = identity_of(request)
        if identity.way == "none":
            return refuse(404, "this service has no tokens: no login is needed")
        return JSONResponse({"link": login_link(self._url, self._sessions, identity)})

    async def leave(self, request: Request) -> Response:
        """End the session."""
        self._sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer


def login_link(url: str, sessions: Sessions, identity: Identity) -> str:
    """Return an address that opens one session."""
    return f"{url}/login?code={sessions.new_link(identity)}"


def _page(code: str, *, error: str | None = None, status: int = 200) -> HTMLResponse:
    message = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    field = f'<input type="hidden" name="code" value="{escape(code)}">' if code else _ASK
    return HTMLResponse(_PAGE.format(message=message, field=field), status_code=status)


def _is_https(request: Request, url: str) -> bool:
    return (
        urlsplit(url).scheme == "https"
        or request.url.scheme == "https"
        or request.headers.get("x-forwarded-proto") == "https"
    )
