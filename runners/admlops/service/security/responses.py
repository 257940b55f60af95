"""Refusals as JSON, one form for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import JSONResponse

REASONS = {
    400: "bad request",
    401: "no valid token",
    403: "not allowed",
    404: "not found",
    405: "method not allowed",
    408: "too slow",
    413: "too large",
    415: "not JSON",
    422: "not valid",
    429: "too many",
    500: "internal error",
    503: "not available",
}


def refuse(
    status: int,
    message: str,
    *,
    hint: str | None = None,
    headers: Mapping[str, str] | None = None,
    problems: Sequence[tuple[str, str]] = (),
) -> JSONResponse:
    """Return a refusal: `error` says what is wrong, `hint` what helps; `problems` are (path in the request, what)."""
    body: dict[str, object] = {"error": message, "status": status}
    if problems:
        body["errors"] = [{"path": path, "message": what} for path, what in problems]
    if hint is not None:
        body["hint"] = hint
    return JSONResponse(body, status_code=status, headers=dict(headers or {}))
