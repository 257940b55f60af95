"""The page of what is not there."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from admlops.service.dashboard.rendering import show


async def show_missing(request: Request, what: str, name: str, address: str, way_on: str) -> Response:
    """Say that there is no such thing, and where to look."""
    values = {"what": what, "name": name[:200], "address": address, "way_on": way_on}
    return await show(request, "missing.html", values, status=404)
